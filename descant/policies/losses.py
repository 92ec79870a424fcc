"""Cross-entropy of a last layer with very many outputs, without keeping what it puts out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from descant.policies.categorical import MASKED

ROWS = 128  # rows whose logits are worked on at once, few enough for the processor's cache


def output_loss(
    features: Tensor,
    weight: Tensor,
    bias: Tensor,
    actions: Tensor,
    smoothing: float = 0.0,
    hidden: tuple[Tensor, int] | None = None,
) -> Tensor:
    """Mean cross-entropy, a scalar, of softmax(features weight^T + bias) to the actions shown, int64[B].

    Of the target, `smoothing` goes to all allowed outputs alike (Szegedy et al. 2016): those whose bias is not about
    -1e9, and in rows where `hidden`'s bool[B] is set not its output. features float[B, k] and weight float[A, k] are
    multiplied in the features' type. Gradients, softmax - target times what they meet, are worked out on the way, a few
    rows at a time: the logits of a batch, float[B, A], would go through memory a dozen times.
    """
    rows, output = hidden if hidden is not None else (torch.zeros_like(actions, dtype=torch.bool), 0)
    out: Tensor = _OutputLoss.apply(features, weight, bias, actions, smoothing, rows, output)  # type: ignore[no-untyped-call]
    return out


class _OutputLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        weight: Tensor,
        bias: Tensor,
        actions: Tensor,
        smoothing: float,
        rows: Tensor,
        output: int,
    ) -> Tensor:
        cast = weight.to(features.dtype)
        forbidden = (bias <= MASKED / 2).nonzero()[:, 0]
        allowed = bias.numel() - len(forbidden)
        total = bias.new_zeros(())
        back, on_weight, on_bias = (
            torch.empty_like(features),
            torch.zeros_like(weight),
            torch.zeros_like(bias),
        )
        for first in range(0, len(actions), ROWS):
            part = slice(first, first + ROWS)
            some, taken, hidden = features[part], actions[part, None], rows[part]
            logits = (some @ cast.t()).float().add_(bias)
            logits[hidden, output] = MASKED
            norm = logits.logsumexp(dim=1, keepdim=True)
            log_probs = logits.sub_(norm)
            loss = -(1 - smoothing) * log_probs.gather(1, taken)
            share = smoothing / (allowed - hidden.float()[:, None])
            if smoothing:
                loss -= share * torch.where(log_probs > MASKED / 2, log_probs, 0.0).sum(dim=1, keepdim=True)
            total += loss.sum()
            gradient = log_probs.exp_().sub_(share)
            gradient[:, forbidden] = 0.0
            gradient[hidden, output] = 0.0
            gradient.scatter_add_(1, taken, torch.full_like(loss, smoothing - 1))
            on_bias += gradient.sum(dim=0)
            short = gradient.to(features.dtype)
            back[part] = short @ cast
            on_weight += (short.t() @ some).float()
        n = max(len(actions), 1)
        ctx.save_for_backward(back, on_weight, on_bias)
        ctx.n = n
        return total / n

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        back, on_weight, on_bias = (x * (gradient / ctx.n).to(x.dtype) for x in ctx.saved_tensors)
        return back, on_weight, on_bias, None, None, None, None
