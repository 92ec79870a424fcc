"""`descant bench sweep`: a W&B sweep over the settings of a suite's agent, whose command is our own."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from descant.agent import make_config
from descant.errors import DescantError, did_you_mean
from descant.files import write_atomically
from descant.registry import agents, suites

from .specs import Entry, Suite, names_of
from .suite_files import is_file, load_suite

SEEDS = (100, 101, 102)  # for tuning: those of reports are 0 and up
SCALED = ("learning_rate", "ent_coef", "kl_coef")  # from a fifth of what they are to five times as much
CHOICES = {
    "gamma": (0.9, 0.95, 0.98, 1.0),
    "gae_lambda": (0.8, 0.9, 0.95, 1.0),
    "clip_range": (0.1, 0.2, 0.3),
}


@dataclasses.dataclass
class Sweep:
    """Write a W&B sweep over the settings of a suite's agent: a YAML file whose command is descant train.

    Seeds are those for tuning, 100 and up. The file is a beginning: look at its ranges before you start it.

    Example: descant bench sweep quick --agent sb3/ppo --out sweep.yaml

    Then: wandb sweep sweep.yaml, and the wandb agent command that it prints
    """

    sweep: Annotated[Literal["sweep"], tyro.conf.Positional]
    """The word sweep."""
    suite: Annotated[str, tyro.conf.Positional]
    """The suite, or a file with one of yours, whose environment, budget and settings to begin from."""
    agent: str | None = None
    """Which of its agents; by default the first that learns."""
    method: Literal["bayes", "random", "grid"] = "random"
    """How W&B chooses settings; grid tries those that are listed, and no ranges."""
    out: Path | None = None
    """The file; by default sweep-SUITE-AGENT.yaml."""

    def run(self) -> int:
        """Write the file and say how it is started."""
        suite = suite_of(self.suite)
        entry = entry_of(suite, self.agent)
        out = self.out or Path(f"sweep-{suite.name}-{entry.agent.replace('/', '-')}.yaml")
        write_atomically(out, sweep_yaml(suite, entry, self.method).encode())
        print(f"{out}\nnow: wandb sweep --project descant {out}")
        return 0


def suite_of(name: str) -> Suite:
    """The suite, by its name or in a file; DescantError for a study, which has no runs to be swept over."""
    known = [known for known in suites.names() if isinstance(suites.get(known), Suite)]
    known_name = name in suites.names() or ":" in name
    found = load_suite(name) if is_file(name) else suites.get(name) if known_name else None
    if not isinstance(found, Suite):
        raise DescantError(f"{name!r} is no suite to sweep over.{did_you_mean(name, known)}")
    return found


def entry_of(suite: Suite, agent: str | None) -> Entry:
    """The suite's entry of that agent, or the first that learns; DescantError where there is none."""
    learning = [entry for entry in suite.entries if entry.total_timesteps]
    names = [name for name, e in zip(names_of(suite), suite.entries, strict=True) if e in learning]
    if agent is not None and agent not in names:
        raise DescantError(f"{suite.name} trains no {agent!r}.{did_you_mean(agent, names)}")
    if not learning:
        raise DescantError(f"{suite.name} trains nothing: there are no settings to sweep over.")
    return learning[0 if agent is None else names.index(agent)]


def sweep_yaml(suite: Suite, entry: Entry, method: str = "random") -> str:
    """The sweep as YAML; every value is JSON, which YAML includes."""
    chosen = parameters(entry, method)
    lines = [
        f"# Settings of {entry.agent} as in the suite {suite.name}. Start it: wandb sweep --project descant FILE",
        f"name: {json.dumps(f'{suite.name} {entry.agent}')}",
        f"method: {method}",
        "metric: {name: return, goal: maximize}",
        "parameters:",
        *(f"  {json.dumps(name)}: {json.dumps(values)}" for name, values in chosen.items()),
        "command:",
        *(f"  - {json.dumps(word)}" for word in command(suite, entry, chosen)),
    ]
    return "\n".join(lines) + "\n"


def parameters(entry: Entry, method: str) -> dict[str, dict[str, Any]]:
    """What is swept over, by the option's name on the command line: settings that the agent has, and seeds."""
    config = make_config(agents.get(entry.agent), entry.config)
    found: dict[str, dict[str, Any]] = {}
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        if f.name in SCALED and value:
            low, high = (float(f"{bound:.6g}") for bound in (value / 5, value * 5))
            ranges = {"distribution": "log_uniform_values", "min": low, "max": high}
            found[option(f.name)] = {"values": [low, value, high]} if method == "grid" else ranges
        elif f.name in CHOICES:
            found[option(f.name)] = {"values": sorted({*CHOICES[f.name], value})}
    return found | {option("seed"): {"values": list(SEEDS)}}


def command(suite: Suite, entry: Entry, chosen: dict[str, dict[str, Any]]) -> list[str]:
    """`descant train` with what the suite fixes; W&B puts in what it has chosen."""
    fixed = {name: value for name, value in entry.config.items() if option(name) not in chosen}
    words = ["${env}", f"WANDB_RUN_GROUP=sweep-{suite.name}", "descant", "train", suite.env]
    words += ["--agent", entry.agent, "--total-timesteps", str(entry.total_timesteps)]
    for name, value in fixed.items():
        words += arguments(name, value)
    if suite.train_options:
        words += ["--set", *(f"{name}={json.dumps(value)}" for name, value in suite.train_options.items())]
    return [*words, "--track", "wandb", "--no-progress", "${args}"]


def arguments(name: str, value: Any) -> list[str]:
    """A setting as the command line takes it."""
    if isinstance(value, bool):
        return [f"--{option(name)}" if value else f"--config.no-{name.replace('_', '-')}"]
    return [f"--{option(name)}", *map(str, value if isinstance(value, list | tuple) else [value])]


def option(name: str) -> str:
    """A setting's name on the command line."""
    return f"config.{name.replace('_', '-')}"
