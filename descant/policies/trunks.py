"""Trunks: features to features, feed-forward or recurrent."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from descant.errors import DescantError, did_you_mean
from descant.policies.linear import linear

# By name: the module, and what it does, in place too.
ACTIVATIONS: dict[str, tuple[type[nn.Module], Any, Any]] = {
    "relu": (nn.ReLU, torch.relu, torch.relu_),
    "tanh": (nn.Tanh, torch.tanh, torch.tanh_),
}

State = tuple[Tensor, Tensor]  # float[*, N, *]: hidden and cell of an LSTM, past and length of a Transformer


def check_activation(name: str) -> None:
    """DescantError for an activation that is none."""
    if name not in ACTIVATIONS:
        known = " or ".join(ACTIVATIONS)
        raise DescantError(f"activation must be {known}, not {name!r}.{did_you_mean(name, ACTIVATIONS)}")


class MLPTrunk(nn.Module):
    """Activation, then linear layers of the given widths with an activation after each."""

    recurrent = False

    def __init__(self, width: int, hidden: Sequence[int], activation: str = "relu") -> None:
        super().__init__()
        self.activation = activation
        kind, self._activate, self.activate_in_place = ACTIVATIONS[activation]
        layers: list[nn.Module] = [kind()]
        for size in hidden:
            layers += [nn.Linear(width, size), kind()]
            width = size
        self.layers = nn.Sequential(*layers)
        self.out_features = width

    @cached_property
    def linears(self) -> list[tuple[Tensor, Tensor]]:
        """Weights and biases: to call a module costs more than a small layer."""
        return [(layer.weight, layer.bias) for layer in self.layers if isinstance(layer, nn.Linear)]

    def forward(self, features: Tensor) -> Tensor:
        """float[B, width] to float[B, out_features]."""
        out: Tensor = self._activate(features)
        for weight, bias in self.linears:
            out = self.activate_in_place(linear(out, weight, bias))
        return out


class LSTMTrunk(nn.Module):
    """One LSTM layer over time; the state of a row is cleared where an episode starts."""

    recurrent = True

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, hidden)
        self.out_features = hidden

    def initial_state(self, n: int) -> State:
        """Zeros for `n` rows."""
        device = self.lstm.get_parameter("weight_hh_l0").device
        hidden, cell = (torch.zeros(1, n, self.out_features, device=device) for _ in range(2))
        return hidden, cell

    def forward(self, features: Tensor, starts: Tensor, state: State | None) -> tuple[Tensor, State]:
        """float[T, N, width], bool[T, N] to float[T, N, out_features] and the state after the last step."""
        state = self.initial_state(features.shape[1]) if state is None else state
        state = _cleared(state, starts[0])
        if len(starts) == 1 or not starts[1:].any():
            out, state = self.lstm(features, state)
            return out, state
        return self._episodes(features, starts, state)

    def _episodes(self, features: Tensor, starts: Tensor, state: State) -> tuple[Tensor, State]:
        """The same where episodes begin on the way: each stretch without a beginning is a sequence of its own.

        One pass over all stretches side by side costs far less than stepping all rows, with the state cleared between.
        """
        steps, rows = starts.shape
        first, lengths, row = stretches(starts)
        # Packed: the first step of every stretch, then the second of those that have one, and so on.
        step = torch.arange(int(lengths[0]), device=first.device)[:, None]
        taken = step < lengths
        places = (first + step)[taken]
        packed = PackedSequence(_by_row(features)[places], taken.sum(1).cpu())  # sizes are never on a GPU
        out, ends = self.lstm(packed, _begun(state, first, row, steps))
        last = row.new_empty(rows)
        ending = (first + lengths) % steps == 0
        last[row[ending]] = ending.nonzero()[:, 0]
        return _unpacked(out.data, places, steps), (ends[0][:, last], ends[1][:, last])

    def outputs(self, features: Tensor, starts: Tensor, state: State | None) -> Tensor:
        """What `forward` gives without the state after it: to learn from, since a pack's gradients take T^2 time."""
        state = self.initial_state(features.shape[1]) if state is None else state
        state = _cleared(state, starts[0])
        steps = len(starts)
        if steps == 1 or not starts[1:].any():
            plain: Tensor = self.lstm(features, state)[0]
            return plain
        first, lengths, row = stretches(starts)
        hidden, cell = _begun(state, first, row, steps)
        seen, outs, places, begin = _by_row(features), [], [], 0
        # Filled up to the longest: those of more than half its length go together, so that little is for nothing.
        while begin < len(lengths):
            longest = int(lengths[begin])
            end = begin + int((lengths[begin:] > longest // 2).sum())
            step = torch.arange(longest, device=first.device)[:, None]
            taken = step < lengths[begin:end]
            place = first[begin:end] + step
            own = (hidden[:, begin:end].contiguous(), cell[:, begin:end].contiguous())
            outs.append(self.lstm(seen[place.where(taken, 0)], own)[0][taken])
            places.append(place[taken])
            begin = end
        return _unpacked(torch.cat(outs), torch.cat(places), steps)


def stretches(starts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where rows bool[T, N] are cut into stretches, the longest first: int[S] each of first step, length and row.

    A step counts as its row times T and its time.
    """
    steps, rows = starts.shape
    begins = starts.t().clone()
    begins[:, 0] = True
    first = begins.reshape(-1).nonzero()[:, 0]
    lengths = torch.diff(first, append=first.new_full((1,), steps * rows))
    order = torch.argsort(lengths, descending=True, stable=True)
    first = first[order]
    return first, lengths[order], first.div(steps, rounding_mode="floor")


def _begun(state: State, first: Tensor, row: Tensor, steps: int) -> State:
    """The state that stretches begin with: zero, but for those that go on from before."""
    carried = (first % steps == 0).to(state[0].dtype)[None, :, None]
    return state[0][:, row] * carried, state[1][:, row] * carried


def _by_row(features: Tensor) -> Tensor:
    """float[T, N, width] to float[N * T, width]."""
    return features.transpose(0, 1).reshape(-1, features.shape[-1])


def _unpacked(out: Tensor, places: Tensor, steps: int) -> Tensor:
    """float[T, N, width] from float[N * T, width], of which each row belongs to a place."""
    back = torch.empty_like(places)
    back[places] = torch.arange(len(places), device=places.device)
    return out[back].view(-1, steps, out.shape[-1]).transpose(0, 1)


def _cleared(state: State, starts: Tensor) -> State:
    keep = (~starts).to(state[0].dtype)[None, :, None]
    return state[0] * keep, state[1] * keep
