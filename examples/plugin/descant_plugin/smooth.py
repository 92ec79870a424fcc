"""A reward: steps are free, a leap costs."""

from __future__ import annotations

from typing import Any

from descant.tasks import Floats


class Smooth:
    """-price for every leap, 0 for every step; `price` is an option."""

    def __init__(self, price: float = 1.0) -> None:
        self.price = price

    def __call__(self, state: Any, action: Any, next_state: Any) -> Floats:
        """float[n] for batches of n transitions."""
        cost: Floats = -self.price * (next_state.leap > 0)
        return cost
