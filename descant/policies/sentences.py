"""Sentences of translations out of observations of their steps: each once, however many steps show it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from gymnasium import spaces
from torch import Tensor

from descant.text.vocabularies import BOS

KEYS = ("position", "source", "target")


@dataclass(frozen=True)
class Shape:
    """Ids of each side, and columns of each."""

    source: int
    target: int
    source_columns: int
    target_columns: int


def sentence_shape(space: spaces.Space[object]) -> Shape | None:
    """What the observations of `descant/Translation-v0` hold; None for any other space."""
    if not isinstance(space, spaces.Dict) or tuple(sorted(space.spaces)) != KEYS:
        return None
    source, target, position = space["source"], space["target"], space["position"]
    if not (isinstance(source, spaces.MultiDiscrete) and isinstance(target, spaces.MultiDiscrete)):
        return None
    if not isinstance(position, spaces.Discrete) or source.nvec.ndim != 1 or target.nvec.ndim != 1:
        return None
    return Shape(int(source.nvec[0]), int(target.nvec[0]), len(source.nvec), len(target.nvec))


@dataclass(frozen=True)
class Sentences:
    """E sentences that K wanted steps show.

    source int64[E, S] and inputs int64[E, L] (BOS, then what was written), as long as the longest; `row` int64[K] and
    `place` int64[K] say where a wanted step is: after so many tokens of which sentence.
    """

    source: Tensor
    inputs: Tensor
    row: Tensor
    place: Tensor


def sentences_of(observation: dict[str, Tensor], wanted: Tensor) -> Sentences:
    """The sentences of observations [T, N, ...]; `wanted` bool[T, N], steps in the order that it indexes by.

    A step belongs with the one before it where it shows the same source and one token more: what was seen tells it,
    so that rollouts may begin and end within a sentence, and hold steps that did not happen.
    """
    position, target = observation["position"].long(), observation["target"]
    steps, n = position.shape
    begins = torch.ones(steps, n, dtype=torch.bool, device=position.device)
    begins[1:] = ~_goes_on(observation)
    number = begins.long().cumsum(dim=0) + torch.arange(n, device=position.device) * (steps + 1)
    _, row = torch.unique(number[wanted], return_inverse=True)
    times, rows = wanted.nonzero(as_tuple=True)
    count = int(row.max()) + 1 if len(row) else 0
    order = torch.arange(len(row), device=row.device)
    # Of each sentence the wanted step that comes last shows all that came before.
    last = order.new_zeros(count).scatter_reduce(0, row, order, "amax")
    place = position[times, rows]
    length = int(place.max()) if len(place) else 0
    written = target[times[last], rows[last]][:, :length].long()
    inputs = torch.cat([written.new_full((count, 1), BOS), written], dim=1)
    return Sentences(trimmed(observation["source"][times[last], rows[last]].long()), inputs, row, place)


def _goes_on(observation: dict[str, Tensor]) -> Tensor:
    """bool[T - 1, N]: whether each step shows the one before it with a token more."""
    position, source, target = (observation[key] for key in KEYS)
    before = position[:-1].long()
    other = target[1:] != target[:-1]
    # The token that was written then is the only one that may differ; after the last there is room for none.
    written = before.clamp(max=target.shape[-1] - 1)[..., None]
    other.scatter_(-1, written, False)
    same = (source[1:] == source[:-1]).all(dim=-1) & ~other.any(dim=-1)
    return same & (position[1:] == before + 1)


def trimmed(tokens: Tensor) -> Tensor:
    """int[E, S] without columns of padding at the end; one column at least."""
    used = (tokens != 0).any(dim=0).nonzero()
    return tokens[:, : int(used[-1]) + 1 if len(used) else 1]
