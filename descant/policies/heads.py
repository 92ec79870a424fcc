"""Heads: features to logits, values or action values."""

from __future__ import annotations

from torch import Tensor, nn

GAINS = {"policy": 0.01, "value": 1.0, "q": 1.0}


def make_head(kind: str, in_features: int, out_features: int) -> nn.Linear:
    """A linear head, orthogonal at the start; a policy's is small, so that it begins near uniform."""
    head = nn.Linear(in_features, out_features)
    nn.init.orthogonal_(head.weight, gain=GAINS[kind])
    nn.init.zeros_(head.bias)
    return head


class DuelingHead(nn.Module):
    """Action values as a state's value and the actions' advantages over their mean (Wang et al. 2016, eq. 9).

    Each has a hidden layer as wide as the features. Input float[..., width], output float[..., actions].
    """

    def __init__(self, in_features: int, actions: int) -> None:
        super().__init__()

        def stream(kind: str, width: int) -> nn.Sequential:
            hidden = nn.Linear(in_features, in_features)
            return nn.Sequential(hidden, nn.ReLU(), make_head(kind, in_features, width))

        self.value, self.advantage = stream("value", 1), stream("q", actions)

    def forward(self, features: Tensor) -> Tensor:
        """float[..., actions]."""
        advantage = self.advantage(features)
        values: Tensor = self.value(features) + advantage - advantage.mean(dim=-1, keepdim=True)
        return values
