"""What a rule can look at, as broadcastable arrays: a bar, two bars, a leap and what follows, a run, the climax.

Each view covers every code of one field of `Move`; a rule is a function of a view that gives the codes that break
it. Arrays broadcast to the view's `shape`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from descant.music.counterpoint import (
    CANTUS_PITCHES,
    FINALS,
    GAMUT,
    LAST,
    LEAPS,
    MIDI,
    OPENING,
    PENULTIMATE,
    REACH,
    RUNS,
    STAFF,
    BarKinds,
    C,
    G,
    StepKinds,
)
from descant.music.modes import BY_FINAL
from descant.music.pitches import LETTERS
from descant.tasks import Bools, Ints

CANTUS_MIDI = np.array([p.midi for p in CANTUS_PITCHES] + [0])  # the last entry stands for "no note"
CANTUS_STAFF = np.array([p.diatonic for p in CANTUS_PITCHES] + [0])
CANTUS_LETTER = np.array([LETTERS.index(p.letter) for p in CANTUS_PITCHES] + [-1])
CANTUS_ALTERATION = np.array([p.alteration for p in CANTUS_PITCHES] + [0])
LETTER = np.array([LETTERS.index(p.letter) for p in GAMUT])
ALTERATION = np.array([p.alteration for p in GAMUT])
# By index in FINALS: letter of the leading note, and whether the cadence raises it.
LEADING = np.array([LETTERS.index(BY_FINAL[final].leading_note[0]) for final in FINALS])
RAISED = np.array([BY_FINAL[final].leading_note[1] for final in FINALS])
F = LETTERS.index("F")

# (steps, semitones) within an octave of the consonances; everything else, the fourth too, is dissonant.
PERFECT = ((0, 0), (4, 7))
IMPERFECT = ((2, 3), (2, 4), (5, 8), (5, 9))


def simple(steps: Ints, semitones: Ints) -> tuple[Ints, Ints]:
    """The interval without direction and octaves: staff steps 0..6 and its semitones above the lower note."""
    down = steps < 0
    steps, semitones = np.where(down, -steps, steps), np.where(down, -semitones, semitones)
    return steps % 7, semitones - 12 * (steps // 7)


def one_of(interval: tuple[Ints, Ints], kinds: tuple[tuple[int, int], ...]) -> Bools:
    """Where a simple interval is one of `kinds`."""
    found = np.zeros(np.broadcast_shapes(interval[0].shape, interval[1].shape), bool)
    for steps, semitones in kinds:
        found |= (interval[0] == steps) & (interval[1] == semitones)
    return found


@dataclass(frozen=True)
class Sonority:
    """The interval from cantus to counterpoint; `own_*` count towards the counterpoint's side."""

    own_steps: Ints
    own_semitones: Ints

    @property
    def perfect(self) -> Bools:
        """A unison, fifth, octave or a compound of one."""
        return one_of(simple(self.own_steps, self.own_semitones), PERFECT)

    @property
    def consonant(self) -> Bools:
        """A perfect or imperfect consonance."""
        return one_of(simple(self.own_steps, self.own_semitones), PERFECT + IMPERFECT)

    @property
    def octave(self) -> Bools:
        """A unison, an octave or a compound."""
        return one_of(simple(self.own_steps, self.own_semitones), PERFECT[:1])

    @property
    def unison(self) -> Bools:
        """Exactly the same pitch."""
        return (self.own_steps == 0) & (self.own_semitones == 0)


def sonority(below: Ints, cantus: Ints, note: Ints) -> Sonority:
    """The interval of gamut indices `note` against cantus indices `cantus`; `below` is 1 for the lower voice."""
    side = 1 - 2 * below
    return Sonority(side * (STAFF[note] - CANTUS_STAFF[cantus]), side * (MIDI[note] - CANTUS_MIDI[cantus]))


def direction(steps: Ints, semitones: Ints) -> Ints:
    """-1, 0 or 1: by staff steps, by semitones where there are none."""
    return np.sign(np.where(steps == 0, semitones, steps))


