"""Sentence BLEU: equal to sacrebleu's, whole or token by token."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics import BLEU

from descant.errors import DescantError
from descant.text.bleu import Config, closest, scores, sentence_bleu, whole_scores
from descant.text.matches import NOTHING, begin, count, extend, make_references, positions

logging.getLogger("sacrebleu").setLevel(logging.ERROR)  # it warns of scores without effective order

SMOOTHINGS: list[tuple[Any, float | None]] = [
    ("exp", None),
    ("floor", None),
    ("floor", 0.5),
    ("floor", 0.0),
    ("add-k", None),
    ("add-k", 0.25),
    ("add-k", 0.0),
    ("none", None),
]
tokens = st.integers(0, 4)
short, long = st.lists(tokens, max_size=9), st.lists(tokens, max_size=90)
sentences = st.one_of(short, short, long)
cases = st.tuples(sentences, st.lists(sentences, min_size=1, max_size=3))


def text(ids: list[int]) -> str:
    return " ".join(f"w{i}" for i in ids)


def theirs(config: Config, hypothesis: list[int], references: list[list[int]]) -> float:
    metric = BLEU(
        tokenize="none",
        smooth_method=config.smoothing,
        smooth_value=config.value,
        effective_order=config.effective_order,
        max_ngram_order=config.order,
    )
    return float(metric.sentence_score(text(hypothesis), [text(r) for r in references]).score)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(cases, min_size=1, max_size=6),
    st.sampled_from([4, 4, 1, 2, 5]),
    st.sampled_from(SMOOTHINGS),
    st.booleans(),
)
def test_scores_equal_sacrebleus(batch: list[Any], order: int, smoothing: Any, effective: bool) -> None:
    hypotheses, references = zip(*batch, strict=True)
    config = Config(*smoothing, effective, order)
    wanted = [theirs(config, h, r) for h, r in batch]
    np.testing.assert_allclose(sentence_bleu(hypotheses, references, config), wanted, rtol=0, atol=1e-9)


@pytest.mark.parametrize("effective", [True, False])
@pytest.mark.parametrize(("smoothing", "value"), SMOOTHINGS)
def test_short_ones_too(smoothing: Any, value: float | None, effective: bool) -> None:
    config = Config(smoothing, value, effective)
    batch = [
        ([], [[1]]),
        ([], [[]]),
        ([1], [[1]]),
        ([1], [[]]),
        ([1], [[2]]),
        ([1, 2], [[1, 2]]),
        ([1], [[1, 2, 3]]),
        ([1, 1, 1, 1], [[1, 1], [2]]),
        ([1, 2, 3, 4], [[1, 2, 3, 4]]),
        ([1, 2, 3, 4], [[4, 3, 2, 1]]),
        ([1, 2, 3], [[1, 2], [1, 2, 3, 4]]),  # both lengths are as near: the shorter counts
        ([1, 2, 3, 4, 5, 1, 2], [[1, 2, 9, 1, 2], [1, 2, 3], [3, 4, 5, 6, 7, 8, 9, 10]]),
    ]
    hypotheses, references = zip(*batch, strict=True)
    wanted = [theirs(config, h, r) for h, r in batch]
    np.testing.assert_allclose(sentence_bleu(hypotheses, references, config), wanted, rtol=0, atol=1e-9)


@pytest.mark.parametrize("vocabulary", [2, 3, 6])
def test_references_of_more_than_64_words_are_counted_over_the_edges(vocabulary: int) -> None:
    rng = np.random.default_rng(vocabulary)
    for _ in range(12):
        references = [rng.integers(0, vocabulary, rng.integers(50, 80)).tolist() for _ in range(3)]
        at = int(rng.integers(0, 20))
        copied = references[0][at : at + 60] + references[2][at : at + 60]
        for hypothesis in (copied, rng.integers(0, vocabulary, 150).tolist(), references[1][-30:] * 3):
            for config in (Config(), Config(order=7)):
                found = sentence_bleu([hypothesis], [references], config)
                assert found[0] == pytest.approx(theirs(config, hypothesis, references), abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.lists(cases, min_size=1, max_size=4), st.sampled_from([2, 4]))
def test_token_by_token_is_as_whole_at_every_length(batch: list[Any], order: int) -> None:
    hypotheses, references = zip(*batch, strict=True)
    table = make_references(references, order)
    rows, config = np.arange(len(batch)), Config(order=order)
    counts, seen = begin(table, rows), table.tokens[rows]
    for t in range(max(map(len, hypotheses))):
        now = np.array([h[t] if t < len(h) else NOTHING - 1 for h in hypotheses])
        before = [array.copy() for array in vars(counts).values()]
        after = extend(counts, positions(seen, now))
        for array, kept in zip(vars(counts).values(), before, strict=True):
            np.testing.assert_array_equal(array, kept)
        counts = after
        prefixes = [h[: t + 1] for h in hypotheses]
        lengths = np.array(list(map(len, prefixes)))
        near = closest(table.lengths, lengths)
        found = scores(counts.correct, lengths, near, config)
        np.testing.assert_allclose(found, sentence_bleu(prefixes, references, config), rtol=0, atol=1e-9)


def test_rows_choose_their_references_in_any_order_and_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    references = [[rng.integers(0, 9, 70).tolist()] for _ in range(8)]
    table = make_references(references)
    rows = rng.integers(0, 8, 40)
    hypotheses, lengths = rng.integers(0, 9, (40, 30)), rng.integers(0, 31, 40)
    hypotheses[np.arange(30) >= lengths[:, None]] = NOTHING
    whole = whole_scores(table, rows, hypotheses, lengths, Config())
    alone = sentence_bleu(
        [h[:n].tolist() for h, n in zip(hypotheses, lengths, strict=True)], [references[r] for r in rows]
    )
    np.testing.assert_array_equal(whole, alone)
    monkeypatch.setattr("descant.text.bleu.CELLS", 3 * 30 * 128)
    np.testing.assert_array_equal(whole_scores(table, rows, hypotheses, lengths, Config()), whole)


def test_no_hypotheses_have_no_scores() -> None:
    assert sentence_bleu([], []).shape == (0,)


def test_ids_below_zero_in_references_match_nothing() -> None:
    table = make_references([[[5, -7, 6]]])
    assert count(table, np.array([0]), np.array([[5, 6, -1]])).tolist() == [[2, 0, 0, 0]]
    assert count(table, np.array([0]), np.array([[5, -1, 6]])).tolist() == [[2, 0, 0, 0]]
    assert table.lengths.tolist() == [[3]]


def test_large_ids_do_not_meet_small_ones() -> None:
    for references in ([[[1, 2]]], [[[1, 70_000]]]):
        table = make_references(references)
        for stranger in (1 + 2**16, 2 + 2**32):
            assert count(table, np.array([0]), np.array([[stranger]])).sum() == 0
    assert sentence_bleu([[70_000]], [[[70_000]]]).tolist() == [pytest.approx(100)]


@pytest.mark.parametrize(
    "options", [{"smoothing": "esp"}, {"value": -1.0}, {"value": float("nan")}, {"order": 0}]
)
def test_bad_settings_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(DescantError):
        Config(**options)
