"""Networks of M models side by side: stacked weights, one batched product for all of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor, nn

from descant.errors import DescantError, did_you_mean
from descant.policies.encoders import make_encoder
from descant.policies.networks import make_memory

TRUNKS = ("mlp", "lstm", "transformer")


@dataclass(frozen=True)
class Items:
    """N sequences, padded: `columns` [N, T, C] of each step, int64 or float, and `lengths` int64[N], 1 or more."""

    columns: Tensor
    lengths: Tensor

    def __len__(self) -> int:
        return len(self.lengths)

    def take(self, rows: Tensor) -> Items:
        """The chosen sequences, padded to the longest of them."""
        lengths = self.lengths[rows]
        return Items(self.columns[rows, : int(lengths.max()) if len(rows) else 0], lengths)

    @property
    def newest(self) -> Items:
        """The last step of each, as a sequence of one."""
        rows = torch.arange(len(self))
        return Items(self.columns[rows, self.lengths - 1][:, None], torch.ones_like(self.lengths))

    @cached_property
    def even(self) -> bool:
        """Whether all are as long as the columns."""
        return bool((self.lengths == self.columns.shape[1]).all())

    @property
    def valid(self) -> Tensor:
        """Which steps are there: bool[N, T]."""
        return torch.arange(self.columns.shape[1]) < self.lengths[:, None]


class StackedMLP(nn.Module):
    """M networks of linear layers with ReLU between them: float[M, ..., in] to float[M, ..., out]."""

    def __init__(self, models: int, sizes: Sequence[int]) -> None:
        super().__init__()
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for before, after in itertools.pairwise(sizes):
            bound = 1 / math.sqrt(before)  # as nn.Linear's
            self.weights.append(nn.Parameter(torch.empty(models, before, after).uniform_(-bound, bound)))
            self.biases.append(nn.Parameter(torch.empty(models, 1, after).uniform_(-bound, bound)))

    def forward(self, x: Tensor) -> Tensor:
        """float[M, ..., out]; x is [M, ..., in]. One size makes no layer."""
        if not self.weights:
            return x
        out = x.flatten(1, -2)
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            out = torch.baddbmm(bias, out.relu() if layer else out, weight)
        return out.view(*x.shape[:-1], -1)


class StackedLSTM(nn.Module):
    """M of the policies' LSTM trunks, each weight of which has an axis more: float[M, T, N, width] through all."""

    def __init__(self, models: int, width: int, hidden: int) -> None:
        super().__init__()
        trunks = [make_memory("lstm", (width, hidden)) for _ in range(models)]
        self.stack = _stack(trunks)

    def forward(self, x: Tensor) -> Tensor:
        """float[M, T, N, hidden]; all rows begin at the first step."""
        w_x, w_h, b_x, b_h = (self.stack[f"lstm_{name}"] for name in _LSTM)
        models, steps, rows, _ = x.shape
        fed = torch.baddbmm((b_x + b_h)[:, None], x.flatten(1, 2), w_x.transpose(1, 2)).view(
            models, steps, rows, -1
        )
        hidden = cell = x.new_zeros(models, rows, w_h.shape[-1])
        back, outs = w_h.transpose(1, 2), []
        for gates in fed.unbind(1):
            i, f, g, o = torch.baddbmm(gates, hidden, back).chunk(4, -1)
            cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
            hidden = o.sigmoid() * cell.tanh()
            outs.append(hidden)
        return torch.stack(outs, 1)


_LSTM = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")


class StackedTransformer(nn.Module):
    """M of the policies' causal Transformer trunks, run by one `vmap` over their weights."""

    def __init__(self, models: int, hidden: Sequence[int]) -> None:
        super().__init__()
        trunks = [make_memory("transformer", hidden) for _ in range(models)]
        self.stack = _stack(trunks)
        self._names = [name for name, _ in trunks[0].named_parameters()]
        self._shape = [trunks[0]]  # in a list, so that its own weights are no part of this module

    def forward(self, x: Tensor) -> Tensor:
        """float[M, T, N, width]; all rows begin at the first step."""
        starts = torch.zeros(x.shape[1:3], dtype=torch.bool)
        starts[0] = True

        def run(weights: dict[str, Tensor], own: Tensor) -> Tensor:
            out: Tensor = torch.func.functional_call(self._shape[0], weights, (own, starts, None))[0]
            return out

        weights = {name: self.stack[name.replace(".", "_")] for name in self._names}
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):  # the one that vmap knows
            out: Tensor = torch.func.vmap(run)(weights, x)
        return out


