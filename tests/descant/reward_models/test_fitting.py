"""Fitting: what is recovered, what is held out, where it stops, what is kept."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from descant.errors import DescantError
from descant.reward_models import fitting
from descant.reward_models.comparisons import make_comparisons, split
from descant.reward_models.fitting import Fitted, descend, fit, resample
from descant.reward_models.measures import ece, truth
from descant.reward_models.models import BTL, Config, aggregate, make_model, right
from descant.reward_models.saving import load_reward_model, save_reward_model
from descant.reward_models.views import PlainView, tokens

from .simulated import BOX, compared, points

WEIGHTS = np.array([1.0, -2.0, 0.5, 0.0, 3.0, -0.3])
ITEMS = points(600)
WORTH = (ITEMS.columns.numpy() @ WEIGHTS).sum(1)
QUICK = Config(models=3, hidden=(), epochs=30, learning_rate=0.05, batch_size=256)


def test_a_linear_reward_is_recovered() -> None:
    fitted = fit("btl", BOX, compared(ITEMS, WORTH, 2_000), QUICK)
    scores = fitted.model.scores(points(500, seed=1))
    worth = (points(500, seed=1).columns.numpy() @ WEIGHTS).sum(1)
    for own in scores:
        assert np.corrcoef(own.numpy(), worth)[0, 1] > 0.99
    assert fitted.report["accuracy"]["value"] > 0.95
    learned = fitted.model.scores(ITEMS)
    assert learned.mean(1).abs().max() < 0.3  # centred on what it learned from


def test_same_data_and_seed_make_the_same_model() -> None:
    data = compared(ITEMS, WORTH, 200)
    one, two = (fit("btl", BOX, data, QUICK).model.scores(ITEMS) for _ in range(2))
    other = fit("btl", BOX, data, dataclasses.replace(QUICK, seed=1)).model.scores(ITEMS)
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_no_two_clips_are_compared_on_two_sides_of_the_split() -> None:
    rng = np.random.default_rng(0)
    pairs = rng.integers(0, 12, (400, 2))
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]  # many twice, or the other way around
    parts = split(make_comparisons(points(12), pairs, np.zeros(len(pairs), int)), 0.2, 0.2)
    seen = [
        {frozenset(pair) for pair in part.pairs.tolist()} for part in (parts.train, parts.valid, parts.test)
    ]
    assert not seen[0] & seen[1]
    assert not seen[0] & seen[2]
    assert not seen[1] & seen[2]
    assert [len(s) for s in seen] == [40, 13, 13]
    assert sum(map(len, (parts.train, parts.valid, parts.test))) == len(pairs)


def test_too_few_pairs_are_refused() -> None:
    with pytest.raises(DescantError, match="10 or more"):
        fit("btl", BOX, compared(ITEMS, WORTH, 8), QUICK)


def test_the_best_epoch_is_kept_and_patience_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = split(compared(ITEMS, WORTH, 60))
    model = make_model("btl", BOX, dataclasses.replace(QUICK, patience=3))
    losses, kept = iter([5.0, 2.0, 3.0, 4.0, 3.0, 1.0]), []

    def told(own: BTL, data: object) -> float:
        kept.append({name: value.clone() for name, value in own.state_dict().items()})
        return next(losses)

    monkeypatch.setattr(fitting, "loss_on", told)
    epochs, best = descend(model, parts)
    assert (epochs, best) == (5, 2.0)
    assert all(torch.equal(value, kept[1][name]) for name, value in model.state_dict().items())


def test_each_model_learns_from_its_own_resample(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = resample(4, 1_000, torch.Generator().manual_seed(0))
    assert float(weights.mean()) == pytest.approx(1, abs=0.1)
    assert not torch.equal(weights[0], weights[1])
    # A model whose resample is empty stays as it was drawn.
    monkeypatch.setattr(
        fitting, "resample", lambda models, n, rng: torch.ones(models, n) * torch.tensor([[1], [0]])
    )
    config = dataclasses.replace(QUICK, models=2, bootstrap=True, weight_decay=0.0)
    fitted = fit("btl", BOX, compared(ITEMS, WORTH, 100), config).model
    drawn = make_model("btl", BOX, config)
    same = torch.isclose(fitted.ensemble.encoder.linear.weight, drawn.ensemble.encoder.linear.weight)
    assert same.all(1).tolist() == [False, True]


def test_ties_draw_scores_together() -> None:
    pairs = np.array([(0, 1), (2, 3)] * 100 + [(i, i + 1) for i in range(4, 40)])
    answers = np.array([2, 0] * 100 + [0] * 36)
    for ties in ("half", "davidson", "rao-kupper"):
        fitted = fit(
            "btl", BOX, make_comparisons(points(41), pairs, answers), dataclasses.replace(QUICK, ties=ties)
        )
        scores = fitted.model.scores(points(4))[0]
        assert abs(scores[0] - scores[1]) < 1 < scores[2] - scores[3]


def test_aggregates() -> None:
    scores = torch.tensor([[1.0, 4.0], [3.0, 4.0]])
    assert aggregate(scores, "mean").tolist() == [2.0, 4.0]
    assert aggregate(scores, "min").tolist() == [1.0, 4.0]
    assert aggregate(scores, "mean-variance", 0.5).tolist() == [1.5, 4.0]
    with pytest.raises(DescantError, match="mean-variance"):
        aggregate(scores, "median")


def test_calibration_and_bounds_by_hand() -> None:
    p = torch.tensor([0.9, 0.1, 0.6, 0.6])
    # Confidence 0.6, 0.6 (right, wrong), then 0.9, 0.9 (right, wrong).
    happened = torch.tensor([1.0, 1.0, 1.0, 0.0])
    assert ece(p, happened, bins=2) == pytest.approx((0.1 * 2 + 0.4 * 2) / 4)
    assert ece(torch.full((10,), 0.7), torch.tensor([1.0] * 7 + [0.0] * 3), bins=1) == pytest.approx(
        0, abs=1e-6
    )
    assert truth(0.9**2 + 0.1**2) == pytest.approx(0.9)
    assert truth(0.3) == 0.5
    assert truth(None) is None
    share = right(torch.tensor([2.0, 2.0, 0.0, 1.0]), torch.tensor([0, 1, 0, 2]))
    assert share[:3].tolist() == [1.0, 0.0, 0.5]
    assert torch.isnan(share[3])


def test_a_saved_model_scores_the_same(tmp_path: Path) -> None:
    items, view = tokens(np.random.default_rng(0).integers(0, 4, (50, 5)), 4)
    data = compared(items, items.columns[..., 1].sum(1).numpy() + 0.1, 200)
    fitted = fit("btl", view.space, data, Config(models=2, hidden=(8, 8), epochs=3))
    save_reward_model(tmp_path / "m", fitted, view)
    saved = load_reward_model(tmp_path / "m")
    assert np.array_equal(saved.scores(items), fitted.model.scores(items).double().numpy())
    assert saved.report == json.loads(json.dumps(fitted.report))
    assert np.allclose(saved.score(items, "min"), saved.scores(items).min(0))
    assert isinstance(saved.view, PlainView)
    with pytest.raises(DescantError, match="no environment"):
        saved.view.check(object())


def test_what_is_no_reward_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DescantError, match="no checkpoint"):
        load_reward_model(tmp_path / "none")
    _, view = tokens([[0, 1]] * 3, 2)
    model = make_model("btl", view.space, Config(models=1))
    save_reward_model(tmp_path / "m", Fitted(model, {}), view)
    path = tmp_path / "m" / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(DescantError, match="truncated"):
        load_reward_model(tmp_path / "m")
    with pytest.raises(DescantError, match="Did you mean 'btl'"):
        make_model("blt", view.space, Config())
    for wrong in ({"models": 0}, {"noise": 1.0}, {"valid": 0.0}, {"learning_rate": -1.0}, {"ties": "some"}):
        with pytest.raises(DescantError):
            Config(**wrong)  # type: ignore[arg-type]
