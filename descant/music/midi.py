"""MIDI files: any score out, one melodic line in."""

from __future__ import annotations

import io
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from descant.errors import DescantError
from descant.files import write_atomically
from descant.music.pitches import Pitch
from descant.music.scores import Score, one_line

CHURCH_ORGAN = 19  # General MIDI, from 0
VELOCITY = 80
DRUM_CHANNEL = 9
MAX_BYTES = 5_000_000  # an hour of one line takes a hundredth of it
ADVICE = "Export the line as a standard MIDI file with one note at a time."


def to_midi(score: Score, program: int = CHURCH_ORGAN) -> bytes:
    """The score as a standard MIDI file, one track per voice; `program` is General MIDI's, 0 to 127."""
    import pretty_midi

    if not 0 <= program <= 127:
        raise DescantError(
            f"{program} is not a General MIDI program. Give one from 0 to 127; 19 is the church organ."
        )
    midi = pretty_midi.PrettyMIDI(initial_tempo=score.tempo, charset="utf-8")
    midi.time_signature_changes.append(pretty_midi.TimeSignature(*score.time_signature, 0))
    if score.fifths:
        midi.key_signature_changes.append(
            pretty_midi.KeySignature(7 * score.fifths % 12, 0)
        )  # the major key's
    seconds = 60.0 / score.tempo
    for voice in score.voices:
        instrument = pretty_midi.Instrument(program, name=one_line(voice.name))
        instrument.notes.extend(
            pretty_midi.Note(VELOCITY, pitch.midi, start * seconds, end * seconds)
            for pitch, start, end in voice.sounding()
        )
        midi.instruments.append(instrument)
    buffer = io.BytesIO()
    midi.write(buffer)
    return buffer.getvalue()


def write_midi(score: Score, path: str | os.PathLike[str], program: int = CHURCH_ORGAN) -> None:
    """Write the score as MIDI; DescantError where `path` can't be written."""
    write_atomically(path, to_midi(score, program))


def read_line(path: str | os.PathLike[str]) -> tuple[Pitch, ...]:
    """The pitches of a MIDI file's only line, spelled by `Pitch.from_midi`; drums are passed over.

    DescantError names a file that is missing, damaged, over 5 MB, without notes, or in which notes overlap or are bent.
    """
    notes = sorted(_notes(path))
    if not notes:
        raise DescantError(f"{os.fspath(path)!r} has no notes. {ADVICE}")
    for number, (before, after) in enumerate(itertools.pairwise(notes), start=1):
        if after[0] < before[1]:
            raise DescantError(
                f"{os.fspath(path)!r} has overlapping notes: {number} and {number + 1}. {ADVICE}"
            )
    return tuple(Pitch.from_midi(number) for _, _, number in notes)


def _notes(path: str | os.PathLike[str]) -> Iterator[tuple[int, int, int]]:
    """Start tick, end tick and MIDI number of each note; one that never ends lasts to the end of the file."""
    sounding: dict[tuple[int, int], int] = {}
    tick = 0
    for message in read_messages(path)[0]:
        tick += message.time
        if message.type == "pitchwheel" and message.pitch and message.channel != DRUM_CHANNEL:
            raise DescantError(f"{os.fspath(path)!r} bends its notes. {ADVICE}")
        if message.type not in {"note_on", "note_off"} or message.channel == DRUM_CHANNEL:
            continue
        key = message.channel, message.note
        if key in sounding:
            yield sounding.pop(key), tick, message.note
        if message.type == "note_on" and message.velocity > 0:
            sounding[key] = tick
    for (_, number), start in sounding.items():
        yield start, tick, number


def read_messages(path: str | os.PathLike[str]) -> tuple[list[Any], int]:
    """The messages of all tracks in order, `time` in ticks since the one before, and the ticks of a quarter note.

    DescantError names a file that is missing, damaged or over 5 MB.
    """
    import mido

    try:
        content = Path(path).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise DescantError(f"Cannot read {os.fspath(path)!r}: {reason}. Check the path.") from error
    if len(content) > MAX_BYTES:
        raise DescantError(
            f"{os.fspath(path)!r} has {len(content) / 1e6:.0f} MB, over the {MAX_BYTES / 1e6:.0f} that a line may "
            f"have. {ADVICE}"
        )
    try:
        file = mido.MidiFile(file=io.BytesIO(content))
        return list(mido.merge_tracks(file.tracks)), int(file.ticks_per_beat)
    except Exception as error:  # mido raises half a dozen types for damaged bytes, some of them its own
        raise DescantError(f"{os.fspath(path)!r} is not a readable MIDI file. {ADVICE}") from error
