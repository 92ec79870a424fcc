"""Speed of BLEU and chrF: both sides score the same sentences, ratios are of theirs over ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import descant.benchmarks.bleu_speed as speed


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "SENTENCES", 20)
    monkeypatch.setattr(speed, "ROUNDS", 1)
    monkeypatch.setattr(speed, "REPEATS", 1)


def test_ratios_are_theirs_over_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = iter([1.0, 0.02, 0.05, 0.03])  # theirs, ours, every step, tables

    def seconds(work: Callable[[], Any], repeats: int) -> float:
        work()
        return next(taken)

    monkeypatch.setattr(speed, "seconds", seconds)
    whole, steps = speed.bleu_rows(speed.Batch())
    assert (whole.name, whole.bar, whole.at_most) == ("BLEU / sacrebleu, 20 sentences", 10.0, False)
    assert whole.value == pytest.approx(50)
    assert whole.detail == "1,000 against 20 sentences/s; 20.0 x with the tables made anew"
    assert (steps.value, steps.bar, steps.at_most) == (pytest.approx(2.5), 3.0, True)
    assert steps.detail == "50.00 against 20.00 ms for 20 sentences"
    taken = iter([0.5, 0.1] * 3)
    row = speed.chrf_row()
    assert row.value == pytest.approx(5)
    assert row.detail == "200 against 40 sentences/s"


def test_sentences_are_as_captions_are_and_hypotheses_are_near_them() -> None:
    batch = speed.Batch()
    assert {6, *range(6, 30)} >= {len(each) for each in batch.ids}
    assert (batch.lengths <= [len(each) for each in batch.ids]).all()
    scores = speed.terminal(batch)
    assert 10 < scores.mean() < 60
    np.testing.assert_array_equal(speed.Batch().hypotheses, batch.hypotheses)


def test_wrong_scores_are_no_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "terminal", lambda batch: np.zeros(20))
    with pytest.raises(AssertionError):
        speed.bleu_rows(speed.Batch())


def test_seconds_are_of_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(speed.time, "process_time", lambda: now[0])

    def work() -> None:
        now[0] += 0.5

    assert speed.seconds(work, 4) == 0.5
    assert now[0] == 2.0
