"""What is wrong with a step of a melody, in words."""

from __future__ import annotations

import numpy as np

from descant.music.melodies import FIRST_NOTE, HOLD, midi_of
from descant.music.melody_states import LAGS, State, autocorrelations
from descant.music.spelling import spell
from descant.tasks import Ints, take_rows

# By term of `rl-tuner`; only those that can be below zero.
MESSAGES = {
    "key": "{note} is not in {key}",
    "repetition": "{note} comes too often without another note between",
    "autocorrelation": "so far the melody is like itself {lags}",
    "intervals": "{before} to {note} is {semitones} semitones, hard to sing",
    "leaps": "{before} to {note} leaps on in the direction of a leap that is not resolved",
}
LAG_WORDS = {1: "one step later", 2: "two steps later", 3: "three steps later"}


def words_of(t: int, before: State, after: State, actions: Ints) -> dict[str, object]:
    """What the messages may name of step `t`."""
    found = autocorrelations(take_rows(after, slice(t, t + 1)))[0]
    lags = [f"{LAG_WORDS[lag]} ({r:+.2f})" for lag, r in zip(LAGS, found, strict=True) if abs(r) > 0.15]
    return {
        "key": before.key,
        "note": _name(int(actions[t]), before),
        "before": _name(int(before.note[t]), before),
        "semitones": abs(int(actions[t] - before.note[t])),
        "lags": ", ".join(lags),
    }


def _name(action: int, state: State) -> str:
    if action < FIRST_NOTE:
        return "a hold" if action == HOLD else "a note-off"
    return str(spell(int(midi_of(np.array(action))), state.key))
