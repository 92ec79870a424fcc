"""What a gap between two scores says of an answer, in logit space: Bradley-Terry-Luce, with ties, noise and a margin.

A gap is score(a) - score(b). Answers are 0 (a), 1 (b), 2 (tie).
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

from descant.errors import DescantError, did_you_mean

A, B, TIE = 0, 1, 2
Ties = Literal["davidson", "rao-kupper", "half"]


def check_ties(ties: str) -> None:
    """DescantError for a way with ties that there isn't."""
    if ties not in get_args(Ties):
        raise DescantError(
            f"ties must be one of {', '.join(get_args(Ties))}.{did_you_mean(ties, get_args(Ties))}"
        )


def log_likelihood(
    gap: Tensor,
    answer: Tensor,
    ties: str = "half",
    width: Tensor | float = 0.0,
    noise: float = 0.0,
    margin: float = 0.0,
) -> Tensor:
    """Log-probability of answers int[...] given gaps float[...], of the gaps' shape.

    - ties "half": Bradley-Terry-Luce (1952, 1959), P(a) = sigmoid(gap); a tie counts as half an answer each way.
    - "davidson" (1970): P(a) : P(b) : P(tie) = e^(gap/2) : e^(-gap/2) : e^width.
    - "rao-kupper" (1967): P(a) = sigmoid(gap - t), P(b) = sigmoid(-gap - t), tie what is left; t = softplus(width).
    `noise` is the share of answers drawn evenly from all possible ones (Christiano et al. 2017 have 0.1). `margin` is
    taken from the winner's gap (Touvron et al. 2023): it must win by so much to be as likely.
    """
    log_p = log_probabilities(gap - margin * (answer == A) + margin * (answer == B), ties, width)
    if noise:
        even = math.log(noise / log_p.shape[-1])
        log_p = torch.logaddexp(log_p + math.log1p(-noise), torch.full_like(log_p, even))
    if ties == "half":
        halves = log_p.mean(-1)
        chosen = log_p.gather(-1, answer.clamp(max=B).expand(gap.shape)[..., None])[..., 0]
        return torch.where(answer == TIE, halves, chosen)
    return log_p.gather(-1, answer.expand(gap.shape)[..., None])[..., 0]


def log_probabilities(gap: Tensor, ties: str = "half", width: Tensor | float = 0.0) -> Tensor:
    """Log-probabilities of the answers, float[..., 2] with ties "half" and float[..., 3] else."""
    if ties == "half":
        return torch.stack([functional.logsigmoid(gap), functional.logsigmoid(-gap)], -1)
    width = torch.as_tensor(width, dtype=gap.dtype)
    if ties == "davidson":
        return torch.stack([gap / 2, -gap / 2, width.expand(gap.shape)], -1).log_softmax(-1)
    threshold = functional.softplus(width)
    a, b = functional.logsigmoid(gap - threshold), functional.logsigmoid(-gap - threshold)
    return torch.stack([a, b, torch.log(torch.expm1(2 * threshold)) + a + b], -1)


def centring(first: Tensor, second: Tensor) -> Tensor:
    """Mean of (score(a) + score(b))^2 over the last axis (Eisenstein et al. 2023): holds scores near 0."""
    return (first + second).square().mean(-1)
