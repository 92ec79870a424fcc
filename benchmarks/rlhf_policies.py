"""Policies of `bench rlhf`: tuned near the prior for a reward, and what they write."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np
from torch import Tensor
from torch.nn import Module

from descant.agent import Agent
from descant.compositions import Compositions, write_compositions
from descant.conditioning import Blind, Conditioned, beneath
from descant.makers import make_agent
from descant.music.keys import Key
from descant.preferences.clips import melody_clip
from descant.preferences.records import Clip
from descant.reward_models.saving import Saved
from descant.shells import make_task
from descant.tasks import Floats

from .rl_tuner_prior import ENV, Prior
from .rlhf_settings import MARGIN

DRAWN, HALVINGS = 2048, 6  # melodies that measure a policy's KL while it is drawn back, and how often it is


def rules(home: Prior, taste: Mapping[str, float], scale: float = 1.0) -> dict[str, Any]:
    """The reward `rl-tuner` with the terms of a taste alone, each weight times `scale`."""
    terms = home.task.reward.weights
    return {"name": "rl-tuner", "weights": {term: scale * taste.get(term, 0.0) for term in terms}}


def tune(
    home: Prior, reward: Any, seed: int, steps: int, kl_target: float, tuning: Mapping[str, Any]
) -> Agent:
    """A policy that begins as the prior, tuned by ppo, and then drawn back to where its KL is below the target.

    The price of a nat is moved to hold the target where the tuning has a `kl_gain`; else it stays as it is.
    """
    config = dict(tuning) | {"prior": home.path, "init": home.path, "hidden": home.hidden, "seed": seed}
    config["kl_target"] = kl_target if "kl_gain" in tuning else 0.0
    env = gymnasium.make_vec(ENV, num_envs=config["num_envs"], **home.options | {"reward": reward})
    agent: Any = make_agent("ppo", env, **config)
    network = agent.networks["policy"]
    begun = copy.deepcopy(network.state_dict())
    agent.learn(steps)

    seen = reward if beneath(agent.observation_space) is not None else "rl-tuner"  # who draws the codes

    def kl() -> float:
        found = writes(agent, home, DRAWN, seeds(seed, 1), seen).kl
        assert found is not None
        return float(found.mean())

    draw_back(network, begun, kl, MARGIN * kl_target)
    tuned: Agent = agent
    return tuned


def draw_back(network: Module, begun: Mapping[str, Tensor], kl: Callable[[], float], most: float) -> float:
    """Put weights on the line from those it began with, as far out as leaves `kl` of them at most `most`: their share.

    By halving, 1 where the KL is low enough as it is. It is a bound by construction: where the network began as the
    prior, the KL at 0 is none. After Ramé et al. 2024 (*WARP*), who find more reward on this line at the same KL.
    """
    tuned = copy.deepcopy(network.state_dict())

    def at(share: float) -> float:
        network.load_state_dict({name: begun[name].lerp(weight, share) for name, weight in tuned.items()})
        return share

    if kl() <= most:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = at((low + high) / 2)
        low, high = (middle, high) if kl() <= most else (low, middle)
    return at(low)


def writes(agent: Agent, home: Prior, n: int, seed: int, reward: Any = "rl-tuner") -> Compositions:
    """`n` melodies drawn from the policy, their worth by a reward, log p and exact KL to the prior."""
    task = make_task(ENV, **home.options | {"reward": reward})
    prior = Blind(home.agent) if isinstance(task, Conditioned) else home.agent
    return write_compositions(agent, task, n, prior=prior, seed=seed, terms=False)


def clips_of(found: Compositions, home: Prior, source: str) -> list[Clip]:
    """The melodies as clips."""
    key: Key = home.task.music_key
    return [melody_clip(key, tokens, source) for tokens in found.actions]


def proxy_of(saved: Saved, found: Compositions, annotator: str | None = None) -> Floats:
    """What the reward model says of melodies: float64[n]."""
    return saved.score(saved.view.items(found.last), annotator=annotator)


def agreement(proxy: Floats, gold: Floats) -> float:
    """Share of pairs (the first half beside the second) that the proxy orders as gold does; even gold is left out."""
    half = len(gold) // 2
    gaps = [values[:half] - values[half : 2 * half] for values in (proxy, gold)]
    decided = gaps[1] != 0
    right = (np.sign(gaps[0]) == np.sign(gaps[1]))[decided] + 0.5 * (gaps[0] == 0)[decided]
    return float(right.mean()) if decided.any() else float("nan")


def preferred(first: Floats, second: Floats) -> float:
    """Share of pairs in which the first is worth more, row by row; equal counts half."""
    return float(((first > second) + 0.5 * (first == second)).mean())


def seeds(*parts: int) -> int:
    """One seed of several, so that streams of different purposes differ."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])
