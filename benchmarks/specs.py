"""What a benchmark is made of: a suite is entries on one environment, an entry one agent with its budget."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from descant.runs.digests import content_hash


@dataclass(frozen=True)
class Entry:
    """One agent: what it is given and how long it may learn. `total_timesteps` 0 for one that doesn't."""

    agent: str
    total_timesteps: int = 0
    config: dict[str, Any] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Suite:
    """Agents trained on one environment and evaluated on problems that none of them has seen."""

    name: str
    env: str
    entries: tuple[Entry, ...]
    train_options: dict[str, Any] = field(default_factory=dict)
    test_options: dict[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class Plan:
    """Benchmarks by name, run one after another."""

    name: str
    parts: tuple[str, ...]


@dataclass(frozen=True)
class RunSpec:
    """One run of a suite: hashable by content, one folder each."""

    env: str
    env_options: dict[str, Any]
    entry: Entry
    seed: int

    @property
    def key(self) -> str:
        """A hash of all that decides the outcome."""
        return content_hash(dataclasses.asdict(self))[:8]

    def __hash__(self) -> int:
        return hash(self.key)

    def folder(self, out: Path) -> Path:
        """Where the run lies below a results folder."""
        return out / "runs" / f"{self.entry.agent.replace('/', '-')}-{self.seed}-{self.key}"


def names_of(suite: Suite) -> list[str]:
    """What each entry is called: its agent, numbered where the suite has the agent more than once."""
    agents = [entry.agent for entry in suite.entries]
    return [
        agent if agents.count(agent) == 1 else f"{agent} {agents[: i + 1].count(agent)}"
        for i, agent in enumerate(agents)
    ]


def runs_of(suite: Suite) -> list[RunSpec]:
    """Every run that the suite must train, in order."""
    return [
        RunSpec(suite.env, suite.train_options, entry, seed)
        for entry in suite.entries
        if entry.total_timesteps
        for seed in suite.seeds
    ]
