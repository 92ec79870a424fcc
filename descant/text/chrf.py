"""Sentence chrF on text: batched, and equal to sacrebleu's sentence score (character n-grams, Popović 2015)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from descant.errors import DescantError
from descant.tasks import Floats, Ints
from descant.text.matches import NOTHING, References, count, make_references

CELLS = 8_000_000  # characters compared at once
SMALLEST = 1e-16  # of sacrebleu's smoothing by epsilon


@dataclass(frozen=True)
class Config:
    """How sentences are scored, by sacrebleu's names; `whitespace` counts spaces as characters."""

    char_order: int = 6
    beta: float = 2.0
    whitespace: bool = False
    eps_smoothing: bool = False

    def __post_init__(self) -> None:
        if self.char_order < 1:
            raise DescantError(f"char_order must be 1 or more, not {self.char_order}.")
        if not (math.isfinite(self.beta) and self.beta > 0):
            raise DescantError(f"beta must be a number above 0, not {self.beta}.")


@dataclass(frozen=True, eq=False)
class Texts:
    """References of sentences, a row each; `rows` int[n, R] says which are a sentence's, NOTHING where it has fewer."""

    table: References
    rows: Ints


def characters(text: str, whitespace: bool = False) -> list[int]:
    """Code points of a text, without its spaces unless asked."""
    return [ord(sign) for sign in (text if whitespace else "".join(text.split()))]


def make_texts(references: Sequence[Sequence[str]], config: Config) -> Texts:
    """Tables of the references of each sentence."""
    flat = [[characters(text, config.whitespace)] for each in references for text in each]
    rows = np.full((len(references), max(map(len, references), default=1)), NOTHING, np.int64)
    at = 0
    for row, each in zip(rows, references, strict=True):
        row[: len(each)] = np.arange(at, at + len(each))
        at += len(each)
    return Texts(make_references(flat, config.char_order), rows)


def sentence_chrf(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]], config: Config | None = None
) -> Floats:
    """Scores from 0 to 100 of texts, each against its own references: float64[n]."""
    chosen = config or Config()
    signs = [characters(text, chosen.whitespace) for text in hypotheses]
    lengths = np.array([len(each) for each in signs], np.int64)
    padded = np.full((len(signs), max(lengths, default=0)), NOTHING, np.int64)
    for row, each in zip(padded, signs, strict=True):
        row[: len(each)] = each
    return whole_scores(make_texts(references, chosen), np.arange(len(signs)), padded, lengths, chosen)


def whole_scores(texts: Texts, rows: Ints, hypotheses: Ints, lengths: Ints, config: Config) -> Floats:
    """Scores float64[n] of code points int[n, T], negative after their end: the best over the references of `rows`."""
    best = np.zeros(len(rows))
    for column in texts.rows[rows].T:
        some = np.flatnonzero(column != NOTHING)
        found = _against(texts.table, column[some], hypotheses[some], lengths[some], config)
        best[some] = np.maximum(best[some], found)
    return best


def _against(table: References, rows: Ints, hypotheses: Ints, lengths: Ints, config: Config) -> Floats:
    at_once = max(1, CELLS // max(1, hypotheses.shape[1] * table.tokens.shape[1]))
    parts = [slice(i, i + at_once) for i in range(0, len(rows), at_once)]
    found = [count(table, rows[part], hypotheses[part]) for part in parts]
    shared = np.concatenate(found) if found else np.zeros((0, config.char_order), np.int64)
    return scores(shared, lengths, table.lengths[rows, 0], config)


def scores(shared: Ints, lengths: Ints, reference_lengths: Ints, config: Config) -> Floats:
    """Scores from 0 to 100, float64[n], of shared n-grams int[n, order] and lengths in characters int[n]."""
    orders = np.arange(config.char_order)
    wanted = np.maximum(reference_lengths[:, None] - orders, 0)
    given = np.maximum(lengths[:, None] - orders, 0)
    precision = np.where(given > 0, shared / np.maximum(given, 1), SMALLEST)
    recall = np.where(wanted > 0, shared / np.maximum(wanted, 1), SMALLEST)
    if config.eps_smoothing:
        each = _f_score(precision, recall, config.beta, SMALLEST)
        smoothed: Floats = 100.0 * each.sum(axis=1) / config.char_order
        return smoothed
    both = (given > 0) & (wanted > 0)
    effective = np.maximum(both.sum(axis=1), 1)
    means = [np.where(both, part, 0.0).sum(axis=1) / effective for part in (precision, recall)]
    found: Floats = 100.0 * _f_score(means[0], means[1], config.beta, 0.0)
    return found


def _f_score(precision: Floats, recall: Floats, beta: float, otherwise: float) -> Floats:
    below = beta**2 * precision + recall
    above = (1 + beta**2) * precision * recall
    found: Floats = np.divide(above, below, out=np.full_like(below, otherwise), where=below > 0)
    return found
