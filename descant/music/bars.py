"""Bars: notes cut where a bar line or a missing note value demands a tie."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from descant.errors import DescantError
from descant.music.pitches import Pitch
from descant.music.scores import Note, Score, Voice

UNITS_PER_BEAT = 16  # a unit is a 64th note
TYPES = {1: "64th", 2: "32nd", 4: "16th", 8: "eighth", 16: "quarter", 32: "half", 64: "whole", 128: "breve"}
DOTTED = {units * 3 // 2: name for units, name in TYPES.items() if units > 1}
VALUES = tuple(sorted(TYPES | DOTTED, reverse=True))


@dataclass(frozen=True, slots=True)
class Sign:
    """One written note or rest: units long, part of note number `index` of its voice (None: filled up)."""

    pitch: Pitch | None
    units: int
    index: int | None
    tied_before: bool = False
    tied_after: bool = False


def bars_of(score: Score, voice: Voice) -> list[list[Sign]]:
    """The signs of each bar, the last filled with rests, as many bars as the score has.

    DescantError where a length is not a multiple of a 64th note.
    """
    bar_units = int(UNITS_PER_BEAT * score.beats_per_bar)
    count = math.ceil(score.beats * UNITS_PER_BEAT / bar_units)
    bars: list[list[Sign]] = [[] for _ in range(count)]
    position = 0
    for index, note in enumerate(voice.notes):
        units = _units(note)
        for sign in _signs(note.pitch, index, position, units, bar_units):
            bars[position // bar_units].append(sign)
            position += sign.units
    for sign in _signs(None, None, position, count * bar_units - position, bar_units):
        bars[position // bar_units].append(sign)
        position += sign.units
    return bars


def _signs(pitch: Pitch | None, index: int | None, start: int, units: int, bar_units: int) -> Iterator[Sign]:
    """Cut `units` from `start` at bar lines and into single note values, longest first."""
    position, end = start, start + units
    while position < end:
        room = min(end - position, bar_units - position % bar_units)
        value = next(value for value in VALUES if value <= room)
        tied = pitch is not None
        yield Sign(pitch, value, index, tied and position > start, tied and position + value < end)
        position += value


def _units(note: Note) -> int:
    units = note.beats * UNITS_PER_BEAT
    if units % 1:
        raise DescantError(
            f"A note of {note.beats} quarter notes can't be engraved, only multiples of 1/{UNITS_PER_BEAT}. "
            "Round the lengths, or write MIDI or WAV, which take any."
        )
    return int(units)
