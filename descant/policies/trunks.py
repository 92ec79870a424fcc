"""Trunks: features to features, feed-forward or recurrent."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

State = tuple[Tensor, Tensor]  # float[*, N, *]: hidden and cell of an LSTM, past and length of a Transformer


class MLPTrunk(nn.Module):
    """Activation, then linear layers of the given widths with an activation after each."""

    recurrent = False

    def __init__(self, width: int, hidden: Sequence[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.ReLU()]
        for size in hidden:
            layers += [nn.Linear(width, size), nn.ReLU()]
            width = size
        self.layers = nn.Sequential(*layers)
        self.out_features = width

    @cached_property
    def _linears(self) -> list[tuple[Tensor, Tensor]]:
        """Weights and biases: to call a module costs more than a small layer."""
        return [(layer.weight, layer.bias) for layer in self.layers if isinstance(layer, nn.Linear)]

    def forward(self, features: Tensor) -> Tensor:
        """float[B, width] to float[B, out_features]."""
        out = torch.relu(features)
        for weight, bias in self._linears:
            out = nn.functional.linear(out, weight, bias).relu_()
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
        return torch.zeros(1, n, self.out_features), torch.zeros(1, n, self.out_features)

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
        begins = starts.t().clone()  # [N, T]: rows one after another, so that stretches are contiguous
        begins[:, 0] = True
        first = begins.reshape(-1).nonzero()[:, 0]
        lengths = torch.diff(first, append=first.new_tensor([steps * rows]))
        order = torch.argsort(lengths, descending=True, stable=True)
        first, lengths = first[order], lengths[order]
        # Packed: the first step of every stretch, then the second of those that have one, and so on.
        step = torch.arange(int(lengths[0]))
        places = (first + step[:, None])[step[:, None] < lengths]
        sizes = (step[:, None] < lengths).sum(1)
        row, time = places.div(steps, rounding_mode="floor"), places % steps
        carried = (first % steps == 0).to(features.dtype)[None, :, None]  # only what goes on has a state
        own = first.div(steps, rounding_mode="floor")
        packed = PackedSequence(features[time, row], sizes)
        out, ends = self.lstm(packed, (state[0][:, own] * carried, state[1][:, own] * carried))
        whole = torch.empty_like(out.data).view(steps, rows, -1).index_put((time, row), out.data)
        last = own.new_empty(rows)
        ending = (first + lengths) % steps == 0
        last[own[ending]] = ending.nonzero()[:, 0]
        return whole, (ends[0][:, last], ends[1][:, last])


def _cleared(state: State, starts: Tensor) -> State:
    keep = (~starts).to(state[0].dtype)[None, :, None]
    return state[0] * keep, state[1] * keep
