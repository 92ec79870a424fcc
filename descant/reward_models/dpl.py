"""Distributional preference learning: a distribution of scores for each item, so that disagreement shows as spread.

A. Siththaranjan, C. Laidlaw, D. Hadfield-Menell, *Distributional preference learning: understanding and accounting for
hidden context in RLHF*, 2023. P(a) is the probability that a draw from a's distribution exceeds one from b's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from gymnasium import spaces
from torch import Tensor
from torch.nn import functional

from descant.errors import DescantError
from descant.reward_models.comparisons import Comparisons
from descant.reward_models.likelihoods import TIE, A
from descant.reward_models.models import Config, RewardModel
from descant.reward_models.stacked import Ensemble, Items

LEAST = 1e-6  # of a deviation, and of a probability


@dataclass(frozen=True)
class DPLConfig(Config):
    """As of the other kinds, and: mean-variance (normal) or categorical (over `atoms` places from 0 to 1)."""

    family: Literal["mean-variance", "categorical"] = "mean-variance"
    atoms: int = 10
    centring: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.family not in ("mean-variance", "categorical"):
            raise DescantError(f"family must be mean-variance or categorical, not {self.family!r}.")
        if self.atoms < 2:
            raise DescantError(f"atoms must be 2 or more, not {self.atoms}.")


def normal_preference(gap: Tensor, variance: Tensor) -> Tensor:
    """log P(a) of normal scores whose means differ by `gap` and whose variances sum to `variance`."""
    found: Tensor = torch.special.log_ndtr(gap / variance.sqrt())
    return found


def categorical_preference(first: Tensor, second: Tensor) -> Tensor:
    """log P(a) from log-probabilities float[..., K] of K places in order; equal places count half."""
    p, q = first.exp(), second.exp()
    below = q.cumsum(-1) - 0.5 * q
    return (p * below).sum(-1).clamp(LEAST, 1 - LEAST).log()


class DPL(RewardModel):
    """The same distribution for all annotators; its mean is the score, its spread tells where they disagree."""

    kind = "dpl"

    def __init__(self, space: spaces.Space[object], config: DPLConfig, named: Sequence[str] = ()) -> None:
        super().__init__(config)
        outputs = 2 if config.family == "mean-variance" else config.atoms
        self.ensemble = Ensemble(space, config.models, outputs, config.hidden, config.trunk)

    def losses(self, batch: Comparisons, rng: torch.Generator, progress: float) -> Tensor:
        """Negative log-likelihood, a tie as half an answer each way: float[M, K]."""
        a, b = self._log_p(batch)
        chosen = torch.where(batch.answers == A, a, b)
        return -torch.where(batch.answers == TIE, (a + b) / 2, chosen)

    def log_odds(self, batch: Comparisons) -> Tensor:
        """float[M, K]."""
        a, b = self._log_p(batch)
        return a - b

    def raw(self, items: Items, annotator: str | None = None) -> Tensor:
        """Means, float[M, N]."""
        if annotator is not None:
            self.annotator(annotator)
        return self.moments(items)[0]

    def moments(self, items: Items) -> tuple[Tensor, Tensor]:
        """Mean and variance of the scores of items, float[M, N] each."""
        out = self.ensemble(items)
        if self.config.family == "mean-variance":
            return out[..., 0], functional.softplus(out[..., 1]).square() + LEAST
        p, places = out.softmax(-1), torch.linspace(0, 1, self.config.atoms)
        mean = p @ places
        return mean, p @ places.square() - mean.square()

    def _log_p(self, batch: Comparisons) -> tuple[Tensor, Tensor]:
        """log P(a) and log P(b), float[M, K] each."""
        rows, place = torch.unique(batch.pairs, return_inverse=True)
        items, sides = batch.items.take(rows), (place[:, 0], place[:, 1])
        if self.config.family == "mean-variance":
            mean, variance = self.moments(items)
            gap, total = mean[:, sides[0]] - mean[:, sides[1]], variance[:, sides[0]] + variance[:, sides[1]]
            return normal_preference(gap, total), normal_preference(-gap, total)
        log_p = self.ensemble(items).log_softmax(-1)
        first, second = log_p[:, sides[0]], log_p[:, sides[1]]
        return categorical_preference(first, second), categorical_preference(second, first)
