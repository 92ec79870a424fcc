"""A reward that tells nothing: what is learned from it is no learning (Choshen et al. 2020)."""

from __future__ import annotations

from typing import Any

from descant.tasks import Floats, Ints


class Constant:
    """1 for every translation that ends, whatever it says."""

    def __call__(self, state: Any, action: Ints, next_state: Any) -> Floats:
        """float64[n]."""
        found: Floats = (next_state.ended & ~state.ended).astype(float)
        return found

    def terms(self, state: Any, action: Ints, next_state: Any) -> dict[str, Floats]:
        """The reward by its name."""
        return {"constant": self(state, action, next_state)}
