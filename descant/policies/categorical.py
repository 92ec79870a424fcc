"""Categorical distributions over masked logits, without `torch.distributions`."""

from __future__ import annotations

import torch
from torch import Tensor

MASKED = -1e9  # finite, so that gradients of what is masked are zero and not NaN
MANY = 1024  # actions from which one number a row costs less to draw than one an action


def masked_log_softmax(logits: Tensor, mask: Tensor | None = None) -> Tensor:
    """Log-probabilities float[..., A]; about -1e9 where `mask` (bool[..., A]) is False."""
    if mask is not None:
        logits = torch.where(mask, logits, MASKED)
    return torch.log_softmax(logits, dim=-1)


def sample(log_probs: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Actions int64[...] by the Gumbel-max trick; of many, by the sum of probabilities. Never a masked one."""
    if log_probs.shape[-1] >= MANY:
        return _by_sum(log_probs, generator)
    noise = torch.empty_like(log_probs).exponential_(generator=generator).log_()
    return (log_probs - noise).argmax(dim=-1)


def _by_sum(log_probs: Tensor, generator: torch.Generator | None) -> Tensor:
    """The first action up to which the probabilities sum to more than a number drawn for each row."""
    sums = torch.softmax(log_probs, dim=-1).cumsum(dim=-1, dtype=torch.float64)
    drawn = torch.rand((*sums.shape[:-1], 1), generator=generator, dtype=torch.float64, device=sums.device)
    # A sum that does not grow is never the first above: what has no chance is not drawn.
    found = torch.searchsorted(sums, drawn * sums[..., -1:], right=True)[..., 0]
    return found.clamp(max=log_probs.shape[-1] - 1)


def probabilities(log_probs: Tensor) -> Tensor:
    """Their exponentials, float[..., A], 0 where masked: torch's `exp` takes ten times as long for what is so small."""
    return torch.softmax(log_probs, dim=-1)


def entropy(log_probs: Tensor) -> Tensor:
    """Entropy in nats, float[...]; masked actions add nothing."""
    return -(probabilities(log_probs) * log_probs).sum(dim=-1)


def chosen(log_probs: Tensor, actions: Tensor) -> Tensor:
    """Log-probability of the action taken, float[...]."""
    return log_probs.gather(-1, actions[..., None])[..., 0]


def logit_gradient(
    log_probs: Tensor,
    actions: Tensor,
    weights: Tensor,
    ent_coef: float = 0.0,
    kl_coef: float = 0.0,
    log_prior: Tensor | None = None,
) -> Tensor:
    """Gradient by the logits, float[B, A], of mean -w log pi(a) - ent_coef H + kl_coef KL(pi || p).

    In closed form, which takes a fifth of autograd's time: -w (1_a - pi) + pi (c - E c) over B, with the cost of an
    action c = (ent_coef + kl_coef) log pi - kl_coef log p. `weights` w float[B] are constants, `actions` int[B].
    """
    probs, weights = probabilities(log_probs), weights[:, None]
    if ent_coef or kl_coef:
        costs = (ent_coef + kl_coef) * log_probs
        if log_prior is not None:
            costs = costs - kl_coef * log_prior
        costs = costs - (probs * costs).sum(dim=-1, keepdim=True)
        gradient = probs * (weights + costs)
    else:
        gradient = probs * weights
    return gradient.scatter_add_(-1, actions[:, None], -weights).div_(len(actions))
