"""Rewards that show what goes wrong: one that tells nothing, and one that a word said again and again satisfies."""

from __future__ import annotations

from typing import Any

import numpy as np

from descant.tasks import Floats, Ints
from descant.text.bleu import closest


class Constant:
    """1 for every translation that ends, whatever it says; it teaches nothing (Choshen et al. 2020)."""

    def __call__(self, state: Any, action: Ints, next_state: Any) -> Floats:
        """float64[n]."""
        found: Floats = (next_state.ended & ~state.ended).astype(float)
        return found

    def terms(self, state: Any, action: Ints, next_state: Any) -> dict[str, Floats]:
        """The reward by its name."""
        return {"constant": self(state, action, next_state)}


class Unclipped:
    """At the end, the share of the words written that the reference has, with BLEU's price on what is too short.

    A word counts as often as it is written: word precision before it was clipped, of which Papineni et al. 2002
    (section 2.1) say that "the the the the" has all of it.
    """

    def __call__(self, state: Any, action: Ints, next_state: Any) -> Floats:
        """float64[n] from 0 to 1."""
        ends = np.flatnonzero(next_state.ended & ~state.ended)
        pairs, length = next_state.pairs.references, next_state.length[ends]
        written, rows = next_state.target[ends], next_state.pair[ends]
        known = (written[:, :, None] == pairs.tokens[rows][:, None, :]).any(axis=2)
        words = np.arange(written.shape[1]) < length[:, None]
        near = closest(pairs.lengths[rows], length)
        long = np.maximum(length, 1)
        found = np.zeros(len(next_state.ended))
        found[ends] = (known & words).sum(axis=1) / long * np.exp(np.minimum(1 - near / long, 0.0))
        return found

    def terms(self, state: Any, action: Ints, next_state: Any) -> dict[str, Floats]:
        """The reward by its name."""
        return {"unclipped": self(state, action, next_state)}
