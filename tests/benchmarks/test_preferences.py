"""`bench preferences`: the toy is what it says, the bars are read rightly, and a small run of each model ends."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from descant.benchmarks import preferences
from descant.benchmarks.jobs import Done
from descant.benchmarks.preferences import (
    BARS,
    SETTINGS,
    SIZES,
    accuracy,
    answered,
    bound,
    jobs,
    met,
    observer,
    population,
    tables,
    toy,
    turned,
)
from descant.registry import suites
from descant.reward_models.comparisons import make_comparisons
from descant.reward_models.stacked import Items


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of the people, one epoch."""
    monkeypatch.setattr(preferences, "PEOPLE", 40)
    monkeypatch.setattr(preferences, "NEW", 12)
    quick = {name: dataclasses.replace(config, epochs=1) for name, config in SETTINGS.items()}
    monkeypatch.setattr(preferences, "SETTINGS", quick)


def test_answers_are_those_of_the_nearest_place() -> None:
    data = population(50, 20, seed=0)
    points = (data.items.columns[data.pairs][..., 0, 0].double().numpy() + 1) / 2
    first = data.answers.numpy() == 0
    fits = np.stack(
        [(np.abs(points[:, 0] - c) < np.abs(points[:, 1] - c)) == first for c in preferences.PLACES]
    )
    whole = fits.reshape(4, 50, 20).all(axis=2)
    assert whole.any(axis=0).all()  # every annotator is one of the four groups
    assert whole.argmax(axis=0).max() == 3
    assert not torch.equal(data.answers, population(50, 20, seed=1).answers)


def test_no_order_beats_the_bound_and_the_best_reaches_it() -> None:
    data = population(2_000, 40, seed=0)
    middle = -data.items.columns[data.pairs][..., 0, 0].abs()
    assert bound() == pytest.approx(0.67, abs=0.01)
    assert accuracy((middle[:, 0] - middle[:, 1])[None], data) == pytest.approx(bound(), abs=0.01)


def test_contexts_and_questions_are_of_the_same_people() -> None:
    context, asked = met(5, 8)
    assert torch.bincount(context.annotators).tolist() == [8] * 500
    assert torch.bincount(asked.annotators).tolist() == [64] * 500
    assert not set(context.pairs.ravel().tolist()) & set(asked.pairs.ravel().tolist())
    other = met(5, 8, 1)[0]
    assert not torch.equal(other.items.columns[other.pairs], context.items.columns[context.pairs])
    share = (turned(context, 0.25, 3).answers != context.answers).float().mean()
    assert float(share) == pytest.approx(0.25, abs=0.03)
    assert not torch.equal(turned(context, 0.25, 3).answers, turned(context, 0.25, 4).answers)
    assert (turned(context, 1.0, 3).answers == 1 - context.answers).all()


def test_a_perfect_observer_is_right_by_the_share_that_it_is_told_of() -> None:
    parts = [met(1_000_003 * 101, 8, part) for part in range(4)]
    clean, noisy, deaf = (
        np.mean(
            [
                float(answered(observer(turned(c, wrong, k), a, told)[None], a).mean())
                for k, (c, a) in enumerate(parts)
            ]
        )
        for wrong, told in ((0.0, 1e-6), (0.25, 0.25), (0.25, 0.5))
    )
    assert clean == pytest.approx(0.984, abs=0.006)
    assert noisy == pytest.approx(0.87, abs=0.012)
    assert deaf == pytest.approx(bound(), abs=0.015)  # 0.5: answers tell nothing


def test_an_observer_weighs_each_answer() -> None:
    """Of one who agrees with the first place in all of 3, and with the others in 2, 1 and 0."""
    middles = [0.25, 0.5, 0.75]  # of pairs about the places' borders, of which the lower is preferred
    points = torch.tensor([[m - 0.01, m + 0.01] for m in (*middles, 0.5)]).reshape(-1, 1, 1) * 2 - 1
    items = Items(points, torch.ones(8, dtype=torch.int64))
    told = make_comparisons(items, [[0, 1], [2, 3], [4, 5]], [0, 0, 0])
    asked = make_comparisons(items, [[6, 7], [7, 6]], [0, 0])
    weights = np.array([27.0, 9.0, 3.0, 1.0])
    favour = weights[:2].sum() / weights.sum() - 0.5
    assert observer(told, asked, 0.25).tolist() == pytest.approx([favour, -favour])


def test_more_people_are_asked_under_noise_in_parts(small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = toy("vpl", 100)
    asked, masks = [], []

    def other(base: int, size: int, part: int = 0) -> Any:
        asked.append((size, part))
        return met(base, size, part)

    def drawn(context: Any, share: float, seed: int = 0) -> Any:
        masks.append(seed)
        return turned(context, share, seed)

    monkeypatch.setattr(preferences, "met", other)
    monkeypatch.setattr(preferences, "turned", drawn)
    found = toy("vpl", 100, 36)
    assert asked[-3:] == [(8, 0), (8, 1), (8, 2)]
    assert len({*masks[-3:], 0}) == 4
    assert {key: found[key] for key in plain} == plain
    assert found.keys() - plain.keys() == {"noisy_many", "noisy_error", "observer"}
    assert 0 < found["noisy_error"] < 0.2
    assert 0.5 < found["observer"] <= 1
    (job,) = (job for job in jobs([0]) if job.arguments.get("name") == "vpl")
    assert job.arguments["new"] == preferences.MANY
    assert preferences.MANY % 500 == 0


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_each_model_is_measured(name: str) -> None:
    found = toy(name, 100)
    assert 0.4 < found["accuracy"] <= 1
    if name.startswith("vpl"):
        assert list(found["by_size"]) == list(SIZES)
        assert 0 <= found["flips"] <= 1
        assert found["by_size"][8] == found["accuracy"]


def test_the_worst_seed_must_reach_the_bar() -> None:
    by_size = {str(size): 0.98 for size in SIZES}
    good = {
        "accuracy": 0.98,
        "drawn": 0.98,
        "noisy": 0.5,
        "noisy_many": 0.86,
        "observer": 0.87,
        "flips": 1.0,
        "active": 4,
        "collapsed": True,
        "by_size": by_size,
    }

    def found(**worse: float) -> list[Done]:
        done = [
            Done(job, 0.995 if job.arguments.get("name") is None else dict(good), 1.0) for job in jobs([0, 1])
        ]
        last = [d for d in done if d.job.arguments.get("name") == "vpl"][-1]
        last.value.update(worse)
        return done

    table = tables(found(), Path())[0]
    assert table.met
    assert len(table.rows) == len(BARS) + 1
    for worse in ({"noisy_many": 0.84}, {"flips": 0.7}, {"active": 3}):
        table = tables(found(**worse), Path())[0]  # type: ignore[arg-type]
        assert not table.met
        assert sum("MISSED" in row[-1] for row in table.rows) == 1
    failed = found()
    failed[0] = dataclasses.replace(failed[0], error="no", value=None)
    assert not tables(failed, Path())[0].met
    assert suites.get("preferences") is preferences.PREFERENCES
