"""MusicXML, as others read it."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings

from descant.errors import DescantError
from descant.music.musicxml import to_musicxml, write_musicxml
from descant.music.pitches import Pitch
from descant.music.scores import Note, Score, Voice

from .readers import read_midi, spelled, spelled_in, verovio_midi, written
from .strategies import scores


def accidentals_of(score: Score) -> list[str]:
    """What stands before each sounding note: a name, or nothing."""
    notes = ElementTree.fromstring(to_musicxml(score)).iter("note")
    return [note.findtext("accidental", "") for note in notes if note.find("rest") is None]


@given(scores())
@settings(deadline=None, max_examples=25)
def test_music21_reads_pitches_and_times(music21: ModuleType, score: Score) -> None:
    assert spelled(music21, to_musicxml(score), "musicxml") == spelled_in(score)


def test_verovio_reads_pitches_and_times(duet: Score, tune: Score) -> None:
    for score in (duet, tune):
        read = read_midi(verovio_midi(to_musicxml(score), "xml"), score.tempo)
        assert read == [(pitch, start, pytest.approx(end, abs=0.011)) for pitch, start, end in written(score)]


def test_music21_reads_names_metre_and_clefs(tune: Score, music21: ModuleType, tmp_path: Path) -> None:
    write_musicxml(tune, tmp_path / "tune.musicxml")
    read = music21.converter.parse(tmp_path / "tune.musicxml")
    assert read.metadata.title == "Tune"
    assert [part.partName for part in read.parts] == ["Melody"]
    assert read.recurse().getElementsByClass("TimeSignature").first().ratioString == "3/4"
    assert read.recurse().getElementsByClass("Clef").first().name == "treble"
    assert read.recurse().getElementsByClass("MetronomeMark").first().getQuarterBPM() == 90


def test_accidentals_hold_to_the_bar_line_in_their_octave() -> None:
    names = ("F#4", "F#4", "F4", "F5", "F4", "Bb4", "F#4", "F##4")
    score = Score("", (Voice("", tuple(Note(Pitch.parse(name), 1) for name in names)),))
    assert accidentals_of(score) == ["sharp", "", "natural", "", "", "flat", "sharp", "double-sharp"]


def test_a_tied_note_shows_its_accidental_once_but_the_next_note_shows_it_again() -> None:
    names = (("D4", 3), ("F#4", 2), ("F#4", 1), ("F4", 1))
    score = Score("", (Voice("", tuple(Note(Pitch.parse(name), beats) for name, beats in names)),))
    assert accidentals_of(score) == ["", "sharp", "", "sharp", "natural"]


def test_marked_notes_are_coloured(tune: Score) -> None:
    notes = list(
        ElementTree.fromstring(to_musicxml(tune, {(0, 4): "#d00000", (7, 0): "#00ff00"})).iter("note")
    )
    assert [index for index, note in enumerate(notes) if note.get("color")] == [4, 5]
    assert {note.get("color") for note in notes} == {None, "#d00000"}


def test_pitches_below_the_lowest_octave_are_an_error() -> None:
    with pytest.raises(DescantError, match=r"B-1.*Transpose"):
        to_musicxml(Score("", (Voice("", (Note(Pitch.parse("B-1"), 1),)),)))
