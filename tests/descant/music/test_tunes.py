"""Tunes brought to C major or A minor and onto the grid."""

from __future__ import annotations

import numpy as np
import pytest

from descant.music.abc_tunes import read_tune
from descant.music.keys import Key
from descant.music.melodies import HOLD, LOWEST, Note, midi_of, notes_of
from descant.music.tunes import (
    TICKS_PER_STEP,
    BadTune,
    GridTune,
    Sounding,
    Tune,
    folded,
    found_key,
    mode_of,
    regular_bars,
    to_grid,
    transposition,
    whole_bars,
)


def line(*midi: int, steps: int = 2) -> tuple[Sounding, ...]:
    """Notes of equal length one after another."""
    length = steps * TICKS_PER_STEP
    return tuple((i * length, length, note) for i, note in enumerate(midi))


def scale(tonic: int, *intervals: int) -> tuple[Sounding, ...]:
    return line(*(tonic + i for i in (*intervals, 12)))


MAJOR, MINOR, DORIAN = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 2, 3, 5, 7, 9, 10)


def grid(tune: Tune) -> GridTune:
    return to_grid(tune)


@pytest.mark.parametrize(
    ("key", "notes", "shift"),
    [
        (Key("C"), scale(60, *MAJOR), 0),
        (Key("G"), scale(67, *MAJOR), 5),
        (Key("D"), scale(62, *MAJOR), -2),
        (Key("Eb"), scale(63, *MAJOR), -3),
        (Key("E", "minor"), scale(64, *MINOR), 5),
        (Key("D", "dorian"), scale(62, *DORIAN), 0),
        (Key("A", "mixolydian"), line(69, 71, 73, 74, 76, 78, 79, 81), -2),
        (Key("G"), scale(67, *MINOR), 2),  # minor, whatever is written
        (Key("G"), scale(67, *DORIAN), -5),
    ],
)
def test_the_scale_has_no_sharps_or_flats_afterwards(
    key: Key, notes: tuple[Sounding, ...], shift: int
) -> None:
    assert transposition(key, notes) == shift
    assert {(midi + shift) % 12 for _, _, midi in notes} <= {0, 2, 4, 5, 7, 9, 11}


def test_the_mode_written_stays_where_another_fits_no_better() -> None:
    assert mode_of(Key("G"), line(67, 69, 71, 74, 76)) == "major"  # no fourth, no seventh
    assert mode_of(Key("A", "dorian"), line(69, 72, 76)) == "dorian"


def test_a_key_that_is_not_written_is_found() -> None:
    tune = read_tune("X:1\nL:1/8\nK:D\nA2|d2 dd f2 fd|e2 ee a3 g|f2 df e2 ce|d4 d2:|\n")
    assert (found_key(tune.notes).pitch_class, found_key(tune.notes).mode) == (2, "major")
    minor = line(57, 60, 64, 57, 59, 60, 62, 64, 68, 69, 64, 60, 57)
    assert str(found_key(minor)) == "A minor"
    assert transposition(None, line(60, 60)) == 0


def test_octaves_bring_all_into_the_range() -> None:
    assert folded([60, 64, 67]) == [60, 64, 67]
    assert folded([30, 36, 40]) == [54, 60, 64]
    assert folded([90, 96]) == [66, 72]
    assert folded([47, 48, 83, 84]) == [59, 48, 83, 72]
    assert all(48 <= note <= 83 for note in folded(list(range(128))))


def test_notes_stand_on_the_grid() -> None:
    found = grid(Tune("t", ((0, 4 * TICKS_PER_STEP, 60), (6 * TICKS_PER_STEP, 2 * TICKS_PER_STEP, 64)), (0,)))
    assert notes_of(found.actions) == (Note(0, 4, 60), Note(6, 2, 64))
    np.testing.assert_array_equal(
        found.sounding, np.array([60, 60, 60, 60, 0, 0, 64, 64]).clip(LOWEST - 2) - LOWEST + 2
    )
    assert found.on_grid.all()


def test_a_note_off_the_grid_is_left_out_and_its_steps_marked() -> None:
    third = 4 * TICKS_PER_STEP // 3
    notes = (
        (0, third, 60),
        (third, third, 62),
        (2 * third, third, 64),
        (4 * TICKS_PER_STEP, 4 * TICKS_PER_STEP, 65),
    )
    found = grid(Tune("t", notes, (0,), Key("C")))
    assert found.on_grid.tolist() == [False] * 4 + [True] * 4
    assert [int(midi) for midi in midi_of(found.actions) if midi >= 0] == [65]
    assert (found.actions[:4] == HOLD).all()


def test_a_little_off_the_grid_is_on_it() -> None:
    found = grid(
        Tune("t", ((TICKS_PER_STEP // 10, TICKS_PER_STEP, 60), (TICKS_PER_STEP, TICKS_PER_STEP, 62)), ())
    )
    assert [note.midi for note in notes_of(found.actions)] == [60, 62]


@pytest.mark.parametrize(
    ("notes", "reason"),
    [
        ((), "empty"),
        (((0, TICKS_PER_STEP, 60), (0, TICKS_PER_STEP, 64)), "polyphonic"),
        (((0, 1 << 40, 60),), "too long"),
        (((TICKS_PER_STEP // 2, TICKS_PER_STEP, 60),), "off the grid"),
    ],
)
def test_what_can_not_be_used_is_refused(notes: tuple[Sounding, ...], reason: str) -> None:
    with pytest.raises(BadTune) as caught:
        grid(Tune("t", notes, (), Key("C")))
    assert caught.value.reason == reason


def test_bars() -> None:
    assert whole_bars([2, 10, 16, 18, 26], 8, 30) == (2, 18)
    assert whole_bars([], 8, 8) == (0,)
    assert regular_bars(8, 20) == (0, 8)
    assert regular_bars(8, 24) == (0, 8, 16)
