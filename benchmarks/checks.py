"""What a suite asks for that can't be done: found before the first run, all of it at once."""

from __future__ import annotations

import contextlib
from fnmatch import fnmatch
from typing import Any

from descant.agent import make_config
from descant.commands.train import make_env
from descant.errors import DescantError, did_you_mean
from descant.registry import agents, build, tasks

from .specs import Entry, Suite, names_of

SCORED = "descant/Counterpoint-v0"  # where lines are drawn, engraved and scored; studies measure on others


def check(suite: Suite) -> None:
    """DescantError with all that is impossible in a suite."""
    wrong = impossible(suite)
    if wrong:
        raise DescantError(
            f"{suite.name} can't be run: " + "; ".join(line.rstrip(".") for line in wrong) + "."
        )


def impossible(suite: Suite) -> list[str]:
    """A sentence for each thing that can't be done."""
    wrong = [f"seed {seed!r} is no whole number from 0" for seed in suite.seeds if not _is_seed(seed)]
    if not suite.seeds or len(set(suite.seeds)) < len(suite.seeds):
        wrong.append("there must be seeds, each once")
    if suite.env != SCORED:
        wrong.append(f"a suite is scored on {SCORED}, not on {suite.env}: write a study for it")
        return wrong + [line for entry in suite.entries for line in _without_env(entry)]
    unmade = _of_options(suite)
    wrong += unmade
    seen: list[Entry] = []
    for name, entry in zip(names_of(suite), suite.entries, strict=True):
        repeated = [f"{entry.agent} stands there twice with the same settings"] if entry in seen else []
        seen.append(entry)
        found = repeated or _without_env(entry) or ([] if unmade else _on_env(suite, entry))
        wrong += [f"{name}: {line}" for line in found]
    return wrong


def _is_seed(seed: Any) -> bool:
    return isinstance(seed, int) and not isinstance(seed, bool) and seed >= 0


def _of_options(suite: Suite) -> list[str]:
    wrong = []
    for name, options in (("train_options", suite.train_options), ("test_options", suite.test_options)):
        try:
            build(suite.env, tasks.get(suite.env), options)
        except (DescantError, TypeError, ValueError) as error:
            wrong.append(f"{name}: {error}")
    return wrong


def _without_env(entry: Entry) -> list[str]:
    """What is wrong with an entry on any environment."""
    try:
        kind = agents.get(entry.agent)
        make_config(kind, {**entry.config, "seed": 0} if kind.trains else entry.config)
    except (DescantError, TypeError, ValueError) as error:
        return [str(error)]
    steps = entry.total_timesteps
    if kind.trains and steps < 1:
        return ["it has to be trained: give total_timesteps"]
    return [] if kind.trains or not steps else ["it has nothing to learn: leave out total_timesteps"]


def _on_env(suite: Suite, entry: Entry) -> list[str]:
    """What an agent has against the environment."""
    kind = agents.get(entry.agent)
    config = make_config(kind, entry.config)
    try:
        env = make_env(suite.env, getattr(config, "num_envs", 1), suite.train_options)
        with contextlib.closing(env):
            kind(env, config)
    except (DescantError, TypeError, ValueError) as error:
        return [str(error)]
    return []


def only(suite: Suite, wanted: str) -> tuple[Entry, ...]:
    """The entries whose names match a comma-separated list of names or patterns such as sb3/*."""
    names = names_of(suite)
    patterns = [pattern.strip() for pattern in wanted.split(",")]
    for pattern in patterns:
        if not any(_matches(pattern, name) for name in names):
            raise DescantError(f"--only: {suite.name} has no {pattern!r}.{did_you_mean(pattern, names)}")
    return tuple(
        entry
        for name, entry in zip(names, suite.entries, strict=True)
        if any(_matches(pattern, name) for pattern in patterns)
    )


def _matches(pattern: str, name: str) -> bool:
    """Whether it is the name, with or without its number, or a pattern of it."""
    return fnmatch(name, pattern) or fnmatch(name.rpartition(" ")[0] or name, pattern)
