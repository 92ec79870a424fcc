"""Tastes: what a simulated annotator likes, a weighted sum of terms, each a reward of every step of a clip.

A term is one of `TERMS`, which look at the notes alone and so suit counterpoint and melodies, or the name of a
registered reward, such as `fux` or `rl-tuner`, or one term of it, as `rl-tuner/key`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from descant.errors import DescantError, did_you_mean
from descant.makers import make_reward
from descant.preferences.clips import COUNTERPOINT, MELODY, play_clips, task_of
from descant.preferences.records import Clip, to_json
from descant.registry import rewards
from descant.tasks import Floats

MIDDLE, OCTAVE = 64.0, 12.0  # MIDI: about the middle of what melodies and counterpoints span


@dataclass(frozen=True)
class Notes:
    """The notes of a clip's line: the step each begins at, its MIDI number, and the other voice's (NaN without one)."""

    steps: int
    at: Any  # int[k]
    midi: Floats
    other: Floats

    @property
    def moves(self) -> Floats:
        """Semitones from the note before, float[k]; 0 for the first."""
        return np.asarray(np.diff(self.midi, prepend=self.midi[:1]))


Term = Callable[[Notes], Floats]


def _stepwise(notes: Notes) -> Floats:
    size = np.abs(notes.moves)
    return ((size > 0) & (size <= 2)).astype(float)


def _leaping(notes: Notes) -> Floats:
    return (np.abs(notes.moves) > 2).astype(float)


def _high(notes: Notes) -> Floats:
    return np.asarray((notes.midi - MIDDLE) / OCTAVE)


def _contrary(notes: Notes) -> Floats:
    other = np.nan_to_num(np.diff(notes.other, prepend=notes.other[:1]))
    return (notes.moves * other < 0).astype(float)


def _repeated(notes: Notes) -> Floats:
    first = np.arange(len(notes.midi)) == 0
    return np.asarray(((notes.moves == 0) & ~first).astype(float))


TERMS: dict[str, Term] = {
    "steps": _stepwise,  # moves by a tone or semitone
    "leaps": _leaping,  # wider moves
    "high": _high,  # octaves above E4
    "contrary": _contrary,  # moves against the other voice
    "repeats": _repeated,  # the same note again
}

POPULATIONS: dict[str, dict[str, float]] = {
    "step-lovers": {"steps": 1.0, "leaps": -1.0},
    "leap-lovers": {"leaps": 1.0, "steps": -1.0},
    "high-lovers": {"high": 1.0},
    "low-lovers": {"high": -1.0},
    "contrary-lovers": {"contrary": 1.0},
    "rule-lovers": {"fux": 1.0},
}
"""Tastes by name: groups of people who disagree."""


def notes_of_clip(clip: Clip) -> Notes:
    """The line of a clip; DescantError where it is no music that we know."""
    from descant.music.cantus_firmi import find
    from descant.music.counterpoint import MIDI
    from descant.music.melodies import notes_of

    if clip.environment == MELODY:
        notes = notes_of(clip.tokens)
        midi = np.array([note.midi for note in notes], float)
        at = np.array([note.step for note in notes], np.int64)
        return Notes(len(clip.tokens), at, midi, np.full(len(midi), math.nan))
    if clip.environment == COUNTERPOINT and max(clip.tokens, default=0) < len(MIDI):
        cantus = [pitch.midi for pitch in find(str(clip.arguments.get("cantus")))]
        if len(cantus) == len(clip.tokens):
            line = MIDI[list(clip.tokens)].astype(float)
            return Notes(len(line), np.arange(len(line)), line, np.array(cantus, float))
    raise DescantError(
        f"A clip of {clip.source} in {clip.environment} is no music that a teacher could hear."
    )


def parse_taste(text: str) -> dict[str, float]:
    """A taste from `steps=1,high=-0.5`, or the name of one; DescantError for a term there isn't."""
    if text in POPULATIONS:
        return dict(POPULATIONS[text])
    taste: dict[str, float] = {}
    for part in text.split(","):
        name, _, weight = part.partition("=")
        try:
            taste[name.strip()] = float(weight) if weight else 1.0
        except ValueError:
            raise DescantError(f"The weight of {name!r} is no number: {weight!r}. Write {name}=1.") from None
    check_taste(taste)
    return taste


def check_taste(taste: Mapping[str, float]) -> None:
    """DescantError for a term there isn't, or a weight that is not finite."""
    for name, weight in taste.items():
        if not math.isfinite(weight):
            raise DescantError(f"The weight of {name!r} must be a finite number, not {weight}.")
        if name not in TERMS and name.split("/")[0] not in rewards:
            known = [*TERMS, *POPULATIONS, *rewards.names()]
            raise DescantError(f"Unknown term {name!r}.{did_you_mean(name, known)}")


def step_rewards(clips: Sequence[Clip], taste: Mapping[str, float]) -> list[Floats]:
    """What each step of each clip is worth by a taste: float[T] each."""
    check_taste(taste)
    totals = [np.zeros(len(clip.tokens)) for clip in clips]
    for name, weight in taste.items():
        found = [_term(clip, TERMS[name]) for clip in clips] if name in TERMS else _rewards(clips, name)
        for total, values in zip(totals, found, strict=True):
            total += weight * values
    return totals


def _term(clip: Clip, term: Term) -> Floats:
    """A note's worth where it begins, float[T]; over the number of notes, so that long clips are not better."""
    notes = notes_of_clip(clip)
    values = np.zeros(len(clip.tokens))
    values[notes.at] = term(notes) / max(len(notes.at), 1)
    return values


def _rewards(clips: Sequence[Clip], name: str) -> list[Floats]:
    """A registered reward, or one term of it, of each step of each clip, float[T]. Equal problems go side by side."""
    groups: dict[str, list[int]] = {}
    for row, clip in enumerate(clips):
        groups.setdefault(to_json([*clip.prompt_parts, len(clip.tokens)]), []).append(row)
    found: list[Floats] = [np.zeros(0)] * len(clips)
    for rows in groups.values():
        together = [clips[row] for row in rows]
        for row, values in zip(rows, _of_group(together, name).T, strict=True):
            found[row] = values
    return found


def _of_group(clips: Sequence[Clip], name: str) -> Floats:
    """The same of clips of one problem and length: float[T, n]."""
    reward, _, term = name.partition("/")
    made = make_reward(reward)
    played = play_clips(clips, task_of(clips[0], made))
    if not term:
        return played.rewards
    values = []
    for before, action, after in zip(played.states, played.actions, played.states[1:], strict=False):
        terms = made.terms(before, action, after)
        if term not in terms:
            raise DescantError(f"The reward {reward} has no term {term!r}.{did_you_mean(term, terms)}")
        values.append(terms[term])
    return np.array(values)
