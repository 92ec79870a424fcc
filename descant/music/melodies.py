"""Melodies as actions on a grid of sixteenths: the one place that knows what each of the 38 actions means.

0 ends the note that sounds, 1 changes nothing, 2 to 37 begin MIDI note 48 to 83 (C3 to B5), which ends what sounded
before. The numbers are those of Jaques et al. 2017 (after Magenta's melody encoding).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from descant.errors import DescantError
from descant.tasks import Ints

NOTE_OFF, HOLD, FIRST_NOTE = 0, 1, 2
LOWEST, HIGHEST = 48, 83  # MIDI
ACTIONS = FIRST_NOTE + HIGHEST - LOWEST + 1
STEPS_PER_BEAT = 4  # sixteenths in a quarter note


@dataclass(frozen=True, slots=True, order=True)
class Note:
    """A note on the grid: first step from 0, length in steps, MIDI number."""

    step: int
    steps: int
    midi: int


def action_of(midi: int) -> int:
    """The action that begins a MIDI note; DescantError outside 48 to 83."""
    if not LOWEST <= midi <= HIGHEST:
        raise DescantError(
            f"MIDI note {midi} is outside {LOWEST} to {HIGHEST} (C3 to B5): transpose the melody."
        )
    return int(midi) - LOWEST + FIRST_NOTE


def midi_of(actions: Ints | NDArray[np.int8]) -> Ints:
    """MIDI number that each action begins, -1 for note-off and hold; int64 of the same shape."""
    actions = np.asarray(actions, np.int64)
    return np.where(actions >= FIRST_NOTE, actions - FIRST_NOTE + LOWEST, -1)


def notes_of(actions: Sequence[int] | Ints) -> tuple[Note, ...]:
    """The notes that actions [T] sound, in order; a note still sounding at the end lasts to it."""
    notes, begun, midi = [], 0, -1
    for step, action in enumerate([*(int(a) for a in actions), NOTE_OFF]):
        if action == HOLD:
            continue
        if midi >= 0:
            notes.append(Note(begun, step - begun, midi))
        begun, midi = step, int(midi_of(np.array(action)))
    return tuple(notes)


def actions_of(notes: Iterable[Note], steps: int) -> NDArray[np.int8]:
    """Actions int8[steps] that sound the notes; note-off only where a note ends in silence.

    DescantError where notes overlap, lie outside the steps or out of range.
    """
    actions = np.full(steps, HOLD, np.int8)
    free = 0
    for note in sorted(notes):
        if note.steps < 1 or note.step < free or note.step + note.steps > steps:
            raise DescantError(
                f"{note} overlaps another or lies outside of {steps} steps: one note at a time."
            )
        actions[note.step] = action_of(note.midi)
        free = note.step + note.steps
        if free < steps:
            actions[free] = NOTE_OFF
    return actions
