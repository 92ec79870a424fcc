"""A suite of seconds, with agents that train, that don't, and that fail."""

from __future__ import annotations

from typing import Any

from descant.benchmarks.specs import Entry, Suite

SMALL: dict[str, Any] = {"num_envs": 8, "hidden": (16,), "critic_hidden": (16,), "normalize_advantage": False}

TINY = Suite(
    name="tiny",
    env="descant/Counterpoint-v0",
    entries=(
        Entry("random", note="chance"),
        Entry("reinforce", 20_000, SMALL),
        Entry("exact", note="the best"),
        Entry("reinforce", 20_000, SMALL | {"learning_rate": 1e30}),  # fails while it trains
    ),
    train_options={"pool": 16},
    test_options={"cantus": "dorian"},
)

BROKEN = Entry("sb3/dqn", 100, {"no_such_option": 1})
"""What can't be begun."""
