"""Intervals: names, consonance, direction."""

from __future__ import annotations

from types import ModuleType

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from descant.errors import DescantError
from descant.music.intervals import Interval
from descant.music.pitches import LETTERS, Pitch

from .strategies import pitches

PITCHES = pitches()


def between(start: str, end: str) -> Interval:
    return Interval.between(Pitch.parse(start), Pitch.parse(end))


@given(PITCHES, PITCHES)
def test_turning_round_negates(start: Pitch, end: Pitch) -> None:
    interval = Interval.between(start, end)
    assert Interval.between(end, start) == -interval
    assert (-interval).name == interval.name
    assert (-interval).direction == -interval.direction


@given(PITCHES, PITCHES)
def test_name_agrees_with_music21(music21: ModuleType, start: Pitch, end: Pitch) -> None:
    ours = Interval.between(start, end)
    # music21 calls C4 to Cb4 a diminished unison, and has no fivefold alterations.
    assume((ours.steps or ours.semitones >= 0) and len(ours.quality) < 5)
    notes = [music21.note.Note(str(pitch).replace("b", "-")) for pitch in (start, end)]
    theirs = music21.interval.Interval(noteStart=notes[0], noteEnd=notes[1])
    assert ours.name == theirs.name
    assert ours.simple_name == theirs.semiSimpleName


@given(PITCHES, PITCHES)
def test_name_round_trips(start: Pitch, end: Pitch) -> None:
    interval = Interval.between(start, end)
    upward = -interval if interval.direction < 0 else interval
    assert Interval.parse(interval.name) == upward
    if interval.direction < 0:
        assert Interval.parse(f"-{interval.name}") == interval


@given(st.sampled_from(LETTERS), st.integers(-2, 2), st.sampled_from(LETTERS), st.integers(-2, 2))
def test_inversion_within_an_octave(low: str, flat: int, high: str, sharp: int) -> None:
    """An interval and its inversion make nine, and exchange major for minor, augmented for diminished."""
    lower, upper = Pitch(low, flat, 4), Pitch(high, sharp, 4)
    assume(lower.diatonic < upper.diatonic)
    interval = Interval.between(lower, upper)
    inversion = Interval.between(upper, Pitch(low, flat, 5))
    assert interval.number + inversion.number == 9
    assert inversion.quality == interval.quality.translate(str.maketrans("MmAd", "mMdA"))


@given(PITCHES, PITCHES, st.integers(1, 3))
def test_octaves_leave_the_simple_name(start: Pitch, end: Pitch, octaves: int) -> None:
    interval = Interval.between(start, end)
    assume(interval.steps > 0)
    compound = Interval(interval.steps + 7 * octaves, interval.semitones + 12 * octaves)
    assert compound.simple_name == interval.simple_name
    assert compound.is_consonant == interval.is_consonant


@pytest.mark.parametrize(
    ("start", "end", "name", "simple_name"),
    [
        ("C4", "C4", "P1", "P1"),
        ("C4", "C#4", "A1", "A1"),
        ("C4", "Cb4", "A1", "A1"),
        ("C4", "Eb4", "m3", "m3"),
        ("C4", "D#4", "A2", "A2"),
        ("D4", "C#4", "m2", "m2"),
        ("F4", "B4", "A4", "A4"),
        ("B3", "F4", "d5", "d5"),
        ("C4", "C5", "P8", "P8"),
        ("C4", "C6", "P15", "P8"),
        ("C4", "Cb5", "d8", "d8"),
        ("D4", "F5", "m10", "m3"),
        ("C4", "G5", "P12", "P5"),
        ("C4", "B##4", "AA7", "AA7"),
        ("C##4", "Eb4", "dd3", "dd3"),
        ("B4", "Cb5", "d2", "d2"),
        ("B#4", "Cb5", "dd2", "dd2"),
        ("Cb5", "B#4", "dd2", "dd2"),
    ],
)
def test_names(start: str, end: str, name: str, simple_name: str) -> None:
    interval = between(start, end)
    assert (interval.name, interval.simple_name) == (name, simple_name)


@pytest.mark.parametrize(("start", "end", "direction"), [("D4", "E4", 1), ("E4", "D4", -1), ("D4", "D4", 0)])
def test_direction(start: str, end: str, direction: int) -> None:
    assert between(start, end).direction == direction


def test_direction_without_steps_is_that_of_the_semitones() -> None:
    assert between("C4", "C#4").direction == 1
    assert between("C#4", "C4").direction == -1


def test_direction_follows_the_staff_not_the_sound() -> None:
    assert between("B#4", "Cb5").direction == 1


@pytest.mark.parametrize("name", ["P1", "P5", "P8", "P12", "P15"])
def test_perfect_consonances(name: str) -> None:
    interval = Interval.parse(name)
    assert interval.is_perfect_consonance
    assert interval.is_consonant
    assert not interval.is_imperfect_consonance


@pytest.mark.parametrize("name", ["m3", "M3", "m6", "M6", "m10", "M13", "-M3"])
def test_imperfect_consonances(name: str) -> None:
    interval = Interval.parse(name)
    assert interval.is_imperfect_consonance
    assert interval.is_consonant
    assert not interval.is_perfect_consonance


@pytest.mark.parametrize(
    "name", ["m2", "M2", "P4", "A4", "d5", "m7", "M7", "P11", "A1", "d8", "A2", "A5", "d4"]
)
def test_dissonances(name: str) -> None:
    assert not Interval.parse(name).is_consonant


@pytest.mark.parametrize(
    "text", ["", "3", "m", "m5", "P3", "M8", "M4", "x3", "m0", "Am3", "d1", "P5 ", "m3\n"]
)
def test_what_is_not_an_interval_is_named(text: str) -> None:
    with pytest.raises(DescantError) as caught:
        Interval.parse(text)
    assert repr(text) in str(caught.value)
    assert "M10" in str(caught.value)
