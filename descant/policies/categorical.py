"""Categorical distributions over masked logits, without `torch.distributions`."""

from __future__ import annotations

import torch
from torch import Tensor

MASKED = -1e9  # finite, so that gradients of what is masked are zero and not NaN


def masked_log_softmax(logits: Tensor, mask: Tensor | None = None) -> Tensor:
    """Log-probabilities float[..., A]; about -1e9 where `mask` (bool[..., A]) is False."""
    if mask is not None:
        logits = torch.where(mask, logits, MASKED)
    return torch.log_softmax(logits, dim=-1)


def sample(log_probs: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Actions int64[...] by the Gumbel-max trick. Never a masked one."""
    noise = torch.empty_like(log_probs).exponential_(generator=generator).log_()
    return (log_probs - noise).argmax(dim=-1)


def entropy(log_probs: Tensor) -> Tensor:
    """Entropy in nats, float[...]; masked actions add nothing."""
    return -(log_probs.exp() * log_probs).sum(dim=-1)


def chosen(log_probs: Tensor, actions: Tensor) -> Tensor:
    """Log-probability of the action taken, float[...]."""
    return log_probs.gather(-1, actions[..., None])[..., 0]
