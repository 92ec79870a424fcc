"""Cantus firmi: Fux's six, those a user gives, and a generator of well-formed ones."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from descant.errors import DescantError, did_you_mean
from descant.music.modes import MODES, mode_of
from descant.music.pitches import LETTERS, Pitch, parse_line

Line = tuple[Pitch, ...]

LOWEST, HIGHEST = Pitch.parse("C3"), Pitch.parse("C5")
MIN_NOTES, MAX_NOTES = 3, 32

# J. J. Fux, Gradus ad Parnassum (Vienna 1725), the six cantus firmi of the exercises.
FUX: dict[str, Line] = {
    name: parse_line(notes)
    for name, notes in {
        "dorian": "D4 F4 E4 D4 G4 F4 A4 G4 F4 E4 D4",
        "phrygian": "E4 C4 D4 C4 A3 A4 G4 E4 F4 E4",
        "lydian": "F3 G3 A3 F3 D3 E3 F3 C4 A3 F3 G3 F3",
        "mixolydian": "G3 C4 B3 G3 C4 E4 D4 G4 E4 C4 D4 B3 A3 G3",
        "aeolian": "A3 C4 B3 D4 C4 E4 F4 E4 D4 C4 B3 A3",
        "ionian": "C4 E4 F4 G4 E4 A4 G4 E4 F4 E4 D4 C4",
    }.items()
}


def checked(cantus: Line) -> Line:
    """The cantus itself, or a DescantError that says why it can't be one and what to do."""
    if not MIN_NOTES <= len(cantus) <= MAX_NOTES:
        raise DescantError(
            f"A cantus firmus has {MIN_NOTES} to {MAX_NOTES} notes, this one has {len(cantus)}: "
            f"{'write more notes' if len(cantus) < MIN_NOTES else 'cut it into phrases'}."
        )
    for position, pitch in enumerate(cantus, start=1):
        if not (pitch.is_natural or (pitch.letter, pitch.alteration) == ("B", -1)):
            raise DescantError(
                f"Note {position} of the cantus, {pitch}, is outside the modes: only natural notes and B flat "
                "are; transpose it to a mode on D, E, F, G, A or C."
            )
        if not LOWEST.midi <= pitch.midi <= HIGHEST.midi:
            raise DescantError(
                f"Note {position} of the cantus, {pitch}, lies outside {LOWEST} to {HIGHEST}: "
                "transpose it by an octave."
            )
    mode_of(cantus[-1])
    return cantus


def find(cantus: str | Path | Line | list[str]) -> Line:
    """A cantus by its name in `FUX`, as notes ("D4 F4 E4 D4" or a list), or from a MIDI file (.mid, .midi)."""
    if isinstance(cantus, tuple | list):
        return checked(tuple(p if isinstance(p, Pitch) else Pitch.parse(str(p)) for p in cantus))
    text = str(cantus).strip()
    if text.lower() in FUX:
        return FUX[text.lower()]
    if isinstance(cantus, Path) or text.lower().endswith((".mid", ".midi")):
        from descant.music.midi import read_line

        return checked(read_line(Path(cantus)))
    if text.isalpha() and len(text) > 2:
        raise DescantError(
            f"Unknown cantus {text!r}.{did_you_mean(text, FUX)} Or write its notes: 'D4 F4 E4 D4'."
        )
    return checked(parse_line(text))


# The generator works on staff steps relative to the final, from five below to eight above it.
LOW, HIGH = -5, 8
SHORTEST, LONGEST = 8, 14
LEAPS = (0.27, 0.62)  # share of moves by a third or more, as in Fux's six
MIDDLE = (0.3, 0.8)  # where the climax may stand, as a share of the line
STEP_WEIGHT, LEAP_WEIGHT = 2.0, 1.0  # how readily a walk steps or leaps, before what it must reach
BATCH = 512
AT_MOST = 32  # lines kept of one batch, so that lengths and modes mix
FINALS = tuple(Pitch.parse(name) for name in ("D4", "E4", "F3", "G3", "A3", "C4"))  # octaves as in Fux


