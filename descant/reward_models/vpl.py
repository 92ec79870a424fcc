"""Variational preference learning: a code z of an annotator, read off a few comparisons, and a reward r(s, z).

S. Poddar, Y. Wan, H. Ivison, A. Gupta, N. Jaques, *Personalizing reinforcement learning from human feedback with
variational preference learning*, 2024. What differs: the encoder takes sets of any size, and is odd under the swap of
all labels by construction; the decoder is linear in z; predicted are more comparisons than the context.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from descant.errors import DescantError
from descant.preferences.pairs import information
from descant.reward_models.comparisons import Comparisons
from descant.reward_models.likelihoods import TIE, A, log_likelihood, log_probabilities
from descant.reward_models.models import Config, RewardModel
from descant.reward_models.stacked import Ensemble, Items, StackedMLP
from descant.tasks import Floats, Ints

ACTIVE = (
    0.01  # variance of a unit's posterior mean over annotators, from which it is active (Burda et al. 2016)
)


@dataclass(frozen=True)
class VPLConfig(Config):
    """As of the other kinds, and: dimensions of z; most comparisons of a context; beta, the weight of the KL, reached
    in a line over the first `warmup` of the fit; flips: largest share of a context's labels that is turned around in
    training, drawn for each context from 0; chunk: comparisons of one annotator that are predicted together."""

    models: int = 1
    dimensions: int = 8
    context: int = 32
    beta: float = 0.1
    warmup: float = 0.5
    flips: float = 0.0
    chunk: int = 48
    width: int = 64
    batch_size: int = 32
    centring: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.dimensions, self.context, self.chunk, self.width) < 1:
            raise DescantError("dimensions, context, chunk and width must be 1 or more.")
        if not (self.beta >= 0 and 0 <= self.warmup <= 1 and 0 <= self.flips <= 1):
            raise DescantError("beta must be 0 or more, warmup and flips shares, 0 to 1.")


@dataclass(frozen=True)
class Posterior:
    """q(z | context), normal: mean and log-variance float[M, B, D]."""

    mean: Tensor
    log_variance: Tensor

    def kl(self) -> Tensor:
        """KL to the standard normal in nats, float[M, B, D]."""
        return 0.5 * (self.mean.square() + self.log_variance.exp() - self.log_variance - 1)

    def draw(self, rng: torch.Generator) -> Tensor:
        """One z of each: float[M, B, D]."""
        noise = torch.randn(self.mean.shape, generator=rng, dtype=self.mean.dtype)
        return self.mean + noise * (0.5 * self.log_variance).exp()


class SetEncoder(nn.Module):
    """A person's comparisons to q(z), for sets of any size: order is nothing, swapping all labels negates the mean.

    A comparison is phi(winner, loser) - phi(loser, winner), which a swap negates; sums of them go through
    (f(x) - f(-x)) / 2 for the mean and (g(x) + g(-x)) / 2 for the log-variance.
    """

    def __init__(self, models: int, features: int, width: int, dimensions: int) -> None:
        super().__init__()
        self.phi = StackedMLP(models, (2 * features, width, width))
        self.mean = StackedMLP(models, (width + 1, width, width, dimensions))
        self.log_variance = StackedMLP(models, (width + 1, width, dimensions))

    def forward(self, winner: Tensor, loser: Tensor, weight: Tensor, sets: Tensor) -> Posterior:
        """Features float[M, K, F] of both sides; weight float[K]: 1 in a context, 0 else; sets int64[K], 0 to B - 1."""
        parts = self.phi(torch.cat([winner, loser], -1)) - self.phi(torch.cat([loser, winner], -1))
        size = int(sets.max()) + 1
        total = parts.new_zeros(len(parts), size, parts.shape[-1]).index_add(1, sets, parts * weight[:, None])
        count = weight.new_zeros(size).index_add(0, sets, weight).log1p().expand(len(total), -1)[..., None]
        one, other = (torch.cat([x, count], -1) for x in (total, -total))
        mean = (self.mean(one) - self.mean(other)) / 2
        return Posterior(mean, ((self.log_variance(one) + self.log_variance(other)) / 2).clamp(-8, 4))


class VPL(RewardModel):
    """A reward for each annotator: r(s, z) = e(s) . (z + taste all have in common), z ~ q(z | their comparisons)."""

    kind = "vpl"

    def __init__(self, space: spaces.Space[Any], config: VPLConfig, named: Sequence[str] = ()) -> None:
        super().__init__(config, named)
        c = config
        self.features = Ensemble(space, c.models, c.width, c.hidden, c.trunk)
        self.encoder = SetEncoder(c.models, c.width, c.width, c.dimensions)
        self.decoder = StackedMLP(c.models, (c.width, c.width, c.dimensions))
        self.tie_width = nn.Parameter(torch.zeros(c.models))
        self.register_buffer("codes", torch.zeros(c.models, len(self.named), c.dimensions))

    codes: Tensor  # float[M, annotators, D]: z of those it was fitted to

    def batches(self, data: Comparisons, rng: torch.Generator) -> Iterator[Comparisons]:
        """Sets of at most `chunk` comparisons of one annotator each, `batch_size` sets at a time.

        In a batch, `annotators` numbers the sets.
        """
        sets = []
        for who in torch.unique(data.annotators).tolist():
            rows = torch.nonzero(data.annotators == who)[:, 0]
            rows = rows[torch.randperm(len(rows), generator=rng)]
            sets += [rows[i : i + self.config.chunk] for i in range(0, len(rows), self.config.chunk)]
        order = torch.randperm(len(sets), generator=rng).tolist()
        for begin in range(0, len(order), self.config.batch_size):
            chosen = [sets[i] for i in order[begin : begin + self.config.batch_size]]
            numbers = torch.repeat_interleave(torch.arange(len(chosen)), torch.tensor(list(map(len, chosen))))
            yield replace(data.take(torch.cat(chosen)), annotators=numbers)

    def losses(self, batch: Comparisons, rng: torch.Generator, progress: float) -> Tensor:
        """Minus the ELBO: the negative log-likelihood of a set given z ~ q(z | some of it), and beta KL / its size."""
        c, sets = self.config, batch.annotators
        size = torch.bincount(sets)
        place = torch.arange(len(sets)) - (size.cumsum(0) - size)[sets]  # in its set, the order being random
        shown = (torch.rand(len(size), generator=rng) * size.clamp(max=c.context)).long() + 1
        turned = torch.rand(len(size), generator=rng)[sets] * c.flips > torch.rand(len(sets), generator=rng)
        first, second = self._embedded(batch)
        posterior = self._posterior(batch, first, second, (place < shown[sets]).float(), turned)
        beta = c.beta * (min(1.0, progress / c.warmup) if c.warmup else 1.0)
        kl = beta * posterior.kl().sum(-1) / size
        z = posterior.draw(rng)[:, sets]
        gap = ((self.decoder(first) - self.decoder(second)) * z).sum(-1)
        told = log_likelihood(gap, batch.answers, c.ties, self.tie_width[:, None], c.noise, c.margin)
        losses: Tensor = kl[:, sets] - told
        return losses

    def posterior(self, context: Comparisons) -> Posterior:
        """q(z | comparisons), one for each number in `annotators` (0 to B - 1): float[M, B, D]."""
        nothing = torch.zeros(len(context))
        return self._posterior(context, *self._embedded(context), nothing + 1, nothing.bool())

    def log_odds(self, batch: Comparisons) -> Tensor:
        """By the codes of the annotators it was fitted to: float[M, K]."""
        return self.odds(batch, self.codes[:, batch.annotators])

    def odds(self, batch: Comparisons, z: Tensor) -> Tensor:
        """log P(a) - log P(b) with z float[M, K, D]: float[M, K]."""
        first, second = self._embedded(batch)
        gap = ((self.decoder(first) - self.decoder(second)) * z).sum(-1)
        log_p = log_probabilities(gap, self.config.ties, self.tie_width[:, None])
        odds: Tensor = log_p[..., 0] - log_p[..., 1]
        return odds

    def raw(self, items: Items, annotator: str | None = None) -> Tensor:
        """With the annotator's code, or the mean of all codes: float[M, N]."""
        z = self.codes.mean(1) if annotator is None else self.codes[:, self.annotator(annotator)]
        return self.with_code(items, z)

    def with_code(self, items: Items, z: Tensor) -> Tensor:
        """r(s, z) for z float[M, D]: float[M, N]."""
        scores: Tensor = (self.decoder(self.features(items)) * z[:, None]).sum(-1)
        return scores

    def conclude(self, data: Comparisons) -> None:
        """Keep the code of every annotator, from as many comparisons as a context has, and centre."""
        with torch.no_grad():
            for who in range(len(self.named)):
                rows = torch.nonzero(data.annotators == who)[: self.config.context, 0]
                if len(rows):
                    own = data.take(rows)
                    own = replace(own, annotators=torch.zeros_like(own.annotators))
                    self.codes[:, who] = self.posterior(own).mean[:, 0]
        super().conclude(data)

    def says(self, contexts: Comparisons) -> dict[str, Any]:
        """How much the codes of contexts say: active units, KL in nats, whether they collapsed, and what to do then.

        A unit is active where its posterior mean varies by more than 0.01 over annotators (Burda et al. 2016).
        """
        with torch.no_grad():
            posterior = self.posterior(contexts)
        active = int((posterior.mean.var(1) > ACTIVE).sum(-1).min())
        advice = (
            f"the code says nothing of the annotator: at beta {self.config.beta:g} it has collapsed; fit with less"
            if active == 0
            else ""
        )
        kl = float(posterior.kl().sum(-1).mean())
        return {"active": active, "kl": kl, "collapsed": active == 0, "advice": advice}

    def remarks(self, data: Comparisons) -> dict[str, Any]:
        """What the codes of the annotators say; with one annotator there is nothing to tell apart."""
        rows = [
            torch.nonzero(data.annotators == who)[: self.config.context, 0] for who in range(len(self.named))
        ]
        kept = [own for own in rows if len(own)]
        if len(kept) < 2:
            return {"code": None}
        numbers = torch.repeat_interleave(torch.arange(len(kept)), torch.tensor(list(map(len, kept))))
        return {"code": self.says(replace(data.take(torch.cat(kept)), annotators=numbers))}

    def choose(self, context: Comparisons, items: Items, pairs: Ints, n: int = 1, draws: int = 64) -> Ints:
        """Rows of the `n` pairs int[k, 2] whose answers tell most of z, after a context of one annotator: int[n].

        The mutual information of answer and z, by draws from q(z | context) of the first model.
        """
        with torch.no_grad():
            posterior = self.posterior(context)
            rng = torch.Generator().manual_seed(self.config.seed)
            z = torch.stack([posterior.draw(rng)[0, 0] for _ in range(draws)])
            scores: Floats = (z @ self.decoder(self.features(items))[0].T).double().numpy()
        return np.argsort(-information(scores, pairs), kind="stable")[:n]

    def _embedded(self, batch: Comparisons) -> tuple[Tensor, Tensor]:
        """Features of both sides, float[M, K, F]; each item is looked at once."""
        rows, place = torch.unique(batch.pairs, return_inverse=True)
        features = self.features(batch.items.take(rows)).relu()
        return features[:, place[:, 0]], features[:, place[:, 1]]

    def _posterior(
        self, batch: Comparisons, first: Tensor, second: Tensor, weight: Tensor, turned: Tensor
    ) -> Posterior:
        """Of comparisons with weight float[K]; ties tell nothing; labels are turned around where bool[K] says so."""
        a_wins = ((batch.answers == A) != turned)[:, None]
        sides = torch.where(a_wins, first, second), torch.where(a_wins, second, first)
        found: Posterior = self.encoder(*sides, weight * (batch.answers != TIE), batch.annotators)
        return found
