"""Sentence chrF: equal to sacrebleu's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics import CHRF

from descant.errors import DescantError
from descant.text import chrf
from descant.text.chrf import Config, sentence_chrf

texts = st.text(alphabet="ab ü.", max_size=12) | st.text(alphabet="abcd ", max_size=90)
batches = st.lists(st.tuples(texts, st.lists(texts, min_size=1, max_size=3)), min_size=1, max_size=5)


def theirs(config: Config, hypothesis: str, references: list[str]) -> float:
    metric = CHRF(
        char_order=config.char_order,
        beta=config.beta,  # type: ignore[arg-type] # whole or not, it computes
        whitespace=config.whitespace,
        eps_smoothing=config.eps_smoothing,
    )
    return float(metric.sentence_score(hypothesis, references).score)


@settings(max_examples=150, deadline=None)
@given(batches, st.sampled_from([6, 6, 1, 3]), st.sampled_from([2.0, 1.0, 0.5]), st.booleans(), st.booleans())
def test_scores_equal_sacrebleus(batch: Any, order: int, beta: float, spaces: bool, epsilon: bool) -> None:
    config = Config(order, beta, spaces, epsilon)
    hypotheses, references = zip(*batch, strict=True)
    wanted = [theirs(config, h, r) for h, r in batch]
    np.testing.assert_allclose(sentence_chrf(hypotheses, references, config), wanted, rtol=0, atol=1e-9)


@pytest.mark.parametrize("epsilon", [False, True])
def test_short_ones_and_strange_signs(epsilon: bool) -> None:
    config = Config(eps_smoothing=epsilon)
    batch = [("", ["a"]), ("a", [""]), ("", [""]), ("a", ["a"]), ("a", ["b", "ab"]), ("😀 ü", ["😀ü", "x"])]
    hypotheses, references = zip(*batch, strict=True)
    wanted = [theirs(config, h, r) for h, r in batch]
    np.testing.assert_allclose(sentence_chrf(hypotheses, references, config), wanted, rtol=0, atol=1e-9)


def test_large_batches_are_scored_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    hypotheses, references = (
        ["der hund", "die katze", "das"] * 5,
        [["der mund"], ["katze", "die"], ["da"]] * 5,
    )
    whole = sentence_chrf(hypotheses, references)
    monkeypatch.setattr(chrf, "CELLS", 1500)
    np.testing.assert_array_equal(sentence_chrf(hypotheses, references), whole)
    assert sentence_chrf([], []).shape == (0,)


@pytest.mark.parametrize("options", [{"char_order": 0}, {"beta": 0.0}, {"beta": float("inf")}])
def test_bad_settings_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(DescantError):
        Config(**options)
