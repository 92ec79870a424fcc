"""The worlds of `bench over-optimisation`: gold rewards, comparisons with mistakes, and the proxies fitted to them.

A world is a `descant/Tokens-v0`, all sequences of which are listed. Rewards are float[S] over these S sequences,
centred and scaled to mean 0 and deviation 1 under the prior, so that all proxies and the gold reward have one scale.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from descant.registry import tasks
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
    """Scores float[M, S] of all sequences by M reward models, Bradley-Terry on the same comparisons.

    A model has two layers above the one-hot sequence; models differ in their first weights and in the order of what
    they learn from. All are fitted side by side, for a fixed number of epochs.
    """
    generator = torch.Generator().manual_seed(seed)
    seen = torch.nn.functional.one_hot(torch.as_tensor(world.sequences), world.task.tokens)
    seen = seen.flatten(1).float()
    weights = _first_weights(config["models"], (seen.shape[1], *config["hidden"], 1), generator)
    adam = torch.optim.AdamW(
        weights, lr=config["learning_rate"], weight_decay=config["weight_decay"], fused=True
    )
    sides, said = torch.as_tensor(pairs), torch.as_tensor(first, dtype=torch.float32)
    for _ in range(config["epochs"]):
        order = torch.rand(config["models"], len(said), generator=generator).argsort(dim=1)
        for begin in range(0, len(said), config["batch_size"]):
            rows = order[:, begin : begin + config["batch_size"]]
            scores = _forward(weights, seen[sides[rows].flatten(1)]).view(*rows.shape, 2)
            gap = scores[..., 0] - scores[..., 1]
            loss = torch.nn.functional.binary_cross_entropy_with_logits(gap, said[rows])
            adam.zero_grad()
            (loss * config["models"]).backward()
            adam.step()
    with torch.inference_mode():
        found: Floats = _forward(weights, seen.expand(config["models"], *seen.shape)).double().numpy()
    return found


def _first_weights(models: int, sizes: tuple[int, ...], generator: torch.Generator) -> list[Tensor]:
    """Matrices [M, in, out], each followed by its biases [M, 1, out]."""
    found = []
    for before, after in pairwise(sizes):
        matrix = torch.randn(models, before, after, generator=generator) * (2 / before) ** 0.5
        found += [matrix.requires_grad_(), torch.zeros(models, 1, after, requires_grad=True)]
    return found


def _forward(weights: list[Tensor], seen: Tensor) -> Tensor:
    """Scores float[M, B] of float[M, B, columns]."""
    for layer in range(0, len(weights), 2):
        seen = torch.baddbmm(weights[layer + 1], seen.relu() if layer else seen, weights[layer])
    return seen[..., 0]


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
