"""Melodies as actions: there and back, and what can't be one."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from descant.errors import DescantError
from descant.music.keys import Key
from descant.music.melodies import ACTIONS, HOLD, NOTE_OFF, Note, action_of, actions_of, midi_of, notes_of

MELODIES = st.lists(st.integers(0, ACTIONS - 1), min_size=1, max_size=64)


def test_the_codes_are_those_of_the_paper() -> None:
    assert ACTIONS == 38
    assert [action_of(48), action_of(60), action_of(83)] == [2, 14, 37]
    assert midi_of(np.array([0, 1, 2, 23, 37])).tolist() == [-1, -1, 48, 69, 83]


@given(MELODIES)
def test_notes_there_and_back(actions: list[int]) -> None:
    notes = notes_of(actions)
    assert all(a.step + a.steps <= b.step for a, b in pairwise(notes))
    assert notes_of(actions_of(notes, len(actions))) == notes


def test_a_note_lasts_until_the_next_event() -> None:
    actions = [HOLD, 14, HOLD, 16, NOTE_OFF, NOTE_OFF, 14, HOLD]
    assert notes_of(actions) == (Note(1, 2, 60), Note(3, 1, 62), Note(6, 2, 60))
    assert actions_of(notes_of(actions), 8).tolist() == [1, 14, 0 + 1, 16, 0, 1, 14, 1]


@pytest.mark.parametrize(
    "notes",
    [
        [Note(0, 3, 60), Note(2, 1, 62)],
        [Note(0, 9, 60)],
        [Note(0, 0, 60)],
        [Note(0, 1, 47)],
        [Note(0, 1, 84)],
    ],
)
def test_what_the_grid_cannot_hold_is_refused(notes: list[Note]) -> None:
    with pytest.raises(DescantError):
        actions_of(notes, 8)


def test_a_key_has_the_pitch_classes_of_its_scale() -> None:
    assert Key().pitch_classes == {0, 2, 4, 5, 7, 9, 11} == Key("A", "minor").pitch_classes
    assert Key("D", "dorian").pitch_classes == Key("C", "ionian").pitch_classes
    assert Key("Bb", "major").pitch_class == 10
    assert str(Key("F#", "lydian")) == "F# lydian"
    for tonic, mode in (("H", "major"), ("C", "majr"), ("c", "major")):
        with pytest.raises(DescantError, match=r"no (key|mode)"):
            Key(tonic, mode)
