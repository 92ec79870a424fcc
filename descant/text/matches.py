"""N-grams that hypotheses share with their references, counted in batches, each reference position one bit.

A word of bits says at which positions of the references the last n tokens of a hypothesis end. Shifted by one and
masked by the positions of the next token, it says the same of n + 1 tokens (the Shift-And algorithm of Baeza-Yates and
Gonnet, 1992). An n-gram that a reference has k times has k positions, the same whenever it comes. So taking one free
position at each match counts exactly min(occurrences in the hypothesis, occurrences in the reference).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from descant.tasks import Bools, Ints

Words = NDArray[np.uint64]
BITS = 64
NOTHING = -1  # a place without a token; it matches none
ONE, LAST = np.uint64(1), np.uint64(BITS - 1)


@dataclass(frozen=True, eq=False)
class References:
    """References of `n` sentences, several each, as one line of positions with a gap between two.

    tokens: [n, 64 * words], NOTHING where there is none; free: uint64[n, order, words], the positions that count: those
    of the reference that has the n-gram most often; lengths: int64[n, R], NOTHING where a sentence has fewer.
    """

    tokens: NDArray[Any]
    free: Words
    lengths: Ints
    order: int

    @property
    def words(self) -> int:
        """Words of 64 bits that the positions take."""
        return int(self.free.shape[2])


def make_references(references: Sequence[Sequence[Sequence[int]]], order: int = 4) -> References:
    """Tables of the references of each sentence: at least one each, of token ids from 0; others match nothing."""
    gaps = [sum(len(reference) + 1 for reference in each) for each in references]
    words = max(1, -(-(max(gaps, default=1) - 1) // BITS))
    highest = max((t for each in references for reference in each for t in reference), default=0)
    tokens = np.full((len(references), words * BITS), NOTHING, np.int16 if highest < 2**15 - 1 else np.int32)
    owner = np.full(tokens.shape, NOTHING, np.int32)  # which reference a position is of
    lengths = np.full((len(references), max(map(len, references), default=1)), NOTHING, np.int64)
    for row, each in enumerate(references):
        at = 0
        for k, reference in enumerate(each):
            tokens[row, at : at + len(reference)] = reference
            owner[row, at : at + len(reference)] = k
            lengths[row, k] = len(reference)
            at += len(reference) + 1
    tokens[tokens < 0] = NOTHING
    free = _free(tokens, owner, order)
    return References(tokens, free, lengths, order)


def _free(tokens: NDArray[Any], owner: NDArray[np.int32], order: int) -> Words:
    """Positions where an n-gram ends, of the first reference that has it most often: uint64[n, order, words]."""
    counts = np.zeros((len(tokens), order, tokens.shape[1]), bool)
    several = (owner > 0).any(axis=1)
    for n in range(1, order + 1):
        inside = _inside(tokens, n)
        counts[:, n - 1] = inside
        for row in np.flatnonzero(several):
            counts[row, n - 1] = _most_often(tokens[row], owner[row], inside[row], n)
    return pack(counts)


def _inside(tokens: NDArray[Any], n: int) -> Bools:
    """Where n tokens in a row end: bool[rows, positions]."""
    some = tokens != NOTHING
    inside: Bools = some.copy()
    for back in range(1, n):
        inside[:, back:] &= some[:, :-back]
        inside[:, :back] = False
    return inside


def _most_often(tokens: NDArray[Any], owner: NDArray[np.int32], inside: Bools, n: int) -> Bools:
    """Of one sentence: the positions of each n-gram in the reference that has most of it, the first of equals."""
    places: dict[tuple[int, ...], dict[int, list[int]]] = {}
    for end in np.flatnonzero(inside).tolist():
        gram = tuple(tokens[end - n + 1 : end + 1].tolist())
        places.setdefault(gram, {}).setdefault(int(owner[end]), []).append(end)
    kept = np.zeros(len(tokens), bool)
    for by_reference in places.values():
        kept[max(by_reference.values(), key=len)] = True
    return kept


def pack(bits: Bools) -> Words:
    """The last axis, a multiple of 64, as bits of words, lowest first."""
    shape = (
        *bits.shape[:-1],
        bits.shape[-1] // BITS,
    )  # packed as one line, which is ten times as fast as by rows
    return np.packbits(bits.ravel(), bitorder="little").view(np.uint64).reshape(shape)


def positions(tokens: NDArray[Any], token: Ints) -> Words:
    """Where each token stands among its row's positions: uint64[n, ..., words] from [n, 64 * words] and int[n, ...]."""
    most = np.iinfo(tokens.dtype).max  # no reference has it, so what is cut to it matches nothing
    wanted = np.minimum(token, most).astype(tokens.dtype, copy=False)[..., None]
    return pack(tokens.reshape(len(tokens), *(1,) * (token.ndim - 1), -1) == wanted)


