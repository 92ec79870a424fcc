"""Variational preference learning: a code z of an annotator, read off a few comparisons, and a reward r(s, z).

S. Poddar, Y. Wan, H. Ivison, A. Gupta, N. Jaques, *Personalizing reinforcement learning from human feedback with
variational preference learning*, 2024. What differs: the encoder takes sets of any size, and is odd under the swap of
all labels by construction; what is predicted are comparisons that the context has not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from descant.errors import DescantError, did_you_mean
from descant.preferences.pairs import information
from descant.reward_models.comparisons import Comparisons
from descant.reward_models.likelihoods import TIE, A, log_likelihood, log_probabilities
from descant.reward_models.models import Config, RewardModel, make_model
from descant.reward_models.per_user import PerUserConfig
from descant.reward_models.stacked import Ensemble, Items, StackedMLP
from descant.tasks import Floats, Ints

ACTIVE = (
    0.01  # variance of a unit's posterior mean over annotators, from which it is active (Burda et al. 2016)
)
EPOCH = 20  # fewest batches of an epoch: a small store is asked often, each time with other contexts
NOISY = 0.5  # share of contexts with labels turned around, where there are any
REFERENCES = 256  # items learned from, kept to measure scores by
SCALINGS = ("none", "spo")
SAME = ("models", "hidden", "trunk", "ties", "noise", "margin", "learning_rate", "weight_decay", "seed")


@dataclass(frozen=True)
class VPLConfig(Config):
    """As of the other kinds, and: dimensions of z; most comparisons of a context; predicted, comparisons asked of the
    same annotator then; beta, the weight of the KL of a code, reached in a line over the first `warmup` of the fit;
    flips: in half of the contexts a share of labels is turned around in training, drawn from 0 to this; opposite:
    how often all answers of somebody are turned in training, as one of the opposite taste gives them; scaling: of
    scores, none, or spo, the share of items learned from that the annotator likes less (0 to 1).

    An epoch predicts as many comparisons as there are, in 20 batches or more, of `batch_size` annotators each.
    """

    models: int = 1
    dimensions: int = 8
    context: int = 32
    predicted: int = 16
    beta: float = 0.02
    warmup: float = 0.5
    flips: float = 0.0
    opposite: float = 0.0
    scaling: Literal["none", "spo"] = "none"
    width: int = 64
    pretrained: int = 0
    batch_size: int = 32
    annealed: bool = True
    patience: int = 0
    centring: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.dimensions, self.context, self.predicted, self.width) < 1:
            raise DescantError("dimensions, context, predicted and width must be 1 or more.")
        if not (
            self.beta >= 0 and 0 <= self.warmup <= 1 and 0 <= self.flips <= 1 and 0 <= self.opposite <= 1
        ):
            raise DescantError("beta must be 0 or more, warmup, flips and opposite shares, 0 to 1.")
        if self.pretrained < 0:
            raise DescantError("pretrained is a number of epochs, 0 or more.")
        if self.scaling not in SCALINGS:
            raise DescantError(f"scaling must be none or spo.{did_you_mean(self.scaling, SCALINGS)}")


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

    A comparison is W' tanh(W (winner - loser)), which a swap negates; sums of them go through (f(x) - f(-x)) / 2 for
    the mean and (g(x) + g(-x)) / 2 for the log-variance.
    """

    def __init__(self, models: int, features: int, width: int, dimensions: int) -> None:
        super().__init__()
        self.inner = nn.Parameter(_uniform(models, features, width))
        self.outer = nn.Parameter(_uniform(models, width, width))
        self.mean = StackedMLP(models, (width + 1, width, width, dimensions))
        self.log_variance = StackedMLP(models, (width + 1, width, dimensions))

    def forward(self, difference: Tensor, weight: Tensor, sets: Tensor, size: int) -> Posterior:
        """Winner's features less the loser's, float[M, K, F]; weight float[K], 0 for what is in no context; sets
        int64[K] from 0 to size - 1."""
        parts = (difference @ self.inner).tanh() * weight[:, None]
        sums = parts.new_zeros(len(parts), size, parts.shape[-1]).index_add(1, sets, parts)
        total = sums @ self.outer
        count = weight.new_zeros(size).index_add(0, sets, weight).log1p().expand(len(total), -1)[..., None]
        one, other = (torch.cat([x, count], -1) for x in (total, -total))
        mean = (self.mean(one) - self.mean(other)) / 2
        return Posterior(mean, ((self.log_variance(one) + self.log_variance(other)) / 2).clamp(-8, 4))


