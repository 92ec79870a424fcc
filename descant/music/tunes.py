"""Tunes: one line of notes as a file has it, brought to C major or A minor and onto the grid of sixteenths."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from descant.errors import DescantError
from descant.music.keys import SCALES, TONICS, Key
from descant.music.melodies import HIGHEST, LOWEST, STEPS_PER_BEAT, Note, actions_of
from descant.tasks import Floats

TICKS_PER_BEAT = (
    6720  # of a quarter note: 64ths, triplets, quintuplets and septuplets are whole numbers of ticks
)
TICKS_PER_STEP = TICKS_PER_BEAT // STEPS_PER_BEAT
TOLERANCE = TICKS_PER_STEP // 8  # off the grid by no more than this is on it: players' files are never exact
MAX_STEPS = 1 << 16  # over an hour at 120 beats a minute: a tune that is longer is a damaged file
# Semitones from a mode's tonic to that of the scale without sharps or flats: D dorian, E phrygian, A minor.
WHITE_TONICS = {
    "major": 0, "ionian": 0, "dorian": 2, "phrygian": 4, "lydian": 5, "mixolydian": 7, "aeolian": 9, "minor": 9,
    "locrian": 11,
}  # fmt: skip
MODES = ("major", "minor", "dorian", "mixolydian", "phrygian", "lydian", "locrian")
# How well each degree fits major and minor: Krumhansl and Kessler, 1982.
PROFILES = {
    "major": (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88),
    "minor": (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17),
}

Sounding = tuple[int, int, int]  # first tick, length in ticks, MIDI number


class BadTune(DescantError):
    """A tune that can't be used; `reason` is what such tunes are counted by."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(reason, message)  # both, so that it can be sent from process to process
        self.reason = reason
        self.message = message

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True)
class Tune:
    """One line as a file has it: notes in order, ticks at which whole bars begin, the key where it is written."""

    title: str
    notes: tuple[Sounding, ...]
    bars: tuple[int, ...]
    key: Key | None = None


@dataclass(frozen=True)
class GridTune:
    """A tune on the grid: actions int8[T]; the action that begins the note sounding at each step int8[T], 0 in
    silence; whether a step is on the grid bool[T]; steps at which whole bars begin int32[B]."""

    title: str
    actions: NDArray[np.int8]
    sounding: NDArray[np.int8]
    on_grid: NDArray[np.bool_]
    bars: NDArray[np.int32]


def durations(notes: Sequence[Sounding]) -> Floats:
    """How long each pitch class sounds in all, float[12]."""
    total = np.zeros(12)
    for _, length, midi in notes:
        total[midi % 12] += length
    return total


def found_key(notes: Sequence[Sounding]) -> Key:
    """The major or minor key whose profile the notes' durations correlate with best (Krumhansl and Schmuckler)."""
    names = {value: name for name, value in reversed(TONICS.items())}
    heard = durations(notes)

    def fit(tonic: int, mode: str) -> float:
        return float(np.corrcoef(np.roll(heard, -tonic), PROFILES[mode])[0, 1])

    if not heard.std():
        return Key(names[int(notes[0][2]) % 12])
    _, tonic, mode = max((fit(tonic, mode), tonic, mode) for tonic in range(12) for mode in PROFILES)
    return Key(names[tonic], mode)


def mode_of(key: Key, notes: Sequence[Sounding]) -> str:
    """The mode on the key's tonic that leaves least outside its scale; the written one, where another isn't better.

    Collections write the tonic alone, or the major key, and put the mode into accidentals.
    """
    heard = np.roll(durations(notes), -key.pitch_class)

    def outside(mode: str) -> float:
        return float(heard.sum() - heard[list(SCALES[mode])].sum())

    best = min(MODES, key=outside)
    return best if outside(best) < outside(key.mode) else key.mode


def transposition(key: Key | None, notes: Sequence[Sounding]) -> int:
    """Semitones, -6 to 5, that take the tune to the scale without sharps or flats: major to C, minor to A."""
    key = key or found_key(notes)
    return (WHITE_TONICS[mode_of(key, notes)] - key.pitch_class + 6) % 12 - 6


def folded(midi: Sequence[int]) -> list[int]:
    """All by as many octaves as put most of them into the range, then each that is still outside by its own."""
    shifts = sorted(range(-60, 61, 12), key=abs)
    shift = max(shifts, key=lambda s: sum(LOWEST <= note + s <= HIGHEST for note in midi))
    return [_into_range(note + shift) for note in midi]


def _into_range(midi: int) -> int:
    if midi < LOWEST:
        return midi + 12 * math.ceil((LOWEST - midi) / 12)
    return midi - 12 * math.ceil(max(midi - HIGHEST, 0) / 12)


def to_grid(tune: Tune) -> GridTune:
    """The tune in C major or A minor on the grid; notes that are off the grid leave their steps marked.

    BadTune for a tune without notes, with two at once, or of more than an hour.
    """
    _check(tune)
    shift = transposition(tune.key, tune.notes)
    pitches = folded([midi + shift for _, _, midi in tune.notes])
    steps = math.ceil(max(start + length for start, length, _ in tune.notes) / TICKS_PER_STEP)
    on_grid, sounding = np.ones(steps, bool), np.zeros(steps, np.int8)
    notes: list[Note] = []
    for (start, length, _), midi in zip(tune.notes, pitches, strict=True):
        first, end = _nearest(start), _nearest(start + length)
        if first is None or end is None or end <= first:
            on_grid[start // TICKS_PER_STEP : math.ceil((start + length) / TICKS_PER_STEP)] = False
        else:
            notes.append(Note(first, end - first, midi))
            sounding[first:end] = midi - LOWEST + 2
    if not notes:
        raise BadTune("off the grid", f"No note of {tune.title!r} is on the grid of sixteenths: quantise it.")
    bars = [_nearest(bar) for bar in tune.bars]
    starts = np.array([bar for bar in bars if bar is not None and bar < steps], np.int32)
    return GridTune(tune.title, actions_of(notes, steps), sounding, on_grid, starts)


def _check(tune: Tune) -> None:
    if not tune.notes:
        raise BadTune("empty", f"{tune.title!r} has no notes: give one line of notes.")
    if any(after[0] < first[0] + first[1] - TOLERANCE for first, after in itertools.pairwise(tune.notes)):
        raise BadTune("polyphonic", f"{tune.title!r} is polyphonic: give one note at a time.")
    if max(start + length for start, length, _ in tune.notes) > MAX_STEPS * TICKS_PER_STEP:
        raise BadTune("too long", f"{tune.title!r} is over {MAX_STEPS:,} sixteenths long: cut it into tunes.")


def _nearest(tick: int) -> int | None:
    """The step at a tick, None where the tick is off the grid."""
    step = (tick + TICKS_PER_STEP // 2) // TICKS_PER_STEP
    return step if abs(tick - step * TICKS_PER_STEP) <= TOLERANCE else None


def whole_bars(lines: Sequence[int], length: int, end: int) -> tuple[int, ...]:
    """Of the ticks at which bar lines stand, those after which a whole bar of `length` ticks follows."""
    edges = sorted({tick for tick in (0, *lines) if tick < end})
    return tuple(a for a, b in zip(edges, [*edges[1:], end], strict=True) if b - a >= length)


def regular_bars(length: int, end: int) -> tuple[int, ...]:
    """Bars of `length` ticks from the beginning on."""
    return tuple(range(0, max(end - length, 0) + 1, length))
