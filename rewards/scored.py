"""Rewards that are a score of what is written: at the end, as it grows, or as shaping."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np

from descant.errors import DescantError, did_you_mean
from descant.tasks import Bools, Episode, Finding, Floats, Ints, join_rows, take_rows

Mode = Literal["terminal", "delta", "shaped"]
LEAST = 1e-12  # a fall of the score that is none


class Scored:
    """A score from 0 to 1 as a reward; a subclass says what it is of a state (`potential`).

    - "terminal": the score, when the episode has ended.
    - "delta": what each token adds; the sum over an episode is the score, even of one that is cut.
    - "shaped": the score at the end plus gamma Phi(s') - Phi(s), where Phi is the score so far and 0 when the episode
      has ended (Ng, Harada and Russell 1999): the best policy stays the best at that gamma. At gamma 1 it is "delta"
      for episodes that end.
    """

    name: str

    def __init__(self, mode: Mode, gamma: float) -> None:
        if mode not in get_args(Mode):
            raise DescantError(f"Unknown mode {mode!r}.{did_you_mean(str(mode), get_args(Mode))}")
        self.mode, self.gamma = mode, checked_gamma(gamma)

    def potential(self, state: Any) -> Floats:
        """The score so far, float64[n] from 0 to 1."""
        raise NotImplementedError

    def __call__(self, state: Any, action: Ints, next_state: Any) -> Floats:
        """Reward of each row: float64[n]."""
        if self.mode == "delta":
            return self.potential(next_state) - self.potential(state)
        total = self._final(next_state, next_state.ended & ~state.ended)
        if self.mode == "shaped":
            total += shaping(self.potential, self.gamma, state, next_state)
        return total

    def terms(self, state: Any, action: Ints, next_state: Any) -> dict[str, Floats]:
        """The reward by its name."""
        return {self.name: self(state, action, next_state)}

    def explain(self, episode: Episode[Any]) -> list[Finding]:
        """Each word that is foreign or lowered the score so far, and at the end what is missing to 1."""
        if not episode.actions:
            return []
        states = join_rows(episode.states)
        scores = self.potential(states)
        falls, foreign = scores[:-1] - scores[1:], self.foreign(states)
        findings = [
            self._word(episode, t, foreign[t], float(scores[t]), float(scores[t + 1]))
            for t in np.flatnonzero((falls > LEAST) | foreign).tolist()
        ]
        last = episode.states[-1]
        if last.ended[0] and scores[-1] < 1 - LEAST:
            words = f"the score is {scores[-1]:.3f}: {self.words(last)}"
            findings.append(Finding(self.name, "warning", len(episode.actions), float(1 - scores[-1]), words))
        return findings

    def foreign(self, states: Any) -> Bools:
        """Of an episode's T + 1 states as rows: which of the T words the references have not, where that is known."""
        return np.zeros(len(states.position) - 1, bool)

    def words(self, state: Any) -> str:
        """Why the score of a finished episode (one row) is what it is."""
        raise NotImplementedError

    def _final(self, state: Any, rows: Bools) -> Floats:
        """The score of rows that have just ended, 0 elsewhere."""
        total = np.zeros(len(rows))
        if rows.any():
            total[rows] = self.potential(take_rows(state, rows))
        return total

    def _word(self, episode: Episode[Any], t: int, foreign: bool, before: float, after: float) -> Finding:
        word = episode.states[0].pairs.codecs[1].tokens([episode.actions[t]])[0]
        parts = ["is not in the reference, or not so often"] if foreign else []
        parts += (
            [f"lowers the score so far from {before:.3f} to {after:.3f}"] if after < before - LEAST else []
        )
        cost = max(before - after, 0.0)
        return Finding(self.name, "warning", t + 1, cost, f"{word!r} {' and '.join(parts)}")


def shaping(potential: Any, gamma: float, state: Any, next_state: Any) -> Floats:
    """gamma Phi(s') - Phi(s), with Phi 0 where the episode has ended: float64[n]."""
    onward = np.where(next_state.ended, 0.0, gamma * potential(next_state))
    found: Floats = onward - np.where(state.ended, 0.0, potential(state))
    return found


def checked_gamma(gamma: Any) -> float:
    """A discount from 0 to 1."""
    if not isinstance(gamma, int | float) or not 0 <= gamma <= 1:
        raise DescantError(f"gamma must be a number from 0 to 1, the agent's, not {gamma!r}.")
    return float(gamma)
