"""Windows: pieces of equal length cut from a corpus, each from the beginning of a bar, split by tune."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from descant.errors import DescantError
from descant.music.corpora import Corpus
from descant.music.melodies import FIRST_NOTE, HOLD
from descant.tasks import Bools, Ints

TRAIN, VALID, TEST = 0, 1, 2
SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Windows:
    """Actions int8[W, steps], the tune of each int64[W], and its split int64[W]: TRAIN, VALID or TEST."""

    actions: NDArray[np.int8]
    tunes: Ints
    splits: Ints

    def of(self, split: int) -> NDArray[np.int8]:
        """Those of a split, int8[w, steps]."""
        found: NDArray[np.int8] = self.actions[self.splits == split]
        return found


def cut(corpus: Corpus, steps: int = 32, stride: int = 1, seed: int = 0, share: float = 0.1) -> Windows:
    """Windows of so many steps from every `stride`-th bar of each tune, `share` of the tunes each in valid and test.

    A note that began before a window begins with it. Windows in which a note is off the grid or none sounds are left
    out. Equal ones are kept once: in train where they occur there, else in valid, so that nothing held out is seen in
    training. DescantError where a split is left without a window.
    """
    if steps < 1 or stride < 1 or not 0 < share < 0.5:
        raise DescantError("steps and stride must be 1 or more, and share between 0 and 0.5.")
    starts, tunes = _starts(corpus, steps, stride)
    actions = corpus.actions[starts[:, None] + np.arange(steps)]
    held = (actions[:, 0] == HOLD) & (corpus.sounding[starts] >= FIRST_NOTE)
    actions[held, 0] = corpus.sounding[starts[held]]
    notes = (actions >= FIRST_NOTE).any(axis=1)
    actions, tunes = actions[notes], tunes[notes]
    splits = tune_splits(corpus, seed, share)[tunes]
    kept = _first_of_equal(actions, splits)
    found = Windows(actions[kept], tunes[kept], splits[kept])
    for split, name in enumerate(SPLITS):
        if not (found.splits == split).any():
            raise DescantError(
                f"The corpus has no window of {steps} steps for {name}: give more tunes, or longer ones."
            )
    return found


def _starts(corpus: Corpus, steps: int, stride: int) -> tuple[Ints, Ints]:
    """First step of each window that lies within its tune and on the grid, and its tune."""
    tunes = np.searchsorted(corpus.offsets, corpus.bars, side="right") - 1
    number = np.arange(len(tunes)) - np.searchsorted(tunes, tunes)
    off_grid = np.concatenate([[0], np.cumsum(~corpus.on_grid)])
    kept: Bools = (number % stride == 0) & (corpus.bars + steps <= corpus.offsets[tunes + 1])
    starts, tunes = corpus.bars[kept], tunes[kept]
    clean = off_grid[starts + steps] == off_grid[starts]
    return starts[clean], tunes[clean]


def tune_splits(corpus: Corpus, seed: int = 0, share: float = 0.1) -> Ints:
    """The split of each tune, int64[n], drawn from its content: the same whatever other tunes there are."""
    chances = np.array([_chance(corpus.tune(i).tobytes(), seed) for i in range(len(corpus))])
    return np.where(chances < share, TEST, np.where(chances < 2 * share, VALID, TRAIN))


def _chance(content: bytes, seed: int) -> float:
    """A number in [0, 1) that follows from content and seed."""
    return int.from_bytes(hashlib.sha256(f"{seed}:".encode() + content).digest()[:7]) / 2**56


def _first_of_equal(actions: NDArray[np.int8], splits: Ints) -> Ints:
    """Rows of which no equal one comes before, those of the earlier splits first; in order."""
    order = np.argsort(splits, kind="stable")
    rows = np.ascontiguousarray(actions[order]).view(np.dtype((np.void, actions.shape[1])))[:, 0]
    _, first = np.unique(rows, return_index=True)
    return np.sort(order[first])


def observations(actions: NDArray[np.int8]) -> NDArray[np.uint8]:
    """What an agent sees along windows [W, T]: last action + 1 (0 before the first), steps written; uint8[T, W, 2]."""
    shape = actions.T.shape
    seen = np.zeros((*shape, 2), np.uint8)
    seen[1:, :, 0] = actions.T[:-1] + 1
    seen[..., 1] = np.arange(shape[0])[:, None]
    return seen
