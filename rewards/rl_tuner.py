"""The reward `rl-tuner`: rules of melody as Jaques et al. 2017 priced them."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from descant.errors import DescantError, did_you_mean
from descant.music.keys import SCALES, Key
from descant.music.melodies import ACTIONS, FIRST_NOTE, HOLD, NOTE_OFF, midi_of
from descant.music.melody_states import COUNTED, MOTIF, State, autocorrelations, key_tables, unique_extremes
from descant.tasks import Bools, Episode, Finding, Floats, Ints, join_rows

from .melody_words import MESSAGES, words_of

OUT_OF_KEY = -1.0
TONIC = 3.0
FINAL_BAR = 4  # steps at the end that the tonic should sound through
REPEATED = -100.0
AUTOCORRELATION, AUTOCORRELATION_FREE = -3.0, 0.15
MOTIF_BONUS, MOTIF_EXTRA = 3.0, 0.3
REPEATED_MOTIF_BONUS, REPEATED_MOTIF_EXTRA = 4.0, 1.0
INTERVALS = 5.0  # times:
REST, HELD, STABLE_REST, STABLE_HELD = 0.05, 0.075, 0.15, 0.3
IN_KEY_FIFTH, IN_KEY_THIRD = 0.1, 0.15
BY_SEMITONES = {2: 0.08, 4: 0.09, 5: 0.07, 7: 0.02, 9: 0.05, 11: -0.3}
OVER_AN_OCTAVE = -1.0
RESOLVED, DOUBLED = 5.0, -5.0
UNIQUE = 3.0

TERMS = (
    "key",
    "tonic",
    "repetition",
    "autocorrelation",
    "motif",
    "repeated-motif",
    "intervals",
    "leaps",
    "unique-highest",
    "unique-lowest",
)
ERRORS = frozenset({"key", "repetition"})
COLUMN = {name: column for column, name in enumerate(COUNTED)}


@functools.lru_cache(maxsize=256)
def interval_values(key: Key) -> Floats:
    """What an action is worth after a note, float64[38, 38] by the note's action (0: none so far) and the action."""
    note, action = np.arange(ACTIONS)[:, None], np.arange(ACTIONS)[None, :]
    degree = (midi_of(note) - key.pitch_class) % 12
    _, _, third, _, fifth, *_ = SCALES[key.mode]
    size = np.abs(action - note)
    value = np.zeros((ACTIONS, ACTIONS))
    for semitones, worth in BY_SEMITONES.items():
        value[size == semitones] = worth
    value[size > 12] = OVER_AN_OCTAVE
    value[(size == fifth) & ((degree == 0) | (degree == fifth))] = IN_KEY_FIFTH
    value[(size == third) & ((degree == 0) | (degree == third))] = IN_KEY_THIRD
    stable = ((degree == 0) | (degree == fifth))[:, 0]
    value[:, NOTE_OFF] = np.where(stable, STABLE_REST, REST)
    value[:, HOLD] = np.where(stable, STABLE_HELD, HELD)
    value[:FIRST_NOTE] = 0.0
    return INTERVALS * value


class RLTuner:
    """Rules of melody as a reward: each term has a name, a price and a weight. docs/rl-tuner.md tells them all.

    The prices are those of the published code (Magenta, `rl_tuner`), which is more than the paper says. The reward of
    a step depends on (state, action, next state) alone; the sum over an episode is the worth of the melody.

    Args:
        weights: what to multiply terms by, by name; 1 where nothing is said, 0 switches a term off.

    Raises:
        DescantError: an unknown term, or a weight that is no number of at least 0.
    """

    name = "rl-tuner"

    def __init__(self, weights: Mapping[str, float] | None = None) -> None:
        self.weights = dict.fromkeys(TERMS, 1.0) | _checked(weights or {})

    def __call__(self, state: State, action: Ints, next_state: State) -> Floats:
        """Reward of each row: float64[n]."""
        total = np.zeros(len(action))
        for value in self.terms(state, action, next_state).values():
            total += value
        return total

    def terms(self, state: State, action: Ints, next_state: State) -> dict[str, Floats]:
        """Weighted reward by term: float64[n] each, in the order of `TERMS`, summing to the reward."""
        happened = next_state.counts - state.counts
        motif, again, resolved, doubled = (
            happened[:, COLUMN[name]]
            for name in ("in_motif", "in_repeated_motif", "leaps_resolved", "leaps_doubled")
        )
        more = next_state.distinct - MOTIF
        high, low = _extremes(state, next_state)
        values = (
            OUT_OF_KEY * happened[:, COLUMN["out_of_key"]],
            TONIC * _tonic(state, action),
            REPEATED * happened[:, COLUMN["repeated"]],
            _autocorrelation(next_state),
            motif * (MOTIF_BONUS + MOTIF_EXTRA * more),
            again * (REPEATED_MOTIF_BONUS + REPEATED_MOTIF_EXTRA * more),
            interval_values(state.key)[state.note, action],
            RESOLVED * resolved + DOUBLED * doubled,
            UNIQUE * high,
            UNIQUE * low,
        )
        return {name: self.weights[name] * value for name, value in zip(TERMS, values, strict=True)}

    def explain(self, episode: Episode[State]) -> list[Finding]:
        """What every step cost: terms below zero, in order of position, errors before warnings."""
        if not episode.actions:
            return []
        before, after = join_rows(episode.states[:-1]), join_rows(episode.states[1:])
        actions = np.array(episode.actions)
        findings = [
            _finding(name, float(value[t]), int(t), before, after, actions)
            for name, value in self.terms(before, actions, after).items()
            for t in np.flatnonzero(value < 0)
        ]
        return sorted(findings, key=lambda f: (f.position, f.severity, f.rule))


def _tonic(state: State, action: Ints) -> Bools:
    """Whether the action is what opening and final bar want: the tonic, then its hold, then hold or rest."""
    left = state.steps - state.step
    opens = (state.step == 0) | (left == FINAL_BAR)
    good: Bools = np.where(opens, action == key_tables(state.key).tonic, False)
    held = (action == HOLD) & (left < FINAL_BAR) & (left > 0)
    ended = (action == NOTE_OFF) & (left < FINAL_BAR - 1) & (left > 0)
    return good | held | ended


def _autocorrelation(after: State) -> Floats:
    size = np.nan_to_num(np.abs(autocorrelations(after)))
    return AUTOCORRELATION * np.where(size > AUTOCORRELATION_FREE, size, 0.0).sum(axis=1)


def _extremes(state: State, after: State) -> tuple[Bools, Bools]:
    """Whether highest and lowest pitch are unique, of melodies that this step completes."""
    high, low = np.zeros((2, len(state.step)), bool)
    rows = np.flatnonzero((after.step == after.steps) & (state.step < state.steps))
    if len(rows):
        high[rows], low[rows] = unique_extremes(after.written[rows])
    return high, low


def _finding(name: str, worth: float, t: int, before: State, after: State, actions: Ints) -> Finding:
    message = MESSAGES[name].format(**words_of(t, before, after, actions))
    return Finding(name, "error" if name in ERRORS else "warning", t + 1, -worth, message)


def _checked(weights: Mapping[str, Any]) -> dict[str, float]:
    for name, weight in weights.items():
        if name not in TERMS:
            raise DescantError(f"Unknown term {name!r}.{did_you_mean(name, TERMS)}")
        if not isinstance(weight, int | float) or not math.isfinite(weight) or weight < 0:
            raise DescantError(f"The weight of {name!r} must be a number of at least 0, not {weight}.")
    return {name: float(weight) for name, weight in weights.items()}
