"""MIDI out and in."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Sequence
from pathlib import Path

import mido
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from descant.errors import DescantError
from descant.music.midi import read_line, to_midi, write_midi
from descant.music.pitches import Pitch, parse_line
from descant.music.scores import Note, Score, Voice

from .readers import read_midi, written
from .strategies import scores

LINE = parse_line("D4 F4 E4 C#4 Bb4 Bb4 D4")
GOOD = to_midi(Score("", (Voice("Cantus firmus", tuple(Note(pitch, 4) for pitch in LINE)),)))


def midi_file(path: Path, tracks: Sequence[Sequence[mido.Message]]) -> Path:
    """A MIDI file of the given messages."""
    file = mido.MidiFile()
    file.tracks.extend(mido.MidiTrack(messages) for messages in tracks)
    file.save(path)
    return path


def on(note: int, time: int = 0, velocity: int = 64, channel: int = 0) -> mido.Message:
    return mido.Message("note_on", note=note, time=time, velocity=velocity, channel=channel)


def off(note: int, time: int = 0) -> mido.Message:
    return mido.Message("note_off", note=note, time=time)


def test_a_line_round_trips(tmp_path: Path) -> None:
    path = tmp_path / "new" / "line.mid"
    write_midi(Score("", (Voice("Cantus firmus", tuple(Note(pitch, 4) for pitch in LINE)),)), path)
    assert path.read_bytes() == GOOD
    assert read_line(path) == LINE


def test_a_score_round_trips(duet: Score, tune: Score) -> None:
    for score in (duet, tune):
        assert read_midi(to_midi(score), score.tempo) == written(score)


@given(scores())
@settings(deadline=None)
def test_any_score_can_be_written_and_is_written_the_same_twice(score: Score) -> None:
    content = to_midi(score)
    assert to_midi(score) == content
    tracks = mido.MidiFile(file=io.BytesIO(content)).tracks
    assert len(tracks) == len(score.voices) + 1


def test_voices_tempo_metre_and_program_are_told(tune: Score) -> None:
    first, track = mido.MidiFile(file=io.BytesIO(to_midi(tune, program=52))).tracks
    told = {message.type: message for message in [*first, *track]}
    assert mido.tempo2bpm(told["set_tempo"].tempo) == pytest.approx(90, abs=0.01)
    assert (told["time_signature"].numerator, told["time_signature"].denominator) == (3, 4)
    assert told["program_change"].program == 52
    assert track.name == "Melody"


@pytest.mark.parametrize("program", [-1, 128])
def test_programs_out_of_range(duet: Score, program: int) -> None:
    with pytest.raises(DescantError, match="0 to 127"):
        to_midi(duet, program)


@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda tail: GOOD[:14] + tail))
@settings(deadline=None)
def test_random_bytes_are_a_line_or_an_error(content: bytes) -> None:
    check_damaged(content)


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
@settings(deadline=None)
def test_one_wrong_byte_gives_a_line_or_an_error(position: int, byte: int) -> None:
    check_damaged(GOOD[:position] + bytes([byte]) + GOOD[position + 1 :])


def check_damaged(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "damaged.mid"
        path.write_bytes(content)
        with contextlib.suppress(DescantError):
            assert read_line(path)


@pytest.mark.parametrize("length", range(0, len(GOOD), 5))
def test_a_truncated_file_is_named(tmp_path: Path, length: int) -> None:
    path = tmp_path / "short.mid"
    path.write_bytes(GOOD[:length])
    with pytest.raises(DescantError, match=r"short\.mid.*standard MIDI file"):
        read_line(path)


def test_overlapping_notes_are_an_error(tmp_path: Path, duet: Score) -> None:
    write_midi(duet, tmp_path / "duet.mid")
    with pytest.raises(DescantError, match=r"duet\.mid.*overlapping notes: 1 and 2"):
        read_line(tmp_path / "duet.mid")


def test_a_file_without_notes_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DescantError, match="no notes"):
        read_line(midi_file(tmp_path / "empty.mid", [[]]))


@pytest.mark.parametrize("name", ["missing.mid", "", "null\0byte"])
def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(DescantError, match="Cannot read"):
        read_line(tmp_path / name)


def test_sloppy_files_are_read(tmp_path: Path) -> None:
    """Note-ons of velocity 0, a note struck in the tick that ends the last, and one never let go."""
    messages = [on(62), on(65, 96), on(62, 0, velocity=0), on(65, 96), on(65, 96, velocity=0), on(64)]
    path = midi_file(tmp_path / "sloppy.mid", [messages])
    assert read_line(path) == parse_line("D4 F4 F4 E4")


def test_a_line_may_move_between_tracks_and_drums_are_passed_over(tmp_path: Path) -> None:
    drums = [on(36, channel=9), on(36, 400, 0, channel=9)]
    path = midi_file(tmp_path / "tracks.mid", [[on(62), off(62, 96)], [on(65, 96), off(65, 96)], drums])
    assert read_line(path) == (Pitch("D", 0, 4), Pitch("F", 0, 4))
