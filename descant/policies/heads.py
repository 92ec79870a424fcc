"""Heads: features to logits, values or action values."""

from __future__ import annotations

from torch import nn

GAINS = {"policy": 0.01, "value": 1.0, "q": 1.0}


def make_head(kind: str, in_features: int, out_features: int) -> nn.Linear:
    """A linear head, orthogonal at the start; a policy's is small, so that it begins near uniform."""
    head = nn.Linear(in_features, out_features)
    nn.init.orthogonal_(head.weight, gain=GAINS[kind])
    nn.init.zeros_(head.bias)
    return head
