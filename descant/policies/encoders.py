"""Encoders: observations of a Gymnasium space to features, chosen by the space."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import scipy.sparse
import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from descant.errors import DescantError

Scale = Literal["unit", "linear"]
"""How one-hot columns begin: `unit` gives features of variance 1; `linear` gives rows the variance that `nn.Linear`
gives the weights of as many inputs: so little that what is learned soon outweighs it, and states share more of it."""


def sum_of_rows(weight: Tensor, bias: Tensor, columns: Tensor) -> Tensor:
    """bias + sum over k of weight[columns[:, k]], float[B, width], from float[R, width] and int64[B, K]."""
    return nn.functional.embedding_bag(columns, weight, mode="sum").add_(bias)


class SumOfRows(torch.autograd.Function):
    """`sum_of_rows` with a gradient in a tenth of the time that torch's takes."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, bias: Tensor, columns: Tensor) -> Tensor:
        """float[B, width]."""
        ctx.save_for_backward(columns)
        ctx.rows = len(weight)
        return sum_of_rows(weight, bias, columns)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        """Each row's gradient, float[R, width]: the sum of those of the places where it was taken."""
        return gradient_of_rows(ctx.saved_tensors[0], gradient, ctx.rows), gradient.sum(0), None


def gradient_of_rows(taken: Tensor, gradient: Tensor, rows: int) -> Tensor:
    """Gradient of `sum_of_rows` by its rows, float[R, width], from columns int64[B, K] and that by the sums."""
    columns = taken.numpy()
    size, width = columns.shape
    ends = np.arange(0, columns.size + 1, width)
    ones = np.ones(columns.size, np.int8)
    # A change from columns to rows lists the places by row: a counting sort, where torch compares.
    by_row = scipy.sparse.csc_array((ones, columns.ravel(), ends), shape=(rows, size)).tocsr()
    places, begins = (torch.from_numpy(part) for part in (by_row.indices, by_row.indptr[:-1]))
    return nn.functional.embedding_bag(places, gradient.contiguous(), begins, mode="sum")


class OneHotEncoder(nn.Module):
    """Discrete, MultiDiscrete, MultiBinary: one-hot columns through a linear layer.

    The product of a one-hot vector and a matrix is a sum of rows, looked up, not multiplied: it costs the columns,
    not the values they may take. Input int[B, columns], output float[B, width].

    Args:
        nvec: how many values each column may take.
        width: features.
        starts: the lowest value of each column.
        scale: how large rows begin, `unit` or `linear`, see `Scale`.
    """

    offsets: Tensor

    def __init__(
        self, nvec: np.ndarray, width: int, starts: np.ndarray | None = None, scale: Scale = "unit"
    ) -> None:
        super().__init__()
        nvec = np.asarray(nvec, np.int64).ravel()
        first = np.zeros_like(nvec) if starts is None else np.asarray(starts, np.int64).ravel()
        offsets = np.cumsum(nvec) - nvec - first
        self.register_buffer("offsets", torch.as_tensor(offsets), persistent=False)
        self.rows = nn.EmbeddingBag(int(nvec.sum()), width, mode="sum")
        nn.init.normal_(
            self.rows.weight, std=1.0 / math.sqrt(len(nvec) if scale == "unit" else 3 * nvec.sum())
        )
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, observation: Tensor) -> Tensor:
        """float[B, width]."""
        columns = self.columns(observation)
        weights = (self.rows.weight, self.bias)
        if not torch.is_grad_enabled() or columns.device.type != "cpu":
            return sum_of_rows(*weights, columns)
        features: Tensor = SumOfRows.apply(*weights, columns)  # type: ignore[no-untyped-call]
        return features

    def columns(self, observation: Tensor) -> Tensor:
        """The rows to sum for each observation, int64[B, columns]."""
        return observation.reshape(len(observation), -1).long() + self.offsets


class LinearEncoder(nn.Module):
    """Box: flattened through a linear layer. Input float[B, ...], output float[B, width]."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(size, width)

    def forward(self, observation: Tensor) -> Tensor:
        """float[B, width]."""
        features: Tensor = self.linear(observation.reshape(len(observation), -1).float())
        return features


class DictEncoder(nn.Module):
    """Dict: the sum of its parts' encodings, as one linear layer over all of them would give."""

    def __init__(self, parts: dict[str, nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleDict(parts)

    def forward(self, observation: dict[str, Tensor]) -> Tensor:
        """float[B, width]."""
        return torch.stack([part(observation[key]) for key, part in self.parts.items()]).sum(0)


def make_encoder(space: spaces.Space[Any], width: int, scale: Scale = "unit") -> nn.Module:
    """The encoder for a space, whose one-hot columns begin as `scale` says; DescantError where there is none."""
    match space:
        case spaces.Discrete():
            return OneHotEncoder(np.array([space.n]), width, np.array([space.start]), scale)
        case spaces.MultiDiscrete():
            return OneHotEncoder(space.nvec, width, space.start, scale)
        case spaces.MultiBinary():
            return OneHotEncoder(np.full(space.shape, 2), width, scale=scale)
        case spaces.Box():
            return LinearEncoder(int(np.prod(space.shape)), width)
        case spaces.Dict():
            return DictEncoder({key: make_encoder(part, width, scale) for key, part in space.spaces.items()})
    raise DescantError(
        f"No encoder for {type(space).__name__} observations: Discrete, MultiDiscrete, MultiBinary, Box and Dict "
        "have one."
    )


def to_tensor(observation: Any) -> Any:
    """Arrays (or a dict of them) as tensors that share their memory."""
    if isinstance(observation, dict):
        return {key: to_tensor(value) for key, value in observation.items()}
    return torch.as_tensor(np.asarray(observation))


def flatten_time(observation: Any) -> Any:
    """[T, N, ...] to [T * N, ...] in every part."""
    if isinstance(observation, dict):
        return {key: flatten_time(value) for key, value in observation.items()}
    return observation.reshape(-1, *observation.shape[2:])