class BarView:
    """A note in its bar: [kinds of bar, G]."""

    def __init__(self, kinds: BarKinds) -> None:
        self.shape = (len(kinds.role), G)
        self.below = kinds.below[:, None]
        self.cantus = kinds.cantus[:, None]
        self.opening = kinds.role[:, None] == OPENING
        self.penultimate = kinds.role[:, None] == PENULTIMATE
        self.last = kinds.role[:, None] == LAST
        self.final = kinds.final[:, None]
        self.note = np.arange(G)[None, :]
        self.sonority = sonority(self.below, self.cantus, self.note)
        low = CANTUS_MIDI[kinds.lowest[:, None]] - REACH * self.below
        high = CANTUS_MIDI[kinds.highest[:, None]] + REACH * (1 - self.below)
        self.in_range = (MIDI[self.note] >= low) & (MIDI[self.note] <= high)
        leading = (LETTER[self.note] == LEADING[self.final]) & (ALTERATION[self.note] == 1)
        self.raised_leading_note = leading & (RAISED[self.final] == 1)


class StepView:
    """A note and the one before it: [kinds of cantus step, G + 1, G]; rows of `before` 0 have no note before."""

    def __init__(self, kinds: StepKinds) -> None:
        self.shape = (len(kinds.now), G + 1, G)
        below, last, before, now = (
            column[:, None, None] for column in (kinds.below, kinds.last, kinds.before, kinds.now)
        )
        note_before = np.maximum(np.arange(G + 1) - 1, 0)[None, :, None]
        self.exists = (np.arange(G + 1) > 0)[None, :, None] & (before < C)
        self.below, self.last, self.cantus, self.cantus_before = below, last == 1, now, before
        self.note, self.note_before = np.arange(G)[None, None, :], note_before
        self.sonority = sonority(below, now, self.note)
        self.sonority_before = sonority(below, before, note_before)
        self.steps = STAFF[self.note] - STAFF[note_before]
        self.semitones = MIDI[self.note] - MIDI[note_before]
        self.cantus_steps = CANTUS_STAFF[now] - CANTUS_STAFF[before]
        self.direction = direction(self.steps, self.semitones)
        self.cantus_direction = direction(self.cantus_steps, CANTUS_MIDI[now] - CANTUS_MIDI[before])
        self.same_way = (self.direction * self.cantus_direction) > 0
        self.contrary = (self.direction * self.cantus_direction) < 0


class LeapView:
    """The last melodic move, the note it reached and the next note: [LEAPS, G + 1, G]."""

    def __init__(self) -> None:
        self.shape = (LEAPS, G + 1, G)
        leap = np.arange(LEAPS)[:, None, None]
        self.size = np.where(leap > 3, leap - 3, leap)  # 0 none, 1 a third, 2 a fourth, 3 wider
        self.direction = np.where(leap == 0, 0, np.where(leap > 3, -1, 1))
        note_before = np.maximum(np.arange(G + 1) - 1, 0)[None, :, None]
        self.exists = (np.arange(G + 1) > 0)[None, :, None]
        self.steps = STAFF[None, None, :] - STAFF[note_before]


class RunView:
    """The run of thirds or sixths so far and the consonance now: [RUNS, 3]."""

    def __init__(self) -> None:
        self.shape = (RUNS, 3)
        run = np.arange(RUNS)[:, None]
        kind = np.arange(3)[None, :]
        self.would_be_fourth = (run > 0) & (run % 3 == 0) & (run // 3 == kind)


class ClimaxView:
    """Whether the note is the last, highest note so far, whether unique, the note now: [2, G + 1, 2, G]."""

    def __init__(self) -> None:
        self.shape = (2, G + 1, 2, G)
        self.last = np.arange(2)[:, None, None, None] == 1
        highest = np.arange(G + 1)[None, :, None, None]
        unique = np.arange(2)[None, None, :, None] == 1
        note = np.arange(1, G + 1)[None, None, None, :]
        staff = np.concatenate([[-1000], STAFF])
        self.below_highest = np.where(highest > 0, staff[highest] - staff[note], 0)
        self.unique = (note > highest) | ((note < highest) & unique)


Array = NDArray[np.bool_]
