"""What is fitted to comparisons: the contract of a kind of reward model, and Bradley-Terry-Luce."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Literal, get_args

import torch
from gymnasium import spaces
from torch import Tensor, nn

from descant.errors import DescantError, did_you_mean
from descant.registry import load
from descant.reward_models.comparisons import Comparisons
from descant.reward_models.likelihoods import TIE, centring, check_ties, log_likelihood, log_probabilities
from descant.reward_models.stacked import Ensemble, Items

Trunk = Literal["mlp", "lstm", "transformer"]
EMPTY: Mapping[str, int] = MappingProxyType({})
CHUNK = 4096  # items of one pass where nothing is learned


@dataclass(frozen=True)
class Config:
    """How a reward model is made and fitted.

    models: how many side by side, in one forward; hidden, trunk, per_step: as of `Ensemble`; ties, noise, margin: as
    of `log_likelihood`; centring: weight of the penalty that holds scores near 0; bootstrap: whether each model has
    its own resample of the pairs; valid, test: shares of the pairs of clips held out; patience: epochs without a
    better one after which to stop, 0 for never; annealed: whether the learning rate falls to nothing, along a cosine.
    """

    models: int = 5
    hidden: tuple[int, ...] = (64, 64)
    trunk: Trunk = "mlp"
    per_step: bool = False
    ties: Literal["davidson", "rao-kupper", "half"] = "half"
    noise: float = 0.0
    margin: float = 0.0
    centring: float = 0.001
    bootstrap: bool = False
    learning_rate: float = 3e-3
    weight_decay: float = 1e-3
    batch_size: int = 128
    epochs: int = 100
    patience: int = 10
    annealed: bool = False
    valid: float = 0.1
    test: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        check_ties(self.ties)
        if any(width < 1 for width in self.hidden):
            raise DescantError(f"hidden must be widths of 1 or more, not {self.hidden}.")
        if self.models < 1 or self.batch_size < 1 or self.epochs < 1 or self.patience < 0:
            raise DescantError("models, batch_size and epochs must be 1 or more, patience 0 or more.")
        if not 0 <= self.noise < 1:
            raise DescantError(
                f"noise is the share of random answers, 0 or more and below 1, not {self.noise}."
            )
        for name in ("valid", "test"):
            if not 0 < getattr(self, name) < 0.5:
                raise DescantError(f"{name} is a share, above 0 and below 0.5, not {getattr(self, name)}.")
        for name in ("margin", "centring", "learning_rate", "weight_decay"):
            if not 0 <= getattr(self, name) < math.inf:
                raise DescantError(f"{name} must be a number of 0 or more, not {getattr(self, name)}.")


class RewardModel(nn.Module):
    """M models of one kind. A subclass says how likely answers are, and what items are worth."""

    kind: ClassVar[str]
    offsets: Tensor  # float[M]: mean scores of what was learned from, taken from scores

    def __init__(self, config: Any, named: Sequence[str] = ()) -> None:
        super().__init__()
        self.config, self.named = config, tuple(named)
        self.register_buffer("offsets", torch.zeros(config.models))

    @abstractmethod
    def losses(self, batch: Comparisons, rng: torch.Generator, progress: float) -> Tensor:
        """What to make small, float[M, K] a comparison; `progress` is the share of the fit that is done, 0 to 1."""

    @abstractmethod
    def log_odds(self, batch: Comparisons) -> Tensor:
        """log P(a) - log P(b) of each comparison, by its annotator where the model knows them: float[M, K]."""

    @abstractmethod
    def raw(self, items: Items, annotator: str | None = None) -> Tensor:
        """Scores of items, float[M, N], in logits, not centred."""

    def batches(self, data: Comparisons, rng: torch.Generator) -> Iterator[Comparisons]:
        """What `losses` is asked of, for one pass over the data in random order."""
        order = torch.randperm(len(data), generator=rng)
        size = self.config.batch_size
        for begin in range(0, len(data), size):
            yield data.take(order[begin : begin + size])

    def first(self) -> RewardModel | None:
        """A model to fit before this one, where it begins with what that has learned."""
        return None

    def begin(self, learned: Any) -> None:
        """Told `first` once it is fitted."""

    def sizes(self) -> dict[str, int]:
        """What else `make_model` needs to make this one again."""
        return {}

    def conclude(self, data: Comparisons) -> None:
        """Told the same after the last: centre the scores of what was learned from."""
        with torch.no_grad():
            self.offsets.copy_(self.raw(data.items.take(torch.unique(data.pairs))).mean(1))

    def remarks(self, data: Comparisons) -> dict[str, Any]:
        """What else a report says, given what was learned from."""
        return {}

    @property
    def scores_steps_alone(self) -> bool:
        """Whether `steps` gives scores that sum to a whole's, each from its own step's columns and no others."""
        return False

    def annotator(self, name: str) -> int:
        """The index of an annotator; DescantError for one the model does not know."""
        if name not in self.named:
            what = (
                f".{did_you_mean(name, self.named)}" if self.named else ": it does not tell annotators apart."
            )
            raise DescantError(f"The reward model knows no annotator {name!r}{what}")
        return self.named.index(name)

    def scores(self, items: Items, annotator: str | None = None) -> Tensor:
        """Scores of each model, float[M, N] in logits, of mean 0 on what was learned from."""
        with torch.no_grad():
            rows = torch.arange(len(items))
            parts = [rows[begin : begin + CHUNK] for begin in range(0, max(len(rows), 1), CHUNK)]
            found = [self.raw(items.take(part), annotator) for part in parts]
            return torch.cat(found, 1) - self.offsets[:, None]

    def codes_of_annotators(self) -> Tensor:
        """What it knows of each annotator it was fitted to, those of all M models in a row: float[annotators, M * D].

        DescantError for a model that does not tell annotators apart.
        """
        raise self._same_for_all()

    def read_code(self, context: Comparisons) -> Tensor:
        """The code of one annotator, met or not, from their comparisons: float[M * D]; DescantError as above."""
        raise self._same_for_all()

    def raw_by_code(self, items: Items, codes: Tensor, place: Tensor) -> Tensor:
        """Scores of items, float[M, N], by codes float[K, M * D], of which each item has that at place int64[N]."""
        raise NotImplementedError

    def scores_by_code(self, items: Items, codes: Tensor) -> Tensor:
        """Scores of each model, float[M, N], each item by a code of its own, float[N, M * D]."""
        with torch.no_grad():
            different, place = torch.unique(codes.float(), dim=0, return_inverse=True)
            return self.raw_by_code(items, different, place) - self.offsets[:, None]

    def _same_for_all(self) -> DescantError:
        return DescantError(
            f"A reward model of kind {self.kind} knows no annotators: fit one of kind vpl or per-user."
        )

    def _by_model(self, codes: Tensor) -> Tensor:
        """Codes float[K, M * D] by model: float[M, K, D]."""
        return codes.view(len(codes), self.config.models, -1).transpose(0, 1)


Aggregate = Literal["mean", "min", "mean-variance"]


def aggregate(scores: Tensor, by: str = "mean", weight: float = 1.0) -> Tensor:
    """One score each, float[N], from those of M models, float[M, N]: their mean, the least, or mean - weight variance.

    After Coste et al. 2024 (mean, worst case, uncertainty-weighted). The variance is over models, without correction.
    """
    if by == "mean":
        return scores.mean(0)
    if by == "min":
        return scores.amin(0)
    if by == "mean-variance":
        return scores.mean(0) - weight * scores.var(0, correction=0)
    raise DescantError(
        f"aggregate must be one of {', '.join(get_args(Aggregate))}.{did_you_mean(by, get_args(Aggregate))}"
    )


class BTL(RewardModel):
    """Bradley-Terry-Luce: P(a) = sigmoid(score(a) - score(b)), the same for all annotators."""

    kind = "btl"

    def __init__(self, space: spaces.Space[Any], config: Config, named: Sequence[str] = ()) -> None:
        super().__init__(config)
        self.ensemble = Ensemble(space, config.models, 1, config.hidden, config.trunk, config.per_step)
        self.width = nn.Parameter(torch.zeros(config.models))

    def losses(self, batch: Comparisons, rng: torch.Generator, progress: float) -> Tensor:
        """Negative log-likelihood, and the penalty that centres: float[M, K]."""
        first, second = self._sides(batch)
        c = self.config
        told = log_likelihood(first - second, batch.answers, c.ties, self.width[:, None], c.noise, c.margin)
        losses: Tensor = c.centring * centring(first, second)[:, None] - told
        return losses

    def log_odds(self, batch: Comparisons) -> Tensor:
        """float[M, K]."""
        first, second = self._sides(batch)
        log_p = log_probabilities(first - second, self.config.ties, self.width[:, None])
        odds: Tensor = log_p[..., 0] - log_p[..., 1]
        return odds

    def raw(self, items: Items, annotator: str | None = None) -> Tensor:
        """float[M, N]."""
        if annotator is not None:
            self.annotator(annotator)
        scores: Tensor = self.ensemble(items)[..., 0]
        return scores

    @property
    def scores_steps_alone(self) -> bool:
        """So it is without a trunk that remembers."""
        return self.ensemble.per_step and (self.ensemble.linear or self.ensemble.mlp)

    def steps(self, items: Items) -> Tensor:
        """Scores of the steps that are there, float[M, steps], which sum to `raw`; DescantError without per_step."""
        with torch.no_grad():
            scores: Tensor = self.ensemble.steps(items)[..., 0]
        return scores

    def _sides(self, batch: Comparisons) -> tuple[Tensor, Tensor]:
        """Scores of both sides, float[M, K] each; each item is scored once."""
        rows, place = torch.unique(batch.pairs, return_inverse=True)
        scores = self.raw(batch.items.take(rows))
        return scores[:, place[:, 0]], scores[:, place[:, 1]]


KINDS = {
    "btl": "descant.reward_models.models:BTL",
    "dpl": "descant.reward_models.dpl:DPL",
    "vpl": "descant.reward_models.vpl:VPL",
    "per-user": "descant.reward_models.per_user:PerUser",
}
CONFIGS = {
    "btl": "descant.reward_models.models:Config",
    "dpl": "descant.reward_models.dpl:DPLConfig",
    "vpl": "descant.reward_models.vpl:VPLConfig",
    "per-user": "descant.reward_models.per_user:PerUserConfig",
}


def make_model(
    kind: str,
    space: spaces.Space[Any],
    config: Any,
    named: Sequence[str] = (),
    sizes: Mapping[str, int] = EMPTY,
) -> RewardModel:
    """A reward model of a kind by name, drawn by the configuration's seed; DescantError for a kind there isn't.

    `named`: the annotators of what it learns from; `sizes`: as of `RewardModel.sizes`.
    """
    if kind not in KINDS:
        raise DescantError(f"There is no reward model {kind!r}.{did_you_mean(kind, KINDS)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        made: RewardModel = load(KINDS[kind])(space, config, named, **sizes)
    return made


def config_of(kind: str) -> Any:
    """The configuration's class of a kind."""
    if kind not in CONFIGS:
        raise DescantError(f"There is no reward model {kind!r}.{did_you_mean(kind, CONFIGS)}")
    return load(CONFIGS[kind])


def right(log_odds: Tensor, answers: Tensor) -> Tensor:
    """Which decided answers the odds are in favour of; half where even: float[...], NaN for ties."""
    favours = torch.where(answers == 0, log_odds, -log_odds)
    share = (favours > 0).float() + 0.5 * (favours == 0)
    return torch.where(answers == TIE, torch.nan, share)
