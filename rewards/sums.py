"""A weighted sum of rewards."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from descant.conditioning import Conditions, conditions_of
from descant.errors import DescantError
from descant.makers import make_reward
from descant.tasks import Episode, Finding, Floats, Ints, needs_line


class WeightedSum:
    """The sum of several rewards, each times its weight; terms are named `reward/term`.

    Args:
        rewards: one entry a reward: its name, or its name and options with a `weight` (1 by default), or
            (reward, weight).

    Raises:
        DescantError: no reward at all, or a weight that is not a finite number.
    """

    name = "sum"

    def __init__(self, rewards: Sequence[Any]) -> None:
        if not rewards:
            raise DescantError("A sum needs at least one reward.")
        parts = [_part(entry) for entry in rewards]
        self.parts = [(_name(reward, i), reward, weight) for i, (reward, weight) in enumerate(parts)]
        self.needs_line = any(needs_line(reward) for reward, _ in parts)
        self.conditions = _conditions([reward for reward, _ in parts])

    def __call__(self, state: Any, action: Ints, next_state: Any) -> Floats:
        """Reward of each row: float[n]."""
        total = np.zeros(len(action))
        for _, reward, weight in self.parts:
            total += weight * reward(state, action, next_state)
        return total

    def terms(self, state: Any, action: Ints, next_state: Any) -> dict[str, Floats]:
        """Weighted terms of every part: float[n] each, summing to the reward."""
        return {
            f"{name}/{term}": weight * value
            for name, reward, weight in self.parts
            for term, value in reward.terms(state, action, next_state).items()
        }

    def explain(self, episode: Episode[Any]) -> list[Finding]:
        """Findings of every part with weighted costs, in order of position."""
        findings = [
            dataclasses.replace(finding, cost=weight * finding.cost)
            for _, reward, weight in self.parts
            for finding in reward.explain(episode)
        ]
        return sorted(findings, key=lambda f: (f.position, f.severity, f.rule))


def _part(entry: Any) -> tuple[Any, float]:
    if isinstance(entry, Mapping):
        options = dict(entry)
        weight = options.pop("weight", 1.0)
        reward = make_reward(options)
    elif isinstance(entry, tuple | list):
        reward, weight = make_reward(entry[0]), entry[1]
    else:
        reward, weight = make_reward(entry), 1.0
    if not isinstance(weight, int | float) or not np.isfinite(weight):
        raise DescantError(f"The weight of a reward must be a finite number, not {weight!r}.")
    return reward, float(weight)


def _conditions(rewards: Sequence[Any]) -> Conditions | None:
    """Whom the one part that asks for somebody's taste may ask for; DescantError where several do."""
    found = [conditions for reward in rewards if (conditions := conditions_of(reward)) is not None]
    if len(found) > 1:
        raise DescantError(
            "Two parts of a sum are for several annotators each: let one of them name its annotators."
        )
    return found[0] if found else None


def _name(reward: Any, index: int) -> str:
    return str(getattr(reward, "name", f"reward{index}"))
