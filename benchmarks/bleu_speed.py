"""How fast rewards of translations are scored, beside sacrebleu's objects on the same sentences, in turns.

Ours score token ids against tables of references that are made once, as the environment has them; sacrebleu scores
strings that are joined beforehand, by one object that is used again (`sentence_score` reads the references anew each
time). Seconds are the processor's, of one thread.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

from descant.text import bleu, chrf
from descant.text.grammar import generate
from descant.text.matches import NOTHING, begin, extend, make_references, positions

from .speed_rows import Row

SENTENCES = 512
WORDS = 8000
LENGTHS = (6, 30)  # of references, as in captions of photographs
REPLACED = 0.3
ROUNDS = 7
REPEATS = 10  # of ours in a round, which are short


class Batch:
    """Hypotheses as ids and as strings: references with words replaced, some cut short."""

    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.ids = [rng.integers(4, WORDS, rng.integers(*LENGTHS)).tolist() for _ in range(SENTENCES)]
        hypotheses = [self._changed(reference, rng) for reference in self.ids]
        self.references = make_references([[reference] for reference in self.ids])
        self.rows = np.arange(SENTENCES)
        self.lengths = np.array([len(each) for each in hypotheses])
        self.hypotheses = np.full((SENTENCES, self.lengths.max()), NOTHING, np.int64)
        for row, each in zip(self.hypotheses, hypotheses, strict=True):
            row[: len(each)] = each
        self.texts = [" ".join(map(str, each)) for each in hypotheses]
        self.answers = [[" ".join(map(str, reference))] for reference in self.ids]

    def _changed(self, reference: list[int], rng: np.random.Generator) -> list[int]:
        kept = reference[: len(reference) - int(rng.integers(3))]
        return [int(rng.integers(4, WORDS)) if rng.random() < REPLACED else word for word in kept]


def measure() -> list[Row]:
    """Every row. Takes a few seconds."""
    logging.getLogger("sacrebleu").setLevel(logging.ERROR)
    batch = Batch()
    return [*bleu_rows(batch), chrf_row()]


def bleu_rows(batch: Batch) -> list[Row]:
    """Scores beside sacrebleu's, with and without making the tables; scores of every prefix beside one at the end."""
    from sacrebleu.metrics.bleu import BLEU

    metric = BLEU(tokenize="none", effective_order=True)
    sides: list[tuple[Callable[[], Any], int]] = [
        (
            lambda: [
                metric.sentence_score(h, r).score for h, r in zip(batch.texts, batch.answers, strict=True)
            ],
            1,
        ),
        (lambda: terminal(batch), REPEATS),
        (lambda: every_prefix(batch), REPEATS),
        (lambda: make_references([[reference] for reference in batch.ids]), 1),
    ]
    np.testing.assert_allclose(terminal(batch), sides[0][0](), rtol=0, atol=1e-9)
    np.testing.assert_allclose(every_prefix(batch), terminal(batch), rtol=0, atol=1e-9)
    rounds = [[seconds(*side) for side in sides] for _ in range(ROUNDS)]
    ratio, with_tables = (median(r[0] / (r[1] + more * r[3]) for r in rounds) for more in (0, 1))
    steps = median(r[2] / r[1] for r in rounds)
    theirs, ours, ours_by_step, _ = (median(column) for column in zip(*rounds, strict=True))
    speeds = f"{SENTENCES / ours:,.0f} against {SENTENCES / theirs:,.0f} sentences/s"
    detail = f"{speeds}; {with_tables:.1f} x with the tables made anew"
    per = f"{1e3 * ours_by_step:.2f} against {1e3 * ours:.2f} ms for {SENTENCES} sentences"
    return [
        Row(f"BLEU / sacrebleu, {SENTENCES} sentences", ratio, "x", bar=10.0, detail=detail),
        Row("BLEU at every step / at the end", steps, "x", bar=3.0, at_most=True, detail=per),
    ]


def terminal(batch: Batch) -> Any:
    """Scores of whole hypotheses, float64[n]."""
    return bleu.whole_scores(batch.references, batch.rows, batch.hypotheses, batch.lengths, bleu.Config())


def every_prefix(batch: Batch) -> Any:
    """The same as the sum of what each token adds, as a reward of every step has it."""
    references, rows, config = batch.references, batch.rows, bleu.Config()
    counts, before, total = begin(references, rows), np.zeros(SENTENCES), np.zeros(SENTENCES)
    for t in range(batch.hypotheses.shape[1]):
        lengths = np.minimum(t + 1, batch.lengths)
        token = np.where(lengths > t, batch.hypotheses[:, t], NOTHING - 1)
        counts = extend(counts, positions(references.tokens.take(rows, axis=0), token))
        now = bleu.scores(counts.correct, lengths, bleu.closest(references.lengths[rows], lengths), config)
        total += now - before
        before = now
    return total


def chrf_row() -> Row:
    """chrF of texts of the built-in grammar beside sacrebleu's."""
    from sacrebleu.metrics.chrf import CHRF

    texts = generate("train", 2 * SENTENCES).target
    hypotheses, answers = texts[:SENTENCES], [[text] for text in texts[SENTENCES:]]
    metric, config = CHRF(), chrf.Config()
    table = chrf.make_texts(answers, config)
    signs = [chrf.characters(text) for text in hypotheses]
    lengths = np.array(list(map(len, signs)))
    padded = np.full((SENTENCES, lengths.max()), NOTHING, np.int64)
    for row, each in zip(padded, signs, strict=True):
        row[: len(each)] = each

    def ours() -> Any:
        return chrf.whole_scores(table, np.arange(SENTENCES), padded, lengths, config)

    def theirs() -> Any:
        return [metric.sentence_score(h, r).score for h, r in zip(hypotheses, answers, strict=True)]

    np.testing.assert_allclose(ours(), theirs(), rtol=0, atol=1e-9)
    rounds = [(seconds(theirs, 1), seconds(ours, 3)) for _ in range(3)]
    ratio = median(a / b for a, b in rounds)
    slow, fast = (median(column) for column in zip(*rounds, strict=True))
    detail = f"{SENTENCES / fast:,.0f} against {SENTENCES / slow:,.0f} sentences/s"
    return Row(f"chrF / sacrebleu, {SENTENCES} sentences", ratio, "x", detail=detail)


def seconds(work: Callable[[], Any], repeats: int) -> float:
    """Seconds of the processor for one call."""
    begin_at = time.process_time()
    for _ in range(repeats):
        work()
    return (time.process_time() - begin_at) / repeats
