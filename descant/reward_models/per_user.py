"""A linear head for each annotator on features that all share: the simple way to many tastes, and a strong one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn import functional

from descant.errors import DescantError
from descant.reward_models.comparisons import Comparisons
from descant.reward_models.likelihoods import TIE, A, log_likelihood, log_probabilities
from descant.reward_models.models import Config, RewardModel
from descant.reward_models.stacked import Ensemble, Items


@dataclass(frozen=True)
class PerUserConfig(Config):
    """As of the other kinds, and: dimensions of the features; pull, the weight of a head's squared distance from the
    head of all."""

    dimensions: int = 8
    pull: float = 0.01
    centring: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dimensions < 1 or not self.pull >= 0:
            raise DescantError("dimensions must be 1 or more, pull 0 or more.")


class PerUser(RewardModel):
    """r_u(s) = e(s) . (w + w_u): w is everybody's, w_u what annotator u adds."""

    kind = "per-user"

    def __init__(self, space: spaces.Space[object], config: PerUserConfig, named: Sequence[str] = ()) -> None:
        super().__init__(config, named)
        c = config
        self.features = Ensemble(space, c.models, c.dimensions, c.hidden, c.trunk)
        self.common = nn.Parameter(torch.randn(c.models, c.dimensions) / c.dimensions**0.5)
        self.own = nn.Parameter(torch.randn(c.models, len(self.named), c.dimensions) / c.dimensions**0.5)
        self.width = nn.Parameter(torch.zeros(c.models))

    def losses(self, batch: Comparisons, rng: torch.Generator, progress: float) -> Tensor:
        """Negative log-likelihood and the pull towards the head of all: float[M, K]."""
        c = self.config
        told = log_likelihood(self._gap(batch), batch.answers, c.ties, self.width[:, None], c.noise, c.margin)
        losses: Tensor = c.pull * self.own[:, batch.annotators].square().sum(-1) - told
        return losses

    def log_odds(self, batch: Comparisons) -> Tensor:
        """By each annotator's own head: float[M, K]."""
        log_p = log_probabilities(self._gap(batch), self.config.ties, self.width[:, None])
        odds: Tensor = log_p[..., 0] - log_p[..., 1]
        return odds

    def raw(self, items: Items, annotator: str | None = None) -> Tensor:
        """By the annotator's head, or the mean of all: float[M, N]."""
        own = self.own.mean(1) if annotator is None else self.own[:, self.annotator(annotator)]
        return self.with_head(items, self.common + own)

    def codes_of_annotators(self) -> Tensor:
        """What each annotator adds to the head of all: float[annotators, M * D]."""
        return self.own.detach().transpose(0, 1).flatten(1)

    def read_code(self, context: Comparisons) -> Tensor:
        """What `head` finds for somebody new, less the head of all: float[M * D]."""
        return (self.head(context) - self.common.detach()).flatten()

    def raw_by_code(self, items: Items, codes: Tensor, place: Tensor) -> Tensor:
        """float[M, N], for what is added to the head of all, float[K, M * D], at place int64[N]."""
        heads = self.common[:, None] + self._by_model(codes)[:, place]
        scores: Tensor = (self.features(items) * heads).sum(-1)
        return scores

    def with_head(self, items: Items, head: Tensor) -> Tensor:
        """By a head float[M, D]: float[M, N]."""
        scores: Tensor = (self.features(items) * head[:, None]).sum(-1)
        return scores

    def head(self, context: Comparisons, steps: int = 200) -> Tensor:
        """The head of somebody new, float[M, D], from a few comparisons: the features stay, the pull is the same."""
        with torch.no_grad():
            rows, place = torch.unique(context.pairs, return_inverse=True)
            features = self.features(context.items.take(rows))
            gaps = features[:, place[:, 0]] - features[:, place[:, 1]]
        sign = torch.where(context.answers == A, 1.0, -1.0) * (context.answers != TIE)
        own = torch.zeros_like(self.common, requires_grad=True)
        optimizer = torch.optim.LBFGS([own], max_iter=steps, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimizer.zero_grad()
            gap = (gaps * (self.common.detach() + own)[:, None]).sum(-1)
            told = (
                -functional.logsigmoid(sign * gap).sum() + len(sign) * self.config.pull * own.square().sum()
            )
            told.backward()
            found: Tensor = told
            return found

        optimizer.step(loss)  # type: ignore[no-untyped-call]
        return self.common.detach() + own.detach()

    def _gap(self, batch: Comparisons) -> Tensor:
        """Each comparison's gap by its annotator's head: float[M, K]."""
        rows, place = torch.unique(batch.pairs, return_inverse=True)
        features = self.features(batch.items.take(rows))
        heads = self.common[:, None] + self.own[:, batch.annotators]
        gap: Tensor = ((features[:, place[:, 0]] - features[:, place[:, 1]]) * heads).sum(-1)
        return gap
