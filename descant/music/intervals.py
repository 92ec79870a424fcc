"""Intervals between spelled pitches: a minor third is not an augmented second."""

from __future__ import annotations

import re
from dataclasses import dataclass

from descant.errors import DescantError
from descant.music.pitches import Pitch

# Semitones of the perfect or major interval, by diatonic steps within an octave.
NATURAL_SEMITONES = (0, 2, 4, 5, 7, 9, 11)
PERFECT_STEPS = frozenset({0, 3, 4})
PERFECT_CONSONANCES = frozenset({"P1", "P5", "P8"})
IMPERFECT_CONSONANCES = frozenset({"m3", "M3", "m6", "M6"})
NAME = re.compile(r"(-?)(P|M|m|A+|d+)([1-9][0-9]?)")
ADVICE = "Write a quality (P, M, m, A or d) and a number that agree, such as m3, P5, A2 or M10."


@dataclass(frozen=True, slots=True)
class Interval:
    """Diatonic steps (0 is a unison) and semitones, both signed: up is positive."""

    steps: int
    semitones: int

    @classmethod
    def between(cls, start: Pitch, end: Pitch) -> Interval:
        """The interval from `start` to `end`, negative where `end` is lower on the staff."""
        return cls(end.diatonic - start.diatonic, end.midi - start.midi)

    @classmethod
    def parse(cls, text: str) -> Interval:
        """The interval named `m3`, `P5`, `A2`, `M10`; a minus sign turns it downwards."""
        match = NAME.fullmatch(text)
        if match is None:
            raise DescantError(f"{text!r} is not an interval. {ADVICE}")
        sign, quality, number = match.groups()
        steps = int(number) - 1
        offset = _offset(quality, steps % 7 in PERFECT_STEPS)
        # A diminished unison is an augmented one the other way round: it has no name of its own.
        if offset is None or (steps == 0 and offset < 0):
            raise DescantError(f"There is no interval {text!r}. {ADVICE}")
        semitones = _natural_semitones(steps) + offset
        return cls(-steps, -semitones) if sign else cls(steps, semitones)

    def __neg__(self) -> Interval:
        return Interval(-self.steps, -self.semitones)

    @property
    def direction(self) -> int:
        """-1 down, 0 for a repeated pitch, 1 up: by steps, by semitones where there are none."""
        measure = self.steps or self.semitones
        return (measure > 0) - (measure < 0)

    @property
    def number(self) -> int:
        """1 for a unison, 8 for an octave, 10 for a tenth, whatever the direction."""
        return abs(self.steps) + 1

    @property
    def quality(self) -> str:
        """`P`, `M` or `m`, or one `A` or `d` for each semitone beyond them."""
        steps = abs(self.steps)
        # Multiplying, not abs(): B#4 to Cb5 goes up a step and down a semitone.
        offset = self.semitones * self.direction - _natural_semitones(steps)
        if offset > 0:
            return "A" * offset
        if steps % 7 in PERFECT_STEPS:
            return "d" * -offset or "P"
        return ("M", "m")[-offset] if offset >= -1 else "d" * (-offset - 1)

    @property
    def name(self) -> str:
        """Quality and number, without direction: `m3`, `M10`."""
        return f"{self.quality}{self.number}"

    @property
    def simple_name(self) -> str:
        """The name within an octave: `M10` is `M3`, `P12` is `P5`; octaves stay 8 and unisons 1."""
        steps = abs(self.steps)
        within = steps % 7 or min(steps, 7)
        return f"{self.quality}{within + 1}"

    @property
    def is_perfect_consonance(self) -> bool:
        """Whether it is a perfect unison, fifth, octave or a compound of one."""
        return self.simple_name in PERFECT_CONSONANCES

    @property
    def is_imperfect_consonance(self) -> bool:
        """Whether it is a third or sixth, major or minor, or a compound of one."""
        return self.simple_name in IMPERFECT_CONSONANCES

    @property
    def is_consonant(self) -> bool:
        """Whether two voices may sound it together: the fourth is a dissonance (Fux 1725, book I)."""
        return self.is_perfect_consonance or self.is_imperfect_consonance


def _natural_semitones(steps: int) -> int:
    """Semitones of the perfect or major interval of `steps` (not negative)."""
    octaves, within = divmod(steps, 7)
    return 12 * octaves + NATURAL_SEMITONES[within]


def _offset(quality: str, perfect: bool) -> int | None:
    """Semitones from the perfect or major interval; None where the quality doesn't fit the number."""
    if quality[0] == "A":
        return len(quality)
    if quality[0] == "d":
        return -len(quality) if perfect else -len(quality) - 1
    return ({"P": 0} if perfect else {"M": 0, "m": -1}).get(quality)
