"""The worlds of `bench over-optimisation`: gold rewards, comparisons with mistakes, and the proxies fitted to them.

A world is a `descant/Tokens-v0`, all sequences of which are listed. Rewards are float[S] over these S sequences,
centred and scaled to mean 0 and deviation 1 under the prior, so that all proxies and the gold reward have one scale.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from descant.registry import tasks
from descant.reward_models.stacked import StackedMLP
from descant.tasks import Floats, Ints

ENV = "descant/Tokens-v0"


@dataclass(frozen=True)
class World:
    """All S sequences int64[S, T], the log-prior of each, the gold reward of each, and the task."""

    task: Any
    sequences: Ints
    log_prior: Floats
    gold: Floats


def make_world(seed: int, options: Mapping[str, Any]) -> World:
    """The world of a seed."""
    task: Any = tasks.get(ENV)(**options, seed=seed)
    sequences, returns, log_prior = task.sequences()
    return World(task, sequences, log_prior, standardised(returns, log_prior))


def standardised(values: Floats, log_prior: Floats) -> Floats:
    """Mean 0 and deviation 1 under the prior, along the last axis: float[..., S]."""
    chances = np.exp(log_prior)
    centred = values - (values @ chances)[..., None]
    scaled: Floats = centred / np.sqrt((centred**2 @ chances)[..., None])
    return scaled


def compare(world: World, comparisons: int, flipped: float, rng: np.random.Generator) -> tuple[Ints, Floats]:
    """Pairs int[K, 2] of sequences drawn from the prior, and 1 or 0: whether the first is said to be better.

    The gold reward decides (a tie by lot), and then a share `flipped` of the answers is the wrong way round.
    """
    chances = np.exp(world.log_prior)
    pairs = rng.choice(len(chances), size=(comparisons, 2), p=chances / chances.sum())
    lot, slip = rng.random((2, comparisons))
    gap = world.gold[pairs[:, 0]] - world.gold[pairs[:, 1]]
    better = np.where(gap == 0, lot < 0.5, gap > 0)
    return pairs, np.asarray(better != (slip < flipped), np.float64)


def fit_scores(world: World, pairs: Ints, first: Floats, config: Mapping[str, Any], seed: int) -> Floats:
    """Scores float[D, M, S] of all sequences by M reward models for each of D sets of comparisons, int[D, K, 2].

    Bradley-Terry; hidden layers above the one-hot sequence. The models of a set differ in their first weights,
    `spread` times as wide as is usual so that they also differ about what was never compared, and in the order of
    what they learn from. All are fitted side by side, for a fixed number of epochs.
    """
    generator = torch.Generator().manual_seed(seed)
    seen = torch.nn.functional.one_hot(torch.as_tensor(world.sequences), world.task.tokens)
    seen = seen.flatten(1).float()
    sets, models = len(pairs), config["models"]
    net = _first_models(sets * models, (seen.shape[1], *config["hidden"], 1), config["spread"], seed)
    adam = torch.optim.AdamW(
        net.parameters(), lr=config["learning_rate"], weight_decay=config["weight_decay"], fused=True
    )
    sides = torch.as_tensor(pairs).repeat_interleave(models, dim=0)
    said = torch.as_tensor(first, dtype=torch.float32).repeat_interleave(models, dim=0)
    each = torch.arange(len(said))[:, None]
    for _ in range(config["epochs"]):
        order = torch.rand(said.shape, generator=generator).argsort(dim=1)
        for rows in torch.split(order, config["batch_size"], dim=1):
            scores = net(seen[sides[each, rows].flatten(1)]).view(*rows.shape, 2)
            gap = scores[..., 0] - scores[..., 1]
            loss = torch.nn.functional.binary_cross_entropy_with_logits(gap, said[each, rows])
            adam.zero_grad()
            total = loss * len(said)  # models share no weights: each has its own step
            total.backward()  # type: ignore[no-untyped-call]
            adam.step()
    with torch.inference_mode():
        found: Floats = net(seen.expand(len(said), *seen.shape))[..., 0].double().numpy()
    return found.reshape(sets, models, -1)


def _first_models(models: int, sizes: tuple[int, ...], spread: float, seed: int) -> StackedMLP:
    """Networks with first weights `spread` times as wide as torch's."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = StackedMLP(models, sizes)
    with torch.no_grad():
        for weight in net.weights:
            weight.mul_(spread)
    return net


def proxies_of(scores: Floats, log_prior: Floats, penalty: float) -> dict[str, Floats]:
    """What is maximised in place of the gold reward, float[S] by name, from the scores float[M, S] of an ensemble.

    single is its first model. Mean, minimum and mean minus `penalty` times variance (Coste et al. 2023) are of
    standardised scores, since every model has a scale and a zero of its own.
    """
    own = standardised(scores, log_prior)
    found = {
        "single": own[0],
        "mean": own.mean(axis=0),
        "minimum": own.min(axis=0),
        "mean - variance": own.mean(axis=0) - penalty * own.var(axis=0),
    }
    return {name: standardised(values, log_prior) for name, values in found.items()}
