"""Trunks: features to features, feed-forward or recurrent."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

State = tuple[Tensor, Tensor]  # hidden and cell, float[1, N, width] each


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

    def forward(self, features: Tensor) -> Tensor:
        """float[B, width] to float[B, out_features]."""
        out: Tensor = self.layers(features)
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
        if not starts[1:].any():
            out, state = self.lstm(features, state)
            return out, state
        outputs = []
        for t in range(len(features)):
            state = _cleared(state, starts[t])
            out, state = self.lstm(features[t : t + 1], state)
            outputs.append(out)
        return torch.cat(outputs), state


def _cleared(state: State, starts: Tensor) -> State:
    keep = (~starts).float()[None, :, None]
    return state[0] * keep, state[1] * keep
