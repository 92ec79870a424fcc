"""Primers: how a melody is to begin, as text (`D4 E4:2 R:2 F4`) or as actions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from descant.errors import DescantError
from descant.music.keys import Key
from descant.music.melodies import (
    ACTIONS,
    FIRST_NOTE,
    HIGHEST,
    HOLD,
    LOWEST,
    NOTE_OFF,
    STEPS_PER_BEAT,
    notes_of,
)
from descant.music.pitches import Pitch
from descant.music.spelling import spell
from descant.tasks import Ints

FREE = -1  # a step that the primer leaves to the agent
REST = re.compile(r"[rRzZ]")
LONGEST = 1024  # steps of a note: as many as a melody may have


def parse_primer(text: str, shift: int = 0) -> Ints:
    """The actions int64[t] of notes such as `D4 E4:2 R:2`: a pitch or R for a rest, and its length in sixteenths.

    A quarter note (4) where no length is said. `shift` is what is added to the pitches, in semitones. DescantError
    names the position, from 1, of what is no note, has no whole length, or lies outside C3 to B5 when shifted.
    """
    words = text.replace(",", " ").split()
    if not words:
        raise DescantError("The primer has no notes: write pitches such as 'D4 E4:2', or leave it out.")
    actions: list[int] = []
    for position, word in enumerate(words, start=1):
        name, colon, length = word.partition(":")
        steps = _steps(position, word, length) if colon else STEPS_PER_BEAT
        sounding = next((a for a in reversed(actions) if a != HOLD), NOTE_OFF) >= FIRST_NOTE
        silent = NOTE_OFF if sounding else HOLD  # as `melodies.actions_of` writes silence
        actions += [silent if REST.fullmatch(name) else _begun(position, name, shift)] + [HOLD] * (steps - 1)
    return np.array(actions, np.int64)


def primer_text(actions: Sequence[int] | Ints, key: Key, shift: int = 0) -> str:
    """Actions [t] as text that `parse_primer` reads, spelled in a key; `shift` semitones are added."""
    words, at = [], 0
    for note in notes_of(actions):
        words += [f"R:{note.step - at}"] if note.step > at else []
        words.append(f"{spell(note.midi + shift, key)}:{note.steps}")
        at = note.step + note.steps
    return " ".join(words + ([f"R:{len(actions) - at}"] if len(actions) > at else []))


def _steps(position: int, word: str, length: str) -> int:
    if not length.isascii() or not length.isdigit() or not 1 <= int(length[:9]) <= LONGEST:
        raise DescantError(
            f"Primer note {position}: {word!r} has no length on the grid: write whole sixteenths after the colon, "
            "such as D4:2 for an eighth."
        )
    return int(length)


def _begun(position: int, name: str, shift: int) -> int:
    try:
        midi = Pitch.parse(name).midi + shift
    except DescantError as error:
        raise DescantError(f"Primer note {position}: {error}") from None
    if not LOWEST <= midi <= HIGHEST:
        lowest, highest = (Pitch.from_midi(bound - shift) for bound in (LOWEST, HIGHEST))
        raise DescantError(
            f"Primer note {position}: {name} is out of range: the lowest note is {lowest}, the highest {highest}."
        )
    return midi - LOWEST + FIRST_NOTE


def primer_actions(primer: Any, n: int, steps: int) -> Ints:
    """A primer as actions int64[n, t], -1 where a row is free: from text or actions [t] for all rows, or [n, t].

    DescantError for what is neither, for an action there isn't, and where nothing of `steps` is left to the agent.
    """
    if isinstance(primer, str):
        actions = parse_primer(primer)
    else:
        try:
            actions = np.asarray(primer)
        except ValueError as error:  # rows of different lengths
            raise DescantError(
                f"The primer's rows must be equally long, with {FREE} at the end: {error}."
            ) from error
        if actions.dtype.kind not in "iu" or actions.ndim not in (1, 2) or not actions.size:
            raise DescantError(
                "A primer is text such as 'D4 E4:2', or integers: actions [t] for all rows, or [n, t]."
            )
    if actions.ndim == 2 and len(actions) != n:
        raise DescantError(f"The primer has {len(actions)} rows, the environment {n}: give a row for each.")
    if actions.shape[-1] >= steps:
        raise DescantError(
            f"The primer takes {actions.shape[-1]} steps of a melody of {steps}: shorten it, or write longer melodies."
        )
    actions = np.broadcast_to(actions, (n, actions.shape[-1])).astype(np.int64)
    free = actions == FREE
    if ((actions < FREE) | (actions >= ACTIONS)).any() or (free[:, :-1] & ~free[:, 1:]).any():
        raise DescantError(
            f"A primer holds actions 0 to {ACTIONS - 1}, and {FREE} only behind them, where a row is free."
        )
    return actions
