"""The reward `length`: what a translation pays for being longer or shorter than its reference."""

from __future__ import annotations

from typing import Any

import numpy as np

from descant.tasks import Episode, Finding, Floats, Ints
from descant.text.bleu import closest


class Length:
    """At the end, minus the difference to the nearest reference's length, as a share of it; 0 where they are equal."""

    name = "length"

    def __call__(self, state: Any, action: Ints, next_state: Any) -> Floats:
        """Reward of each row: float64[n], at most 0."""
        near = closest(next_state.pairs.references.lengths[next_state.pair], next_state.length)
        share = np.abs(next_state.length - near) / np.maximum(near, 1)
        found: Floats = np.where(next_state.ended & ~state.ended, -share, 0.0)
        return found

    def terms(self, state: Any, action: Ints, next_state: Any) -> dict[str, Floats]:
        """The reward by its name."""
        return {self.name: self(state, action, next_state)}

    def explain(self, episode: Episode[Any]) -> list[Finding]:
        """One finding, where the lengths differ."""
        if not episode.actions:
            return []
        before, last = episode.states[-2:]
        cost = -float(self(before, np.array(episode.actions[-1:]), last)[0])
        near = int(closest(last.pairs.references.lengths[last.pair], last.length)[0])
        message = f"{int(last.length[0])} words, the reference has {near}"
        return [Finding(self.name, "warning", len(episode.actions), cost, message)] if cost else []
