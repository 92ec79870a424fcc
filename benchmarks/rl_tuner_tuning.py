"""Tuning a prior on the reward `rl-tuner`: one run of one setting, from the training to what its policy is worth."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np

from descant.agent import Agent
from descant.compositions import Temperature
from descant.makers import make_agent
from descant.registry import agents

from .rl_tuner_bars import bars
from .rl_tuner_measure import measure
from .rl_tuner_prior import ENV, Prior, prior_in
from .rl_tuner_settings import Setting

POINTS = 40  # of a learning curve
CALIBRATION = 10_000  # compositions at each temperature that is tried


class Curve:
    """A tracker that remembers the mean return of the episodes that ended since its last record."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, float]] = []

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Remember one record."""
        if "return" in values:
            self.seen.append((step, float(values["return"])))

    def points(self) -> list[tuple[int, float]]:
        """At most about `POINTS` of them: means over as many records each, with the last one's step."""
        size = -(-len(self.seen) // POINTS) or 1
        parts = [self.seen[i : i + size] for i in range(0, len(self.seen), size)]
        return [(part[-1][0], float(np.mean([value for _, value in part]))) for part in parts]

    def sync(self) -> None:
        """Nothing is written."""

    def close(self) -> None:
        """Nothing is open."""


def options_of(setting: Setting, prior: Prior, seed: int) -> dict[str, Any]:
    """What an agent is made with: the setting's options, the seed, and the prior with its network's widths."""
    config: dict[str, Any] = setting["config"] | {"seed": seed}
    if not setting["prior"]:
        return config
    config |= {"prior": prior.path, "hidden": prior.hidden}
    begins = (
        "init" in agents.get(setting["agent"]).Config.__dataclass_fields__
    )  # others begin as the prior of themselves
    return config | ({"init": prior.path} if begins else {})


def tune(setting: Setting, prior: Prior, seed: int) -> tuple[Agent, Curve]:
    """The agent once it is tuned, and how its return rose."""
    reward = {"name": "rl-tuner", "weights": setting["weights"]}
    config, curve = options_of(setting, prior, seed), Curve()
    env = gymnasium.make_vec(ENV, num_envs=config["num_envs"], **prior.options | {"reward": reward})
    agent = make_agent(setting["agent"], env, **config)
    agent.learn(setting["total_timesteps"], tracker=curve)  # type: ignore[arg-type]
    return agent, curve


def tune_one(
    setting: Setting, seed: int, prior: dict[str, Any], compositions: int, folder: str
) -> dict[str, Any]:
    """Tune once, then sample and measure: what `measure` says, the learning curve, seconds of both."""
    home = prior_in(folder, prior)
    begin = time.perf_counter()
    agent, curve = tune(setting, home, seed)
    temperature = setting["temperature"]
    if not isinstance(temperature, float):
        tried = min(CALIBRATION, compositions)
        temperature = calibrated(agent, home, temperature, tried, np.random.default_rng([seed, 2]))
    tuned = time.perf_counter()
    found = measure(agent, home, compositions, np.random.default_rng([seed, 1]), temperature)
    seconds = {"seconds": tuned - begin, "measured_in": time.perf_counter() - tuned}
    return (
        found
        | seconds
        | {
            "steps": agent.num_timesteps,
            "temperature": temperature,
            "curve": curve.points(),
        }
    )


def calibrated(
    agent: Agent, prior: Prior, temperatures: Sequence[Temperature], n: int, rng: np.random.Generator
) -> Temperature:
    """The middle one of those temperatures that miss fewest bars, each on `n` compositions drawn for this alone."""
    asked = bars(-prior.facts["model"]["nll"])
    found = [measure(agent, prior, n, rng, temperature) for temperature in temperatures]
    misses = [sum(not bar.met(each[bar.name]) for bar in asked) for each in found]
    least = [t for t, missed in zip(temperatures, misses, strict=True) if missed == min(misses)]
    return least[(len(least) - 1) // 2]
