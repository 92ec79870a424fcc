"""Best actions by what is seen, in a few bytes a state: for plans that are kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from descant.tasks import Bools


@dataclass(frozen=True)
class Table:
    """The best actions in all states of one step: a few bytes a state, for there are many of them.

    Only the bytes in which the states look different are kept of each; what they share is kept once.
    """

    shared: NDArray[np.uint8]  # [B], one of the states
    differ: Bools  # [B], which bytes are not the same in all of them
    keys: Any  # those bytes of each state, sorted
    bits: NDArray[np.uint8]  # the best actions of each, packed

    def best(self, seen: NDArray[np.uint8], actions: int) -> Bools:
        """bool[n, A] for uint8[n, B]; everything for what is none of these states."""
        keys = _joined(seen, self.differ)
        place = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        known = (self.keys[place] == keys) & (seen == self.shared)[:, ~self.differ].all(axis=1)
        best = np.unpackbits(self.bits[place], axis=1, count=actions).astype(bool)
        best[~known] = True
        return best


def make_table(states: NDArray[np.uint8], best: Bools) -> Table:
    """The table of states uint8[n, B] and their best actions bool[n, A]."""
    differ: Bools = (states != states[0]).any(axis=0)
    keys = _joined(states, differ)
    order = np.argsort(keys)
    return Table(states[0].copy(), differ, keys[order], np.packbits(best[order], axis=1))


def _joined(states: NDArray[np.uint8], columns: Bools) -> Any:
    """Some columns of each row as one bytes object, behind one byte of our own: there may be none."""
    chosen = np.concatenate([np.ones((len(states), 1), np.uint8), states[:, columns]], axis=1)
    return np.ascontiguousarray(chosen).view(f"S{chosen.shape[1]}")[:, 0]
