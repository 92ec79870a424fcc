"""The reward `repetition`: what a translation pays for saying the same again."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from descant.errors import DescantError
from descant.tasks import Bools, Episode, Finding, Floats, Ints
from descant.text.vocabularies import EOS


class Repetition:
    """-1 for each token that ends an n-gram which the translation had before.

    Args:
        order: n, 4 by default.
    """

    name = "repetition"

    def __init__(self, order: int = 4) -> None:
        if order < 1:
            raise DescantError(f"order must be 1 or more, not {order}.")
        self.order = order

    def __call__(self, state: Any, action: Ints, next_state: Any) -> Floats:
        """Reward of each row: float64[n], 0 or -1."""
        return -self._repeats(state, action, next_state).astype(float)

    def terms(self, state: Any, action: Ints, next_state: Any) -> dict[str, Floats]:
        """The reward by its name."""
        return {self.name: self(state, action, next_state)}

    def explain(self, episode: Episode[Any]) -> list[Finding]:
        """Each repetition, with the words that come again."""
        findings = []
        for t, action in enumerate(episode.actions):
            before, after = episode.states[t : t + 2]
            if self._repeats(before, np.array([action]), after)[0]:
                again = after.pairs.codecs[1].tokens(after.target[0, t + 1 - self.order : t + 1].tolist())
                message = f"{' '.join(again)!r} comes again"
                findings.append(Finding(self.name, "warning", t + 1, 1.0, message))
        return findings

    def _repeats(self, state: Any, action: Ints, next_state: Any) -> Bools:
        """Whether the token written ends an n-gram that ended before, bool[n]."""
        n, end = self.order, next_state.position  # the n-gram begins at end - n
        wrote = (end > state.position) & (action != EOS) & (end >= n)
        if next_state.limit < n or not wrote.any():
            return np.zeros(len(end), bool)
        windows = sliding_window_view(next_state.target, n, axis=1)
        begin = np.maximum(end - n, 0)
        same = (windows == windows[np.arange(len(end)), begin][:, None]).all(axis=2)
        earlier = np.arange(windows.shape[1]) < begin[:, None]
        found: Bools = wrote & (same & earlier).any(axis=1)
        return found
