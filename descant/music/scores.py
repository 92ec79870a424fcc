"""Scores: voices of notes and rests."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from descant.errors import DescantError, did_you_mean
from descant.music.modes import BY_FINAL
from descant.music.pitches import Pitch

WHOLE_NOTE = 4.0
MIN_TEMPO, MAX_TEMPO = 4, 1000  # MIDI holds no slower one
MAX_BEATS = 255  # in a bar; MIDI holds no more
POSITIONS = ("above", "below")
SHARPS = "FCGDAEB"  # in the order in which signatures take them; flats come from the other end


@dataclass(frozen=True, slots=True)
class Note:
    """A pitch, or None for a rest, and its length in quarter notes."""

    pitch: Pitch | None
    beats: float

    def __post_init__(self) -> None:
        _check_positive("A note's length in quarter notes", self.beats)


@dataclass(frozen=True, slots=True)
class Voice:
    """A name and the notes, one after another."""

    name: str
    notes: tuple[Note, ...]

    @property
    def beats(self) -> float:
        """Length in quarter notes."""
        return math.fsum(note.beats for note in self.notes)

    @property
    def pitches(self) -> tuple[Pitch, ...]:
        """The pitches without the rests."""
        return tuple(note.pitch for note in self.notes if note.pitch is not None)

    def sounding(self) -> Iterator[tuple[Pitch, float, float]]:
        """Each pitch with its start and end in quarter notes."""
        start = 0.0
        for note in self.notes:
            end = start + note.beats
            if note.pitch is not None:
                yield note.pitch, start, end
            start = end


@dataclass(frozen=True, slots=True)
class Score:
    """Voices, highest first; `tempo` in quarter notes a minute; `final` a pitch as text.

    `fifths` is the key signature: so many sharps, or flats where it is below 0.
    """

    title: str
    voices: tuple[Voice, ...]
    beats_per_bar: float = 4.0
    tempo: float = 120.0
    mode: str = ""
    final: str = ""
    fifths: int = 0

    def __post_init__(self) -> None:
        if not self.voices or not all(voice.notes for voice in self.voices):
            raise DescantError("A score needs at least one voice, and every voice a note or a rest.")
        if not MIN_TEMPO <= self.tempo <= MAX_TEMPO:
            raise DescantError(
                f"The tempo is {self.tempo}. Give {MIN_TEMPO} to {MAX_TEMPO} quarter notes a minute."
            )
        _check_positive("The length of a bar in quarter notes", self.beats_per_bar)
        if abs(self.fifths) > len(SHARPS):
            raise DescantError(
                f"There is no key signature of {abs(self.fifths)}: give 7 sharps or flats at most."
            )
        if 16 * self.beats_per_bar % 1 or self.time_signature[0] > MAX_BEATS:
            raise DescantError(
                f"A bar of {self.beats_per_bar} quarter notes has no time signature. Use 4, 3 or 1.5."
            )

    @property
    def beats(self) -> float:
        """Length of the longest voice in quarter notes."""
        return max(voice.beats for voice in self.voices)

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.beats * 60.0 / self.tempo

    @property
    def signature(self) -> dict[str, int]:
        """What the key signature alters: letters and semitones."""
        letters = SHARPS[: self.fifths] if self.fifths >= 0 else SHARPS[self.fifths :]
        return dict.fromkeys(letters, 1 if self.fifths > 0 else -1)

    @property
    def time_signature(self) -> tuple[int, int]:
        """Beats and beat unit: 4 quarter notes are (4, 4), 1.5 are (3, 8)."""
        bar = Fraction(self.beats_per_bar) / 4
        unit = max(bar.denominator, 4)
        return int(bar * unit), unit


def counterpoint_score(
    cantus: Sequence[Pitch],
    counterpoint: Sequence[Pitch | None],
    position: str,
    title: str = "",
    tempo: float = 120.0,
) -> Score:
    """First species in whole notes, the counterpoint `above` or `below` the cantus; None stands for a rest."""
    if position not in POSITIONS:
        raise DescantError(f"{position!r} is not a position.{did_you_mean(position, POSITIONS)}")
    if not cantus or len(cantus) != len(counterpoint):
        raise DescantError(
            f"The cantus has {len(cantus)} notes and the counterpoint {len(counterpoint)}. "
            "Write one note of counterpoint against each note of the cantus."
        )
    voices = (_whole_notes("Counterpoint", counterpoint), _whole_notes("Cantus firmus", cantus))
    final = cantus[-1]
    mode = BY_FINAL.get(final.letter) if final.is_natural else None
    return Score(
        title=title,
        voices=voices if position == "above" else voices[::-1],
        tempo=tempo,
        mode=mode.name if mode else "",
        final=str(final),
    )


def _whole_notes(name: str, pitches: Sequence[Pitch | None]) -> Voice:
    return Voice(name, tuple(Note(pitch, WHOLE_NOTE) for pitch in pitches))


def one_line(text: str) -> str:
    """Text without control characters or lone surrogates: these break fields of ABC, XML and MIDI."""
    return "".join(char if char.isprintable() else " " for char in text)


def _check_positive(what: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise DescantError(f"{what} is {value}. Give a number greater than 0.")
