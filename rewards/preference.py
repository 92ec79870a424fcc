"""The reward `preference`: what a reward model that was fitted to comparisons thinks of a finished episode."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from descant.conditioning import Conditions, code_of, with_code
from descant.errors import DescantError, did_you_mean
from descant.reward_models.models import Aggregate, aggregate
from descant.reward_models.saving import load_reward_model
from descant.tasks import Episode, Finding, Floats, Ints, take_rows

Mode = Literal["terminal", "delta"]


class Preference:
    """The score of a reward model, in logits: an episode that is worth 1 more is preferred in 73 % of pairs.

    Args:
        path: a folder that `descant prefs fit` wrote.
        aggregate: of an ensemble, mean, min, or mean-variance (mean - penalty * variance).
        penalty: of mean-variance.
        annotator: whose taste, where the model tells annotators apart; by default nobody's.
        annotators: several of them, or "all": then each episode is for one, drawn at reset, whose code the agent sees
            (`descant.conditioning`).
        code: the taste of this code, as the model reads it off comparisons: d numbers.
        mode: "terminal", the score when the episode has ended; "delta", what each step adds, for models fitted with
            --per-step: the sum over an episode is the same score.

    Raises:
        DescantError: no such model; one of another environment or vocabulary, with the first step.
    """

    name = "preference"
    needs_line = True

    def __init__(
        self,
        path: str | Path = "",
        aggregate: Aggregate = "mean",
        penalty: float = 1.0,
        annotator: str | None = None,
        mode: Mode = "terminal",
        annotators: Sequence[str] | Literal["all"] | None = None,
        code: Sequence[float] | None = None,
    ) -> None:
        if not str(path):
            raise DescantError(
                "The reward preference needs a reward model: preference:models/taste, a folder of descant prefs fit."
            )
        for what, value, known in (("aggregate", aggregate, Aggregate), ("mode", mode, Mode)):
            if value not in get_args(known):
                raise DescantError(f"Unknown {what} {value!r}.{did_you_mean(str(value), get_args(known))}")
        if not isinstance(penalty, int | float) or not 0 <= penalty < np.inf:
            raise DescantError(f"penalty must be a number of 0 or more, not {penalty!r}.")
        self.saved = load_reward_model(path)
        if sum(given is not None for given in (annotator, annotators, code)) > 1:
            raise DescantError("One of annotator, annotators and code says whose taste it is: give only one.")
        self.conditions = None if annotators is None else self._conditions(annotators)
        self.code = None if code is None else self._checked(code)
        self.alone = aggregate == "mean" and self.saved.model.scores_steps_alone
        self.aggregate, self.penalty, self.annotator, self.mode = aggregate, penalty, annotator, mode
        if annotator is not None:
            self.saved.model.annotator(annotator)
        if mode == "delta" and not self.saved.model.config.per_step:
            raise DescantError(
                f"{path} scores whole episodes: take mode='terminal', or fit one with --per-step."
            )

    def __call__(self, state: Any, action: Ints, next_state: Any) -> Floats:
        """Reward of each row: float64[n]."""
        view = self.saved.view
        view.check(next_state)
        if self.conditions is not None:
            next_state = with_code(next_state, code_of(state))
        if self.mode == "delta" and self.alone:
            return self._newest(state, next_state)
        if self.mode == "delta":
            return self._so_far(next_state) - self._so_far(state)
        ends = np.flatnonzero(view.finished(next_state) & ~view.finished(state))
        total = np.zeros(len(action))
        if len(ends):
            total[ends] = self.score(take_rows(next_state, ends))
        return total

    def score(self, state: Any) -> Floats:
        """Of finished episodes: float64[n]."""
        return aggregate(self._scores(state), self.aggregate, self.penalty).numpy()

    def terms(self, state: Any, action: Ints, next_state: Any) -> dict[str, Floats]:
        """The reward by its name."""
        return {self.name: self(state, action, next_state)}

    def explain(self, episode: Episode[Any]) -> list[Finding]:
        """One finding of a finished episode that is worth less than 0, the mean of what the model has seen."""
        last = episode.states[-1]
        if not episode.actions or not self.saved.view.finished(last)[0]:
            return []
        each = self._scores(last)[:, 0]
        cost = -float(self.score(last)[0])
        words = f"the score is {-cost:.2f} ({self.aggregate} of {each.min():.2f} to {each.max():.2f}); 0 is average"
        return [Finding(self.name, "warning", len(episode.actions), cost, words)] if cost > 0 else []

    def _scores(self, state: Any) -> Tensor:
        """By each of the models, for whom each row is: float64[M, n]."""
        items, model = self.saved.view.items(state), self.saved.model
        if self.conditions is not None:
            return model.scores_by_code(items, torch.from_numpy(code_of(state))).double()
        if self.code is not None:
            return model.scores_by_code(items, self.code.expand(len(items), -1)).double()
        return model.scores(items, self.annotator).double()

    def _conditions(self, annotators: Any) -> Conditions:
        """Those of the annotators asked for; DescantError for one that the model does not know, or none."""
        model = self.saved.model
        codes = model.codes_of_annotators().double().numpy()
        names = (
            model.named
            if annotators == "all"
            else [annotators]
            if isinstance(annotators, str)
            else annotators
        )
        if not names:
            raise DescantError("annotators must name one at least, or be all.")
        return Conditions(tuple(names), codes[[model.annotator(name) for name in names]])

    def _checked(self, code: Sequence[float]) -> Tensor:
        """As a tensor float64[d]; DescantError where the model's codes have another size."""
        wanted, found = self.saved.model.codes_of_annotators().shape[1], np.asarray(code, np.float64)
        if found.shape != (wanted,) or not np.isfinite(found).all():
            raise DescantError(f"A code of this reward model is {wanted} finite numbers, not {found.shape}.")
        return torch.from_numpy(found)

    def _newest(self, state: Any, next_state: Any) -> Floats:
        """The same difference where a step's score hangs on no other, without scoring all steps twice: float64[n]."""
        items = self.saved.view.items(next_state)
        model: Any = self.saved.model
        rows = np.flatnonzero(~self.saved.view.finished(state))
        total = np.zeros(len(items))
        if len(rows):
            newest = items.take(torch.from_numpy(rows)).newest
            begins = items.lengths.numpy()[rows] == 1  # then comes what centres the score of a whole
            offset = float(model.offsets.double().mean())
            total[rows] = model.steps(newest).double().mean(0).numpy() - begins * offset
        return total

    def _so_far(self, state: Any) -> Floats:
        """The score of what is written, 0 where nothing is: float64[n]."""
        items = self.saved.view.items(state)
        begun = np.flatnonzero(items.lengths.numpy() > 0)
        total = np.zeros(len(items))
        if len(begun):
            total[begun] = self.score(take_rows(state, begun))
        return total