@lru_cache(maxsize=8)
def generate(count: int, seed: int = 0) -> tuple[Line, ...]:
    """`count` different well-formed cantus firmi, none of them one of Fux's in any octave; same seed, same lines.

    Each begins and ends on its final, comes to it by step from above, has 8 to 14 notes in a range of a fifth to
    an octave, no note twice in a row, one climax near the middle, 27 to 62 % leaps, and singable intervals.
    """
    rng = np.random.default_rng(seed)
    known = {tuple(p.letter for p in line) for line in FUX.values()}
    lines: dict[Line, None] = {}
    for _ in range(200 + count):
        mode = list(MODES.values())[rng.integers(len(MODES))]
        final = next(pitch for pitch in FINALS if pitch.letter == mode.final)
        length = int(rng.integers(SHORTEST, LONGEST + 1))
        walks = _walks(rng, final, length)
        for walk in walks[_well_formed(walks)][:AT_MOST]:
            line = tuple(_pitch(final.diatonic + int(step)) for step in walk)
            if tuple(p.letter for p in line) not in known:
                lines[line] = None
            if len(lines) == count:
                return tuple(lines)
    raise DescantError(f"There are fewer than {count} such cantus firmi: ask for fewer.")


def _pitch(diatonic: int) -> Pitch:
    return Pitch(LETTERS[diatonic % 7], 0, diatonic // 7)


def _around(final: Pitch) -> NDArray[np.int64]:
    """MIDI numbers of the naturals LOW..HIGH steps around the final: int[steps]."""
    return np.array([_pitch(final.diatonic + step).midi for step in range(LOW, HIGH + 1)])


def _move_weights(final: Pitch) -> NDArray[np.float64]:
    """Weight of each singable move between steps around the final, 0 where unsingable: float[steps, steps]."""
    midi = _around(final)
    up = midi[None, :] - midi[:, None]
    steps = np.arange(len(midi))
    distance = np.abs(steps[None, :] - steps[:, None])
    singable = np.isin(np.abs(up), (1, 2, 3, 4, 5, 7, 12)) | (up == 8)
    singable &= np.isin(distance, (1, 2, 3, 4, 5, 7))
    singable &= (midi >= LOWEST.midi) & (midi <= HIGHEST.midi)  # where a move may arrive
    return np.where(
        singable, np.where(distance == 1, STEP_WEIGHT, LEAP_WEIGHT / np.maximum(distance, 1)), 0.0
    )


def _walks(rng: np.random.Generator, final: Pitch, length: int) -> NDArray[np.int64]:
    """Random walks over the singable moves that begin and end as a cantus does: int[BATCH, length] in steps.

    Each move is drawn in proportion to its weight times the weight of all ways on to the end, so that every
    walk gets there.
    """
    weights = _move_weights(final)
    ahead = np.zeros((length, len(weights)))
    ahead[-1, -LOW] = 1.0
    ahead[-2, 1 - LOW] = weights[1 - LOW, -LOW]
    for t in range(length - 3, -1, -1):
        ahead[t] = weights @ ahead[t + 1]
    here = np.full(BATCH, -LOW)
    walks = [here]
    for t in range(1, length):
        chances = weights * ahead[t]
        totals = chances.cumsum(axis=1)
        draw = rng.random(BATCH) * totals[here, -1]
        here = (totals[here] <= draw[:, None]).sum(axis=1)
        walks.append(here)
    return np.stack(walks, axis=1) + LOW


def _well_formed(walks: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which walks keep the rules that look at the whole line: bool[n]."""
    length = walks.shape[1]
    moves = np.diff(walks, axis=1)
    leaps = (np.abs(moves) >= 2).mean(axis=1)
    top, bottom = walks.max(axis=1), walks.min(axis=1)
    where = walks.argmax(axis=1) / (length - 1)
    climax = ((walks == top[:, None]).sum(axis=1) == 1) & (where >= MIDDLE[0]) & (where <= MIDDLE[1])
    span = (top - bottom >= 4) & (top - bottom <= 7)
    twice = (np.sign(moves[:, 1:]) == np.sign(moves[:, :-1])) & (np.abs(moves[:, 1:] + moves[:, :-1]) > 5)
    both_leap = (np.abs(moves[:, 1:]) >= 2) & (np.abs(moves[:, :-1]) >= 2)
    onward = (np.abs(moves[:, :-1]) >= 4) & (np.sign(moves[:, 1:]) == np.sign(moves[:, :-1]))
    # Two leaps one way past a sixth sound like a broken chord; a leap of a fifth or more turns back, as Fux's do.
    unsung = ((twice & both_leap) | onward).any(axis=1)
    singable: NDArray[np.bool_] = climax & span & (leaps >= LEAPS[0]) & (leaps <= LEAPS[1]) & ~unsung
    return singable
