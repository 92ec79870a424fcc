"""Spelled pitches: C#4 and Db4 are two pitches that sound as one key."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from descant.errors import DescantError

LETTERS = "CDEFGAB"
SEMITONES = dict(zip(LETTERS, (0, 2, 4, 5, 7, 9, 11), strict=True))
KEY_NAMES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "G#", "A", "Bb", "B")
ACCIDENTALS = {-2: "bb", -1: "b", 0: "", 1: "#", 2: "##"}
SPELLING = re.compile(r"([A-Ga-g])(##?|bb?|♯♯?|♭♭?)?(-1|[0-9])")
ADVICE = "Write a letter, at most two accidentals and an octave (-1 to 9), such as C#4; C4 is middle C."


@functools.total_ordering
@dataclass(frozen=True, slots=True)
class Pitch:
    """A letter, an alteration in semitones (sharps positive) and an octave.

    Ordered by staff step, then alteration. DescantError for what is no pitch or outside MIDI 0 to 127.
    """

    letter: str
    alteration: int
    octave: int

    def __post_init__(self) -> None:
        spelled = self.letter in SEMITONES and self.alteration in ACCIDENTALS and -1 <= self.octave <= 9
        if not spelled:
            parts = f"letter {self.letter!r}, alteration {self.alteration}, octave {self.octave}"
            raise DescantError(f"There is no pitch with {parts}. {ADVICE}")
        if not 0 <= self.midi <= 127:
            raise DescantError(f"{str(self)!r} is MIDI number {self.midi}, outside 0 to 127. {ADVICE}")

    @classmethod
    def parse(cls, text: str) -> Pitch:
        """The pitch written as `C4`, `F#3`, `Bb2`, `C##4`, `ebb3` or `C♯4`."""
        match = SPELLING.fullmatch(text)
        if match is None:
            raise DescantError(f"{text!r} is not a pitch. {ADVICE}")
        letter, signs, octave = match.groups(default="")
        alteration = len(signs) if signs[:1] in {"#", "♯"} else -len(signs)
        return cls(letter.upper(), alteration, int(octave))

    @classmethod
    def from_midi(cls, number: int) -> Pitch:
        """A MIDI number spelled as the church modes do: the white keys, C#, Eb, F#, G# and Bb."""
        if not 0 <= number <= 127:
            raise DescantError(f"{number} is not a MIDI number. Give one from 0 to 127; 60 is C4.")
        octave, key = divmod(int(number), 12)
        return cls.parse(f"{KEY_NAMES[key]}{octave - 1}")

    @property
    def midi(self) -> int:
        """The MIDI number: C4 and B#3 are 60, Cb4 is 59."""
        return 12 * (self.octave + 1) + SEMITONES[self.letter] + self.alteration

    @property
    def diatonic(self) -> int:
        """The staff step, blind to alterations: C4 is 28, D4 is 29."""
        return 7 * self.octave + LETTERS.index(self.letter)

    @property
    def frequency(self) -> float:
        """Hertz in equal temperament, A4 = 440."""
        return float(440.0 * 2.0 ** ((self.midi - 69) / 12))

    @property
    def is_natural(self) -> bool:
        """Whether no accidental stands before it."""
        return self.alteration == 0

    def __lt__(self, other: Pitch) -> bool:
        return (self.diatonic, self.alteration) < (other.diatonic, other.alteration)

    def __str__(self) -> str:
        return f"{self.letter}{ACCIDENTALS[self.alteration]}{self.octave}"


def parse_line(text: str) -> tuple[Pitch, ...]:
    """The pitches of a line such as `D4 F4, E4`; DescantError names the position, from 1, of a bad note."""
    words = text.replace(",", " ").split()
    if not words:
        raise DescantError("The line has no notes. Write pitches and spaces, such as 'D4 F4 E4 D4'.")
    return tuple(_parse_note(position, word) for position, word in enumerate(words, start=1))


def _parse_note(position: int, word: str) -> Pitch:
    try:
        return Pitch.parse(word)
    except DescantError as error:
        raise DescantError(f"Note {position}: {error}") from None