def _uniform(models: int, before: int, after: int) -> Tensor:
    """As nn.Linear draws its weights: float[M, before, after]."""
    return torch.empty(models, before, after).uniform_(-(before**-0.5), before**-0.5)


class Decoder(nn.Module):
    """r(s, z): a layer of ReLU over what s and z each bring to it."""

    def __init__(self, models: int, features: int, width: int, dimensions: int) -> None:
        super().__init__()
        self.of_items = StackedMLP(models, (features, width))
        self.of_codes = StackedMLP(models, (dimensions, width))
        self.read = StackedMLP(models, (width, 1))

    def join(self, of_items: Tensor, of_codes: Tensor) -> Tensor:
        """Scores float[M, ...], of what `of_items` and `of_codes` made of features and codes: float[M, ..., width]."""
        scores: Tensor = self.read((of_items + of_codes).relu())[..., 0]
        return scores


class VPL(RewardModel):
    """A reward for each annotator: r(s, z), z ~ q(z | their comparisons)."""

    kind = "vpl"

    def __init__(self, space: spaces.Space[Any], config: VPLConfig, named: Sequence[str] = ()) -> None:
        super().__init__(config, named)
        c, self.space = config, space
        self.features = Ensemble(space, c.models, c.width, c.hidden, c.trunk)
        self.encoder = SetEncoder(c.models, c.width, c.width, c.dimensions)
        self.decoder = Decoder(c.models, c.width, c.width, c.dimensions)
        self.tie_width = nn.Parameter(torch.zeros(c.models))
        self.register_buffer("codes", torch.zeros(c.models, len(self.named), c.dimensions))
        self.register_buffer("references", torch.zeros(c.models, REFERENCES, c.width))

    codes: Tensor  # float[M, annotators, D]: z of those it was fitted to
    references: (
        Tensor  # float[M, REFERENCES, width]: items learned from, as the decoder's first layer gives them
    )

    def first(self) -> RewardModel | None:
        """Linear heads on the same features, for each annotator, where these are to be learned first."""
        c = self.config
        if not c.pretrained:
            return None
        same = {name: getattr(c, name) for name in SAME}
        own = PerUserConfig(**same, epochs=c.pretrained, dimensions=c.width)
        return make_model("per-user", self.space, own, self.named)

    def begin(self, learned: Any) -> None:
        """Take over the features of `first`."""
        self.features.load_state_dict(learned.features.state_dict())

    def batches(self, data: Comparisons, rng: torch.Generator) -> Iterator[Comparisons]:
        """`batch_size` annotators drawn by how much they judged, with comparisons for a context and to predict.

        In a batch, `annotators` numbers the draws, and `groups` is 1 in contexts, 0 in what is to be predicted. Of
        those who judged too little for both, half is context: none of a single comparison.
        """
        c = self.config
        order = torch.randperm(len(data), generator=rng)
        order = order[
            torch.argsort(data.annotators[order], stable=True)
        ]  # by annotator, in random order within
        counts = torch.bincount(data.annotators)
        starts = counts.cumsum(0) - counts
        for _ in range(max(-(-len(data) // (c.batch_size * c.predicted)), EPOCH)):
            shown = int((c.context ** torch.rand((), generator=rng)).round())
            drawn = order[torch.randint(len(data), (c.batch_size,), generator=rng)]
            who = data.annotators[drawn]
            count, place = counts[who][:, None], torch.arange(shown + c.predicted)
            begin = (torch.rand(len(who), 1, generator=rng) * count).long()
            rows = order[starts[who][:, None] + (begin + place) % count]
            numbers = torch.arange(len(who))[:, None].expand(rows.shape)
            there = (place < count).expand(rows.shape)
            enough = torch.where(count < len(place), (count // 2).clamp(max=shown), shown)
            context = (place < enough).long()
            yield replace(data.take(rows[there]), annotators=numbers[there], groups=context[there])

    def losses(self, batch: Comparisons, rng: torch.Generator, progress: float) -> Tensor:
        """Minus the ELBO of what is predicted, given z ~ q(z | the rest), a comparison: float[M, K], 0 for the rest.

        The KL has its weight beta / `predicted`.
        """
        c, sets = self.config, batch.annotators
        size, context = int(sets.max()) + 1, batch.groups == 1
        turns = (torch.rand(size, generator=rng) < c.opposite)[sets] & (batch.answers != TIE)
        batch = replace(batch, answers=torch.where(turns, 1 - batch.answers, batch.answers))
        noisy = torch.rand(size, generator=rng) < NOISY
        share = torch.rand(size, generator=rng) * noisy * c.flips
        turned = share[sets] > torch.rand(len(sets), generator=rng)
        first, second = self._embedded(batch)
        posterior = self._posterior(batch, first, second, context.float(), turned)
        asked = torch.nonzero(~context)[:, 0]
        z = posterior.draw(rng)
        told = log_likelihood(
            self._gap(first[:, asked], second[:, asked], z, sets[asked]),
            batch.answers[asked],
            c.ties,
            self.tie_width[:, None],
            c.noise,
            c.margin,
        )
        beta = c.beta * (min(1.0, progress / c.warmup) if c.warmup else 1.0)
        kl = posterior.kl().sum(-1)[:, sets[asked]]
        every = told.new_zeros(len(told), len(sets))
        return every.index_copy(1, asked, (beta / c.predicted * kl - told) * (len(sets) / len(asked)))

    def posterior(self, context: Comparisons) -> Posterior:
        """q(z | comparisons), one for each number in `annotators` (0 to B - 1): float[M, B, D]."""
        nothing = torch.zeros(len(context))
        return self._posterior(context, *self._embedded(context), nothing + 1, nothing.bool())

    def log_odds(self, batch: Comparisons) -> Tensor:
        """By the codes of the annotators it was fitted to: float[M, K]."""
        return self.odds(batch, self.codes, batch.annotators)

    def odds(self, batch: Comparisons, codes: Tensor, whose: Tensor | None = None) -> Tensor:
        """log P(a) - log P(b) with z float[M, B, D], of which each comparison has that at whose int64[K], else its own:
        float[M, K]."""
        whose = torch.arange(len(batch)) if whose is None else whose
        gap = self._gap(*self._embedded(batch), codes, whose)
        log_p = log_probabilities(gap, self.config.ties, self.tie_width[:, None])
        odds: Tensor = log_p[..., 0] - log_p[..., 1]
        return odds

    def raw(self, items: Items, annotator: str | None = None) -> Tensor:
        """With the annotator's code, or the mean over all annotators of what they would say: float[M, N]."""
        seen = self._seen(items)
        if annotator is not None:
            return self._scaled(seen, self.codes[:, self.annotator(annotator)])
        each = [self._scaled(seen, code) for code in self.codes.unbind(1)]
        return torch.stack(each).mean(0)

    def with_code(self, items: Items, z: Tensor) -> Tensor:
        """r(s, z) for z float[M, D], as the configuration scales it: float[M, N]."""
        return self._scaled(self._seen(items), z)

    def codes_of_annotators(self) -> Tensor:
        """The mean of q(z | their comparisons): float[annotators, M * D]."""
        return self.codes.transpose(0, 1).flatten(1)

    def read_code(self, context: Comparisons) -> Tensor:
        """The mean of q(z | the first comparisons, as many as a context has): float[M * D]."""
        own = context.take(torch.arange(min(len(context), self.config.context)))
        with torch.no_grad():
            return (
                self.posterior(replace(own, annotators=torch.zeros_like(own.annotators))).mean[:, 0].flatten()
            )

    def raw_by_code(self, items: Items, codes: Tensor, place: Tensor) -> Tensor:
        """float[M, N], for z float[K, M * D] at place int64[N]."""
        return self._scaled_each(self._seen(items), self._by_model(codes), place)

    def _scaled(self, seen: Tensor, z: Tensor) -> Tensor:
        """Scores float[M, N] of items seen as float[M, N, width], all with z float[M, D]."""
        return self._scaled_each(seen, z[:, None], torch.zeros(seen.shape[1], dtype=torch.long))

    def _scaled_each(self, seen: Tensor, z: Tensor, place: Tensor) -> Tensor:
        """Scores of items seen as float[M, N, width], each with that of z float[M, K, D] at place int64[N], beside
        those of the references: less their mean, or by spo.

        That is the mean probability of being preferred to a reference (Poddar et al. 2024, after Swamy et al.
        2024), which gives all annotators one scale, however sure of their taste they or the model are.
        """
        code = self.decoder.of_codes(z)
        scores = self.decoder.join(seen, code[:, place])
        others = self.decoder.join(self.references[:, None], code[:, :, None])  # [M, K, REFERENCES]
        if self.config.scaling == "none":
            return scores - others.mean(2)[:, place]
        return (scores[..., None] - others[:, place]).sigmoid().mean(-1)

    def conclude(self, data: Comparisons) -> None:
        """Keep the code of every annotator, from as many comparisons as a context has, and the references."""
        with torch.no_grad():
            seen = torch.unique(data.pairs)
            chosen = torch.linspace(0, len(seen) - 1, REFERENCES).round().long()
            self.references.copy_(self._seen(data.items.take(seen[chosen])))
            for who in range(len(self.named)):
                rows = torch.nonzero(data.annotators == who)[:, 0]
                if len(rows):
                    self.codes[:, who] = self._by_model(self.read_code(data.take(rows))[None])[:, 0]

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
            z = torch.stack([posterior.draw(rng)[:, 0] for _ in range(draws)])
            seen = self._seen(items)
            code = self.decoder.of_codes(z.transpose(0, 1))[0]  # [draws, width]
            scores: Floats = self.decoder.join(seen[:1, None], code[None, :, None])[0].double().numpy()
        return np.argsort(-information(scores, pairs), kind="stable")[:n]

    def _seen(self, items: Items) -> Tensor:
        """As the decoder's first layer gives them, float[M, N, width]."""
        seen: Tensor = self.decoder.of_items(self._features(items))
        return seen

    def _features(self, items: Items) -> Tensor:
        """float[M, N, width]."""
        features: Tensor = self.features(items).relu()
        return features

    def _embedded(self, batch: Comparisons) -> tuple[Tensor, Tensor]:
        """Features of both sides, float[M, K, F]; each item is looked at once."""
        rows, place = torch.unique(batch.pairs, return_inverse=True)
        features = self._features(batch.items.take(rows))
        return features[:, place[:, 0]], features[:, place[:, 1]]

    def _gap(self, first: Tensor, second: Tensor, codes: Tensor, whose: Tensor) -> Tensor:
        """r(a, z) - r(b, z) with the codes float[M, B, D] at whose int64[K]: float[M, K]."""
        asked = self.decoder.of_codes(codes)[:, whose]
        one, other = (self.decoder.join(self.decoder.of_items(side), asked) for side in (first, second))
        gap: Tensor = one - other
        return gap

    def _posterior(
        self, batch: Comparisons, first: Tensor, second: Tensor, weight: Tensor, turned: Tensor
    ) -> Posterior:
        """Of comparisons with weight float[K]; ties tell nothing; labels are turned around where bool[K] says so."""
        sign = torch.where((batch.answers == A) != turned, 1.0, -1.0)[:, None]
        size = int(batch.annotators.max()) + 1
        found: Posterior = self.encoder(
            (first - second) * sign, weight * (batch.answers != TIE), batch.annotators, size
        )
        return found
