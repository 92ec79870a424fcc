"""Pitches: spelling, parsing, numbers."""

from __future__ import annotations

import contextlib
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from descant.errors import DescantError
from descant.music.pitches import Pitch, parse_line

from .strategies import pitches

PITCHES = pitches()


@given(PITCHES)
def test_text_round_trips(pitch: Pitch) -> None:
    assert Pitch.parse(str(pitch)) == pitch


@given(st.text(max_size=6) | st.from_regex(r"[A-Ha-h][#b♯♭x]{0,3}-?[0-9]{0,2}", fullmatch=True))
def test_any_text_is_a_pitch_or_an_error(text: str) -> None:
    with contextlib.suppress(DescantError):
        assert 0 <= Pitch.parse(text).midi <= 127


@given(PITCHES, PITCHES)
def test_order_is_that_of_the_staff(one: Pitch, other: Pitch) -> None:
    assert (one < other) == ((one.diatonic, one.alteration) < (other.diatonic, other.alteration))
    assert (one <= other and other <= one) == (one == other)


@given(PITCHES)
def test_agrees_with_music21(music21: ModuleType, pitch: Pitch) -> None:
    reference = music21.pitch.Pitch(str(pitch).replace("b", "-"))
    assert pitch.midi == reference.ps
    assert pitch.frequency == pytest.approx(reference.frequency)
    assert pitch.diatonic == reference.diatonicNoteNum - 1


@pytest.mark.parametrize(
    ("text", "pitch", "midi", "diatonic"),
    [
        ("C4", Pitch("C", 0, 4), 60, 28),
        ("B#3", Pitch("B", 1, 3), 60, 27),
        ("Cb4", Pitch("C", -1, 4), 59, 28),
        ("F#3", Pitch("F", 1, 3), 54, 24),
        ("bb2", Pitch("B", -1, 2), 46, 20),
        ("C##4", Pitch("C", 2, 4), 62, 28),
        ("ebb3", Pitch("E", -2, 3), 50, 23),
        ("F♯4", Pitch("F", 1, 4), 66, 31),
        ("B♭♭4", Pitch("B", -2, 4), 69, 34),
        ("B-1", Pitch("B", 0, -1), 11, -1),
        ("C-1", Pitch("C", 0, -1), 0, -7),
        ("G9", Pitch("G", 0, 9), 127, 67),
    ],
)
def test_parse(text: str, pitch: Pitch, midi: int, diatonic: int) -> None:
    assert Pitch.parse(text) == pitch
    assert (pitch.midi, pitch.diatonic) == (midi, diatonic)


@pytest.mark.parametrize(
    "text",
    ["", "C", "4", "H4", "C10", "C-2", "C###4", "C#b4", "Cx4", "C4 ", "C4\n", "C٤", "Cb-1", "G#9", "A9"],
)
def test_what_is_not_a_pitch_is_named(text: str) -> None:
    with pytest.raises(DescantError) as caught:
        Pitch.parse(text)
    assert repr(text) in str(caught.value)
    assert "C#4" in str(caught.value)


@pytest.mark.parametrize(
    ("letter", "alteration", "octave"), [("H", 0, 4), ("c", 0, 4), ("C", 3, 4), ("C", 0, 10)]
)
def test_what_is_not_a_pitch_cannot_be_made(letter: str, alteration: int, octave: int) -> None:
    with pytest.raises(DescantError, match="no pitch"):
        Pitch(letter, alteration, octave)


def test_spellings_of_one_key_differ() -> None:
    sharp, flat = Pitch.parse("C#4"), Pitch.parse("Db4")
    assert sharp.midi == flat.midi
    assert sharp != flat
    assert sharp < flat


@pytest.mark.parametrize("number", range(128))
def test_from_midi_keeps_the_number(number: int) -> None:
    assert Pitch.from_midi(number).midi == number


def test_from_midi_spells_as_the_modes_do() -> None:
    names = [str(Pitch.from_midi(number)) for number in range(60, 72)]
    assert names == ["C4", "C#4", "D4", "Eb4", "E4", "F4", "F#4", "G4", "G#4", "A4", "Bb4", "B4"]


@pytest.mark.parametrize("number", [-1, 128])
def test_from_midi_rejects_other_numbers(number: int) -> None:
    with pytest.raises(DescantError, match="0 to 127"):
        Pitch.from_midi(number)


def test_frequency_and_naturals() -> None:
    assert Pitch.parse("A4").frequency == 440.0
    assert Pitch.parse("A3").frequency == 220.0
    assert Pitch.parse("A4").is_natural
    assert not Pitch.parse("Ab4").is_natural


@given(st.lists(PITCHES, min_size=1, max_size=9), st.sampled_from([" ", ",", ", ", "\n", " ,\t"]))
def test_lines_split_on_spaces_and_commas(line: list[Pitch], separator: str) -> None:
    assert parse_line(separator.join(map(str, line))) == tuple(line)


@pytest.mark.parametrize("text", ["", " ", " , "])
def test_an_empty_line_is_an_error(text: str) -> None:
    with pytest.raises(DescantError, match="no notes"):
        parse_line(text)


def test_a_bad_note_is_named_by_position() -> None:
    with pytest.raises(DescantError, match="Note 3: 'H4'"):
        parse_line("D4 F4, H4 D4")
