"""What other programs read in our files: independent checks."""

from __future__ import annotations

import base64
import io
import warnings
from types import ModuleType

import pretty_midi
import verovio

from descant.music.scores import Score

Sounding = list[tuple[int, float, float]]  # MIDI number, start and end in quarter notes, sorted


def written(score: Score) -> Sounding:
    """What the score says."""
    return sorted(
        (pitch.midi, start, end) for voice in score.voices for pitch, start, end in voice.sounding()
    )


def read_midi(content: bytes, tempo: float) -> Sounding:
    """What pretty_midi reads, to a hundredth of a beat."""
    with warnings.catch_warnings(action="ignore"):  # Verovio puts its tempo into the second track
        midi = pretty_midi.PrettyMIDI(io.BytesIO(content))
    notes = [note for instrument in midi.instruments for note in instrument.notes]
    times = [(note.pitch, note.start * tempo / 60, note.end * tempo / 60) for note in notes]
    return sorted((pitch, round(float(start), 2), round(float(end), 2)) for pitch, start, end in times)


def verovio_midi(text: str, form: str) -> bytes:
    """The MIDI that Verovio makes of ABC or MusicXML; it ends each note a hundredth of a beat early."""
    verovio.enableLog(verovio.LOG_OFF)
    toolkit = verovio.toolkit()
    toolkit.setOptions({"inputFrom": form})
    assert toolkit.loadData(text)
    return base64.b64decode(toolkit.renderToMIDI())


def spelled(music21: ModuleType, text: str, form: str) -> list[list[tuple[str, float, float]]]:
    """What music21 reads: by voice, each note's spelling, start and end, tied notes joined."""
    parts = music21.converter.parseData(text, format=form).parts
    lines = [part.stripTies().flatten().notes for part in parts]
    return [
        [
            (
                note.nameWithOctave.replace("-", "b"),
                float(note.offset),
                float(note.offset + note.quarterLength),
            )
            for note in line
        ]
        for line in lines
        if line
    ]


def spelled_in(score: Score) -> list[list[tuple[str, float, float]]]:
    """What the score says, in the form of `spelled`."""
    lines = [[(str(pitch), start, end) for pitch, start, end in voice.sounding()] for voice in score.voices]
    return [line for line in lines if line]
