"""Fitting a reward model: minibatches, early stopping on pairs held out, and a report on others."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor

from descant.optimizers import Adam
from descant.reward_models.comparisons import Comparisons, Split, split
from descant.reward_models.measures import measure
from descant.reward_models.models import RewardModel, config_of, make_model

Progress = Callable[[int, float], None]  # told the epochs that are done, and the loss on what is held out


@dataclass(frozen=True)
class Fitted:
    """A reward model, and what is reported of it."""

    model: RewardModel
    report: dict[str, Any]


def fit(
    kind: str,
    space: spaces.Space[Any],
    data: Comparisons | Split,
    config: Any = None,
    tell: Progress | None = None,
) -> Fitted:
    """Fit a model of a kind to comparisons, split by pairs of clips unless that was done.

    Same data, same configuration: same model. `tell` is called after each epoch. DescantError for too few pairs.
    """
    config = config_of(kind)() if config is None else config
    parts = data if isinstance(data, Split) else split(data, config.valid, config.test, config.seed)
    model = make_model(kind, space, config, parts.train.names)
    if (first := model.first()) is not None:
        descend(first, parts)
        model.begin(first)
    epochs, best = descend(model, parts, tell)
    model.eval()
    model.conclude(parts.train)
    sizes = {name: len(getattr(parts, name)) for name in ("train", "valid", "test")}
    report = {"kind": kind, "comparisons": sizes, "epochs": epochs, "valid_loss": best}
    return Fitted(model, report | measure(model, parts.test) | model.remarks(parts.train))


def descend(model: RewardModel, parts: Split, tell: Progress | None = None) -> tuple[int, float]:
    """Adam on minibatches; the weights of the best epoch on what is held out. Epochs run, and the best loss there."""
    config, rng = model.config, torch.Generator().manual_seed(model.config.seed)
    count = len(parts.train)
    weights_of_all = list(model.parameters())
    optimizer = Adam(weights_of_all, lr=config.learning_rate, eps=1e-8)
    weights = resample(config.models, count, rng) if config.bootstrap else None
    learned = replace(parts.train, weights=weights)
    best, kept, since, epoch = math.inf, copy.deepcopy(model.state_dict()), 0, 0
    for epoch in range(1, config.epochs + 1):
        done = (epoch - 1) / config.epochs
        if config.annealed:
            optimizer.param_groups[0]["lr"] = config.learning_rate * (1 + math.cos(math.pi * done)) / 2
        for batch in model.batches(learned, rng):
            losses = model.losses(batch, rng, done)
            losses = losses if batch.weights is None else losses * batch.weights
            optimizer.zero_grad()
            total = losses.mean(1).sum()  # models share no weights, so that each has its own step
            total.backward()  # type: ignore[no-untyped-call]
            with torch.no_grad():  # as AdamW has it (Loshchilov and Hutter 2019)
                torch._foreach_mul_(
                    [*weights_of_all], 1 - optimizer.param_groups[0]["lr"] * config.weight_decay
                )
            optimizer.step()
        held_out = loss_on(model, parts.valid)
        if tell is not None:
            tell(epoch, held_out)
        if held_out < best:
            best, kept, since = held_out, copy.deepcopy(model.state_dict()), 0
        else:
            since += 1
        if config.patience and since >= config.patience:
            break
    model.load_state_dict(kept)
    return epoch, best


def resample(models: int, count: int, rng: torch.Generator) -> Tensor:
    """How often each model's resample has each comparison, float[M, K]: Poisson(1), as a large bootstrap's."""
    return torch.poisson(torch.ones(models, count), generator=rng)


def loss_on(model: RewardModel, data: Comparisons) -> float:
    """Mean loss of the models on comparisons, with the same chance each time."""
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        batches = list(model.batches(data, rng))
        losses = [float(model.losses(batch, rng, 1.0).mean()) * len(batch) for batch in batches]
    return sum(losses) / len(data)
