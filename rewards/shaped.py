"""The reward `shaped`: another reward with potential-based shaping on top.

A. Y. Ng, D. Harada, S. Russell, *Policy invariance under reward transformations*, ICML 1999: adding
gamma Phi(s') - Phi(s) leaves the best policies the best, whatever the potential Phi, if Phi is 0 where episodes
have ended.
`scale` and `shift` make the potential scale * Phi + shift, after H. Müller and D. Kudenko, *Improving the effectiveness
of potential-based reward shaping in reinforcement learning*, 2025: how well a potential helps depends on where it lies
beside the values that an agent begins with, and a constant added to it changes that.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from descant.conditioning import conditions_of
from descant.errors import DescantError
from descant.makers import make_reward
from descant.tasks import Bools, Episode, Finding, Floats, Ints, needs_line

from .scored import checked_gamma

TERM = "shaping"


class Shaped:
    """A reward plus gamma Phi(s') - Phi(s), where Phi is 0 once the episode has ended.

    Args:
        reward: what is shaped, a name, a name with options, or an object.
        potential: Phi: a reward by name or options that has a `potential` (`bleu`, `chrf`), or a function from a
            state to float[n].
        gamma: the agent's discount; with another one the best policies may change.
        scale, shift: the potential is scale * Phi + shift until the end.
        ended: which rows of a state have ended, bool[n]; by default the state's own `ended`.

    Raises:
        DescantError: a potential that is none, or a number that is not finite.
    """

    name = "shaped"

    def __init__(
        self,
        reward: Any,
        potential: Any,
        gamma: float = 1.0,
        scale: float = 1.0,
        shift: float = 0.0,
        ended: Callable[[Any], Bools] | None = None,
    ) -> None:
        for name, value in (("scale", scale), ("shift", shift)):
            if not isinstance(value, int | float) or not math.isfinite(value):
                raise DescantError(f"{name} must be a finite number, not {value!r}.")
        self.reward, self.gamma, self.scale, self.shift = (
            make_reward(reward),
            checked_gamma(gamma),
            scale,
            shift,
        )
        self.needs_line = needs_line(self.reward) or needs_line(potential)
        self.conditions = conditions_of(self.reward)
        self._potential, self._ended = _potential_of(potential), ended or _own_end

    def potential(self, state: Any) -> Floats:
        """scale * Phi + shift, and 0 where the episode has ended: float64[n]."""
        found: Floats = np.where(self._ended(state), 0.0, self.scale * self._potential(state) + self.shift)
        return found

    def __call__(self, state: Any, action: Ints, next_state: Any) -> Floats:
        """Reward of each row: float64[n]."""
        return self.reward(state, action, next_state) + self._shaping(state, next_state)

    def terms(self, state: Any, action: Ints, next_state: Any) -> dict[str, Floats]:
        """The terms of the reward, and `shaping`."""
        own = self.reward.terms(state, action, next_state)
        return {**own, TERM: self._shaping(state, next_state)}

    def explain(self, episode: Episode[Any]) -> list[Finding]:
        """What the reward finds: shaping finds nothing wrong."""
        return self.reward.explain(episode)

    def _shaping(self, state: Any, next_state: Any) -> Floats:
        """A row that has ended and awaits its reset has 0 before and after."""
        return self.gamma * self.potential(next_state) - self.potential(state)


def _potential_of(spec: Any) -> Callable[[Any], Floats]:
    """The function itself, or the `potential` of a reward."""
    if callable(spec) and not hasattr(spec, "potential"):
        return spec
    found = getattr(make_reward(spec), "potential", None)
    if found is None:
        raise DescantError(
            f"{spec!r} has no potential: give 'bleu', 'chrf', or a function from a state to float[n]."
        )
    return found


def _own_end(state: Any) -> Bools:
    if not hasattr(state, "ended"):
        raise DescantError(
            f"{type(state).__name__} does not say which episodes have ended: pass ended=, a function that does."
        )
    found: Bools = state.ended
    return found
