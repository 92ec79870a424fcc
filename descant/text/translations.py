"""Translations that are being written: the state that the environment and its rewards share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from descant.tasks import Bools, Floats, Ints, shared
from descant.text import bleu, chrf
from descant.text.matches import NOTHING, Counts, Words, begin, extend, positions
from descant.text.pairs import Pairs
from descant.text.vocabularies import EOS, PAD


@dataclass(frozen=True)
class State:
    """`n` translations. What is written stands in `target`, its EOS included, then PAD."""

    pair: Ints  # index of the sentence
    target: NDArray[np.int32]  # [n, T]
    position: Ints  # tokens written
    ended: Bools  # by EOS
    stride: Ints  # which sentence is next in sequential order: so many on
    matched: Words  # [n, order - 1, words] and so on: see descant.text.matches.Counts
    free: Words
    correct: Ints  # [n, order], n-grams shared with the references so far
    pairs: Pairs = shared()

    @property
    def length(self) -> Ints:
        """Tokens written without EOS, int64[n]."""
        return self.position - self.ended

    @property
    def limit(self) -> int:
        """T, the tokens that can be written, EOS included."""
        return int(self.target.shape[1])


def start(pairs: Pairs, rows: Ints, limit: int, stride: Ints | int = 1) -> State:
    """Nothing written yet, for these sentences."""
    n = len(rows)
    counts = begin(pairs.references, rows)
    target = np.full((n, limit), PAD, np.int32)
    strides = np.broadcast_to(np.asarray(stride, np.int64), (n,)).copy()
    nothing = (target, np.zeros(n, np.int64), np.zeros(n, bool), strides)
    return State(np.array(rows, np.int64), *nothing, counts.matched, counts.free, counts.correct, pairs)


def write(state: State, action: Ints) -> State:
    """A token more of each; what has ended or is full stays as it is."""
    rows = np.flatnonzero(~state.ended & (state.position < state.limit))
    writing = np.zeros(len(action), bool)
    writing[rows] = True
    target = state.target.copy()
    target[rows, state.position[rows]] = action[rows]
    counted = np.where(writing, action, NOTHING - 1)  # EOS is in no reference
    table = state.pairs.references
    counts = Counts(state.matched, state.free, state.correct)
    after = extend(counts, positions(table.tokens.take(state.pair, axis=0), counted))
    ended = state.ended | (writing & (action == EOS))
    fixed = (state.pair.copy(), target, state.position + writing, ended, state.stride.copy())
    return State(*fixed, after.matched, after.free, after.correct, state.pairs)


def bleu_scores(state: State, config: bleu.Config) -> Floats:
    """Sentence BLEU from 0 to 100 of what is written, float64[n]."""
    lengths = state.length
    near = bleu.closest(state.pairs.references.lengths[state.pair], lengths)
    return bleu.scores(state.correct[:, : config.order], lengths, near, config)


def chrf_scores(state: State, config: chrf.Config) -> Floats:
    """Sentence chrF from 0 to 100 of the text of what is written, float64[n]."""
    signs = [chrf.characters(text, config.whitespace) for text in texts_of(state)]
    lengths = np.array([len(each) for each in signs], np.int64)
    padded = np.full((len(signs), max(lengths, default=0)), NOTHING, np.int64)
    for row, each in zip(padded, signs, strict=True):
        row[: len(each)] = each
    return chrf.whole_scores(state.pairs.texts(config), state.pair, padded, lengths, config)


def tokens_of(state: State) -> list[list[int]]:
    """What is written, without EOS."""
    return [row[:length].tolist() for row, length in zip(state.target, state.length, strict=True)]


def texts_of(state: State) -> list[str]:
    """What is written, as texts."""
    codec: Any = state.pairs.codecs[1]
    return [codec.decode(ids) for ids in tokens_of(state)]
