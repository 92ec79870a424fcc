"""A network: an encoder chosen by the observation space, a trunk, and one head or more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor, nn

from descant.devices import moved
from descant.errors import DescantError, did_you_mean
from descant.policies.encoders import Scale, flatten_time, make_encoder
from descant.policies.heads import make_head
from descant.policies.linear import linear
from descant.policies.transformers import TransformerTrunk
from descant.policies.trunks import LSTMTrunk, MLPTrunk, State, check_activation


class Network(nn.Module):
    """Encoder, trunk, heads.

    Args:
        space: of one observation.
        heads: width by kind: {"policy": A}, {"value": 1}, {"q": A}, or several that share the trunk.
        hidden: widths; the first is the encoder's. An LSTM has one layer of the last width, a Transformer one for each
            width after the first.
        recurrent: whether the trunk remembers.
        trunk: what remembers, lstm or transformer.
        activation: relu or tanh, between layers; a trunk that remembers has its own.
        scale: how large the weights of one-hot columns begin, `unit` or `linear` (`descant.policies.encoders.Scale`).
    """

    autocast = False  # whether features are worked out in bfloat16
    cached = False  # whether the state only saves time, since observations tell all

    def __init__(
        self,
        space: spaces.Space[Any],
        heads: Mapping[str, int],
        hidden: Sequence[int] = (256, 256),
        recurrent: bool = False,
        trunk: str = "lstm",
        activation: str = "relu",
        scale: Scale = "unit",
    ) -> None:
        super().__init__()
        check_activation(activation)
        if trunk != "lstm" and not recurrent:
            raise DescantError(f"The trunk {trunk!r} is for networks with memory: set recurrent too.")
        self.encoder = make_encoder(space, hidden[0], scale)
        feed_forward = (hidden[0], hidden[1:], activation)
        self.trunk = make_memory(trunk, hidden) if recurrent else MLPTrunk(*feed_forward)
        self.heads = nn.ModuleDict(
            {kind: make_head(kind, self.trunk.out_features, width) for kind, width in heads.items()}
        )

    @property
    def recurrent(self) -> bool:
        """Whether it carries a state from step to step."""
        return self.trunk.recurrent

    @cached_property
    def weights(self) -> list[nn.Parameter]:
        """All parameters, found once: to walk the modules at every update costs as much as a layer."""
        return list(self.parameters())

    @property
    def device(self) -> torch.device:
        """Where it is. What it is given may be on the processor; what it gives is here, but for that of `step`."""
        return self.weights[0].device

    def here(self, tree: Any) -> Any:
        """Tensors, alone or in dicts and tuples, where the network is."""
        return moved(tree, self.device)

    def forward(self, observation: Any) -> dict[str, Tensor]:
        """Heads of a batch of observations [B, ...]: float[B, width] each. Only without recurrence."""
        assert isinstance(self.trunk, MLPTrunk)
        return self._headed(self.trunk.forward(self.encoder.forward(self.here(observation))))

    def _headed(self, features: Tensor) -> dict[str, Tensor]:
        """Heads of features [..., width]; not as modules, since to call one costs more than a small layer."""
        return {
            kind: linear(features, head.weight, head.bias) if isinstance(head, nn.Linear) else head(features)
            for kind, head in self.heads.items()
        }

    def sequence(
        self, observation: Any, starts: Tensor, state: State | None = None
    ) -> tuple[dict[str, Tensor], State | None]:
        """Heads of sequences [T, N, ...], float[T, N, width] each, and the state after them.

        `starts` bool[T, N] says where an episode begins; a network without recurrence ignores it and `state`.
        """
        steps, rows = starts.shape
        if isinstance(self.trunk, MLPTrunk):
            heads = self.forward(flatten_time(observation))
            return {kind: value.view(steps, rows, -1) for kind, value in heads.items()}, state
        features = self.encoder(flatten_time(self.here(observation)))
        out, state = self.trunk(features.view(steps, rows, -1), *self.here((starts, state)))
        return self._headed(out), state

    def outputs(self, observation: Any, starts: Tensor, state: State | None = None) -> dict[str, Tensor]:
        """The heads that `sequence` gives, without the state: an LSTM learns faster so."""
        if not isinstance(self.trunk, LSTMTrunk):
            return self.sequence(observation, starts, state)[0]
        features = self.encoder(flatten_time(self.here(observation))).view(*starts.shape, -1)
        return self._headed(self.trunk.outputs(features, *self.here((starts, state))))

    def valid_outputs(
        self, observation: Any, starts: Tensor, valid: Tensor, state: State | None = None
    ) -> dict[str, Tensor]:
        """Heads of the steps of sequences where `valid` bool[T, N], float[K, width] each."""
        whole = self.outputs(observation, starts, state)
        chosen = self.here(valid)
        return {kind: head[chosen] for kind, head in whole.items()}

    def step(
        self, observation: Any, starts: Tensor, state: State | None
    ) -> tuple[dict[str, Tensor], State | None]:
        """Heads of one step [N, ...], float[N, width] each, on the processor, and the state after it."""
        if not self.recurrent:
            return {kind: value.cpu() for kind, value in self(observation).items()}, None
        with_time = _unsqueeze(observation)
        heads, state = self.sequence(with_time, starts[None], state)
        return {kind: value[0].cpu() for kind, value in heads.items()}, state


def make_memory(kind: str, hidden: Sequence[int]) -> LSTMTrunk | TransformerTrunk:
    """A trunk that remembers, by name, for features of the first width; DescantError for a name that is none."""
    match kind:
        case "lstm":
            return LSTMTrunk(hidden[0], hidden[-1])
        case "transformer":
            return TransformerTrunk(hidden[0], hidden[1:])
    raise DescantError(f"Unknown trunk {kind!r}.{did_you_mean(kind, ('lstm', 'transformer'))}")


def _unsqueeze(observation: Any) -> Any:
    if isinstance(observation, dict):
        return {key: _unsqueeze(value) for key, value in observation.items()}
    return torch.as_tensor(observation)[None]
