"""Scores and counterpoint scores."""

from __future__ import annotations

import math

import pytest

from descant.errors import DescantError
from descant.music.pitches import Pitch, parse_line
from descant.music.scores import Note, Score, Voice, counterpoint_score

D4 = Pitch.parse("D4")


def score_of(beats_per_bar: float = 4, tempo: float = 120) -> Score:
    return Score("", (Voice("", (Note(D4, 1),)),), beats_per_bar, tempo)


def test_the_upper_voice_comes_first() -> None:
    cantus, counterpoint = parse_line("D4 E4 D4"), parse_line("A4 C#5 D5")
    above = counterpoint_score(cantus, counterpoint, "above")
    below = counterpoint_score(cantus, counterpoint, "below")
    assert [voice.name for voice in above.voices] == ["Counterpoint", "Cantus firmus"]
    assert [voice.pitches for voice in above.voices] == [counterpoint, cantus]
    assert below.voices == above.voices[::-1]


def test_counterpoint_is_in_whole_notes_and_knows_its_mode() -> None:
    line = parse_line("G3 A3 G3")
    score = counterpoint_score(line, line, "above", title="Unison", tempo=60)
    assert {note.beats for voice in score.voices for note in voice.notes} == {4}
    assert (score.title, score.tempo, score.mode, score.final) == ("Unison", 60, "mixolydian", "G3")
    assert (score.beats, score.seconds, score.time_signature) == (12, 12, (4, 4))


@pytest.mark.parametrize("final", ["B3", "F#4"])
def test_other_finals_have_no_mode(final: str) -> None:
    line = parse_line(final)
    assert counterpoint_score(line, line, "below").mode == ""


def test_lines_of_different_length_are_an_error() -> None:
    with pytest.raises(DescantError, match="3 notes and the counterpoint 2"):
        counterpoint_score(parse_line("D4 E4 D4"), parse_line("D4 D4"), "above")
    with pytest.raises(DescantError, match="0 notes"):
        counterpoint_score((), (), "above")


def test_a_wrong_position_is_an_error() -> None:
    with pytest.raises(DescantError, match=r"'abov'.*Did you mean 'above'"):
        counterpoint_score((D4,), (D4,), "abov")


def test_sounding_leaves_out_rests() -> None:
    voice = Voice("", (Note(D4, 1.5), Note(None, 1), Note(D4, 0.5)))
    assert list(voice.sounding()) == [(D4, 0, 1.5), (D4, 2.5, 3)]
    assert voice.pitches == (D4, D4)
    assert voice.beats == 3


@pytest.mark.parametrize(
    ("beats_per_bar", "signature"),
    [(4, (4, 4)), (3, (3, 4)), (2, (2, 4)), (1.5, (3, 8)), (8, (8, 4)), (0.75, (3, 16))],
)
def test_time_signatures(beats_per_bar: float, signature: tuple[int, int]) -> None:
    assert score_of(beats_per_bar).time_signature == signature


@pytest.mark.parametrize("beats_per_bar", [0, -4, math.nan, math.inf, 4.01, 300])
def test_bars_without_a_time_signature(beats_per_bar: float) -> None:
    with pytest.raises(DescantError, match="bar"):
        score_of(beats_per_bar=beats_per_bar)


@pytest.mark.parametrize("tempo", [0, -1, math.nan, math.inf, 3.9, 1001])
def test_tempos_out_of_range(tempo: float) -> None:
    with pytest.raises(DescantError, match="tempo"):
        score_of(tempo=tempo)


@pytest.mark.parametrize("beats", [0, -1, math.nan, math.inf])
def test_notes_without_length(beats: float) -> None:
    with pytest.raises(DescantError, match="length"):
        Note(D4, beats)


@pytest.mark.parametrize("voices", [(), (Voice("", ()),)])
def test_scores_without_notes(voices: tuple[Voice, ...]) -> None:
    with pytest.raises(DescantError, match="at least one voice"):
        Score("", voices)


def test_key_signatures_alter_letters() -> None:
    line = (Voice("", (Note(Pitch("C", 0, 4), 1),)),)
    assert Score("", line).signature == {}
    assert Score("", line, fifths=2).signature == {"F": 1, "C": 1}
    assert Score("", line, fifths=-3).signature == {"B": -1, "E": -1, "A": -1}
    with pytest.raises(DescantError, match="no key signature of 8"):
        Score("", line, fifths=8)
