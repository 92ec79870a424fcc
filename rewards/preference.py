"""The reward `preference`: what a reward model that was fitted to comparisons thinks of a finished episode."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch

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
        mode: "terminal", the score when the episode has ended; "delta", what each step adds, for models fitted with
            --per-step: the sum over an episode is the same score.

    Raises:
        DescantError: no such model; one of another environment or vocabulary, with the first step.
    """

    name = "preference"
    needs_line = True

    def __init__(
        self,
        path: str | Path,
        aggregate: Aggregate = "mean",
        penalty: float = 1.0,
        annotator: str | None = None,
        mode: Mode = "terminal",
    ) -> None:
        for what, value, known in (("aggregate", aggregate, Aggregate), ("mode", mode, Mode)):
            if value not in get_args(known):
                raise DescantError(f"Unknown {what} {value!r}.{did_you_mean(str(value), get_args(known))}")
        if not isinstance(penalty, int | float) or not 0 <= penalty < np.inf:
            raise DescantError(f"penalty must be a number of 0 or more, not {penalty!r}.")
        self.saved = load_reward_model(path)
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
        scores = self.saved.model.scores(self.saved.view.items(state), self.annotator)
        return aggregate(scores.double(), self.aggregate, self.penalty).numpy()

    def terms(self, state: Any, action: Ints, next_state: Any) -> dict[str, Floats]:
        """The reward by its name."""
        return {self.name: self(state, action, next_state)}

    def explain(self, episode: Episode[Any]) -> list[Finding]:
        """One finding of a finished episode that is worth less than 0, the mean of what the model has seen."""
        last = episode.states[-1]
        if not episode.actions or not self.saved.view.finished(last)[0]:
            return []
        each = self.saved.scores(self.saved.view.items(last), self.annotator)[:, 0]
        cost = -float(self.score(last)[0])
        words = f"the score is {-cost:.2f} ({self.aggregate} of {each.min():.2f} to {each.max():.2f}); 0 is average"
        return [Finding(self.name, "warning", len(episode.actions), cost, words)] if cost > 0 else []

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