def _stack(modules: Sequence[nn.Module]) -> nn.ParameterDict:
    """The weights of equal modules by name, each with a leading axis M."""
    named = [dict(module.named_parameters()) for module in modules]
    return nn.ParameterDict(
        {name.replace(".", "_"): torch.stack([own[name].detach() for own in named]) for name in named[0]}
    )


class Ensemble(nn.Module):
    """M models of sequences in one forward: the policies' encoder and trunk, and a linear readout.

    Args:
        space: of the columns of one step.
        models: M.
        outputs: numbers that each model gives of a sequence.
        hidden: widths as a policy's: the encoder's, then the trunk's; () is linear in the encoded steps.
        trunk: mlp sees one step at a time, lstm and transformer all before it too.
        per_step: outputs are sums over steps, each of what was seen until then; else of the mean over steps through
            one more layer.
    """

    def __init__(
        self,
        space: spaces.Space[Any],
        models: int = 1,
        outputs: int = 1,
        hidden: Sequence[int] = (64, 64),
        trunk: str = "mlp",
        per_step: bool = False,
    ) -> None:
        super().__init__()
        if trunk not in TRUNKS:
            raise DescantError(f"trunk must be one of {', '.join(TRUNKS)}.{did_you_mean(trunk, TRUNKS)}")
        if not hidden and trunk != "mlp":
            raise DescantError(f"A {trunk} needs hidden widths, such as 64 64.")
        self.models, self.outputs, self.per_step, self.linear = models, outputs, per_step, not hidden
        # An encoder's features do not depend on each other: one of M times the width is M encoders.
        self.encoder = make_encoder(space, models * (hidden[0] if hidden else outputs))
        if self.linear:
            return
        self.mlp = trunk == "mlp"
        self.trunk: nn.Module
        if self.mlp:
            self.trunk = StackedMLP(models, hidden)
        elif trunk == "lstm":
            self.trunk = StackedLSTM(models, hidden[0], hidden[-1])
        else:
            self.trunk = StackedTransformer(models, hidden)
        self.head = StackedMLP(
            models, (hidden[-1], outputs) if per_step else (hidden[-1], hidden[-1], outputs)
        )

    def forward(self, items: Items) -> Tensor:
        """float[M, N, outputs]."""
        if self.per_step or self.linear:
            return _summed(self.steps(items), items)
        features = _summed(self._features(items), items) / items.lengths[:, None]
        out: Tensor = self.head(features.relu())
        return out

    def steps(self, items: Items) -> Tensor:
        """Outputs of the steps that are there, row after row, float[M, steps, outputs]: they sum to `forward`.

        DescantError for models that have none.
        """
        if self.linear:
            return self._encoded(items)
        if not self.per_step:
            raise DescantError("This reward model scores whole episodes: fit one with per_step.")
        out: Tensor = self.head(self._features(items).relu())
        return out

    def _encoded(self, items: Items) -> Tensor:
        """Encoded steps that are there: float[M, steps, width]."""
        columns = items.columns
        encoded: Tensor = self.encoder(columns.flatten(0, 1) if items.even else columns[items.valid])
        return encoded.view(len(encoded), self.models, -1).transpose(0, 1)

    def _features(self, items: Items) -> Tensor:
        """What the trunk makes of them: float[M, steps, width]."""
        encoded = self._encoded(items)
        if self.mlp:
            out: Tensor = self.trunk(encoded.relu())
            return out
        padded = encoded.new_zeros(self.models, *items.columns.shape[:2], encoded.shape[-1])
        padded[:, items.valid] = encoded
        remembered: Tensor = self.trunk(padded.transpose(1, 2))
        return remembered.transpose(1, 2)[:, items.valid]


def _summed(steps: Tensor, items: Items) -> Tensor:
    """Sums over the steps of each row: float[M, N, width] from float[M, steps, width]."""
    if items.even:
        return steps.view(len(steps), len(items), -1, steps.shape[-1]).sum(2)
    rows = torch.repeat_interleave(torch.arange(len(items)), items.lengths)
    return steps.new_zeros(len(steps), len(items), steps.shape[-1]).index_add_(1, rows, steps)