@dataclass(frozen=True)
class Counts:
    """What is known of `n` hypotheses so far, all that the next token's counts depend on.

    matched: uint64[n, order - 1, words], where their last tokens end in the references; free: uint64[n, order, words],
    positions not taken yet; correct: int64[n, order], n-grams shared, clipped.
    """

    matched: Words
    free: Words
    correct: Ints


def begin(references: References, rows: Ints) -> Counts:
    """Empty hypotheses for these sentences."""
    free = references.free[rows]
    return Counts(np.zeros_like(free[:, :-1]), free, np.zeros(free.shape[:2], np.int64))


def extend(counts: Counts, where: Words) -> Counts:
    """Hypotheses with one token more, that stands at the positions uint64[n, words] of its references.

    A token with no position, or none at all, breaks off what was matched.
    """
    matched = _onward(counts.matched.T, where.T)
    free, hit = _take(matched, counts.free.T)
    return Counts(matched[:, :-1].T, free.T, (counts.correct.T + hit).T)


def count(references: References, rows: Ints, hypotheses: Ints) -> Ints:
    """Clipped n-grams that whole hypotheses share with the references of `rows`, int64[n, order].

    Hypotheses are int[n, T]; whatever follows a hypothesis must be negative.
    """
    where = positions(references.tokens[rows], _tokens(hypotheses))  # [n, T, words]
    steps = np.ascontiguousarray(where.transpose(1, 2, 0))  # [T, words, n]
    free = np.ascontiguousarray(references.free[rows].T)  # [words, order, n]
    correct = np.zeros(free.shape[1:], np.int64)
    matched = np.zeros_like(free[:, :-1])
    for step in steps:
        now = _onward(matched, step)
        free, hit = _take(now, free)
        correct += hit
        matched = now[:, :-1]
    return correct.T


def _tokens(hypotheses: Ints) -> Ints:
    """Places without a token made to match nothing, not even places without one."""
    return np.where(hypotheses < 0, NOTHING - 1, hypotheses)


def _onward(matched: Words, where: Words) -> Words:
    """Matches of 1 to `order` tokens: uint64[words, order, n] from [words, order - 1, n] and [words, n]."""
    words, orders, n = matched.shape
    now = np.empty((words, orders + 1, n), np.uint64)
    now[:, 0] = where
    np.left_shift(matched, ONE, out=now[:, 1:])
    if words > 1:
        now[1:, 1:] |= matched[:-1] >> LAST
    now[:, 1:] &= where[:, None]
    return now


def _take(matched: Words, free: Words) -> tuple[Words, Bools]:
    """Take the lowest free position of each match: what is free then, and bool[order, n] where there was one."""
    found = matched & free
    lowest = found & np.negative(found)
    hit = lowest[0] != 0
    for word in range(1, len(lowest)):
        lowest[word] *= ~hit
        hit |= lowest[word] != 0
    return free ^ lowest, hit
