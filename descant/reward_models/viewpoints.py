"""How the notes of a melody relate to each other and to the key: viewpoints, after Conklin and Witten 1995.

With pitches alone a reward model would have to learn from comparisons what a step is, and for every note anew.
"""

from __future__ import annotations

import numpy as np

from descant.music.melodies import ACTIONS, FIRST_NOTE, LOWEST
from descant.tasks import Ints

WIDEST, LONGEST = 13, 16  # semitones and sixteenths; what is wider or longer counts as this
INTERVALS = 2 * WIDEST + 2  # -13 to 13, and no interval
SIZES = (ACTIONS, ACTIONS, LONGEST + 1, LONGEST + 1, 13, INTERVALS, INTERVALS)
"""Values that each viewpoint may take."""


def viewpoints(written: Ints, tonic: int) -> list[Ints]:
    """Of actions int64[n, T], seven columns int64[n, T] of each step, from 0 to below `SIZES`.

    The two notes begun before, as actions, 0 where there is none; sixteenths since each began; of a note that begins,
    semitones above the tonic (12 where none begins) and from the note before; semitones between the two before.
    Intervals are from 0 for 13 down, the last value where there is none.
    """
    notes, since = _before(written)
    begins = written >= FIRST_NOTE
    degree = np.where(begins, (written - FIRST_NOTE + LOWEST - tonic) % 12, 12)
    intervals = _interval(np.where(begins, written, 0), notes[0]), _interval(*notes)
    return [*notes, *since, degree, *intervals]


def _before(written: Ints) -> tuple[Ints, Ints]:
    """The last two notes begun before each step, and the sixteenths since: int64[2, n, T] each."""
    n, steps = written.shape
    last, begun = np.zeros((2, n), np.int64), np.full((2, n), -LONGEST)
    notes, since = np.zeros((2, 2, n, steps), np.int64)
    for t, action in enumerate(written.T):
        notes[..., t], since[..., t] = last, np.minimum(t - begun, LONGEST)
        begins = action >= FIRST_NOTE
        last = np.where(begins, np.stack([action, last[0]]), last)
        begun = np.where(begins, np.stack([np.full(n, t), begun[0]]), begun)
    return notes, since


def _interval(note: Ints, before: Ints) -> Ints:
    """Semitones up to a note from the one before, as a column has them."""
    there = (note > 0) & (before > 0)
    return np.where(there, np.clip(note - before, -WIDEST, WIDEST) + WIDEST, INTERVALS - 1)
