"""Reward models on the disk: a folder like any checkpoint's, and what is scored with them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from descant.errors import DescantError
from descant.preferences.records import Clip
from descant.reward_models.comparisons import clip_items
from descant.reward_models.fitting import Fitted
from descant.reward_models.models import RewardModel, aggregate, config_of, make_model
from descant.reward_models.stacked import Items
from descant.reward_models.views import View, make_view
from descant.runs.checkpoints import load_checkpoint, save_checkpoint
from descant.tasks import Floats, Task


@dataclass(frozen=True)
class Saved:
    """A reward model with what it sees of episodes, the report of its fit, and its hash."""

    model: RewardModel
    view: View
    report: dict[str, Any]
    hash: str

    def scores(self, items: Items, annotator: str | None = None) -> Floats:
        """Scores by each of the models, float64[M, N]."""
        return self.model.scores(items, annotator).double().numpy()

    def score(
        self, items: Items, by: str = "mean", weight: float = 1.0, annotator: str | None = None
    ) -> Floats:
        """One score each, float64[N], as `aggregate` makes of them."""
        return aggregate(self.model.scores(items, annotator).double(), by, weight).numpy()

    def scores_of(
        self, clips: list[Clip], annotator: str | None = None, text: Task[Any] | None = None
    ) -> Floats:
        """Scores of clips by each of the models, float64[M, N]; DescantError for clips of another environment."""
        return self.scores(self.items_of(clips, text), annotator)

    def items_of(self, clips: list[Clip], text: Task[Any] | None = None) -> Items:
        """What the model sees of clips; DescantError for clips of another environment, or of other words."""
        items, view = clip_items(clips, text)
        self.check_view(view)
        return items

    def check_view(self, view: View) -> None:
        """DescantError for the view of another environment, or of other words."""
        if (view.environment, dict(view.vocabulary)) != (self.view.environment, dict(self.view.vocabulary)):
            raise DescantError(
                f"The reward model is of {self.view.environment}, the clips of {view.environment}."
            )


def save_reward_model(path: str | Path, fitted: Fitted, view: View) -> None:
    """Write the folder `path`: weights.safetensors, state.json, manifest.json, all or nothing."""
    model = fitted.model
    manifest = {
        "reward_model": model.kind,
        "environment": view.environment,
        "vocabulary": dict(view.vocabulary),
        "config": dataclasses.asdict(model.config),
        "annotators": list(model.named),
        "sizes": model.sizes(),
    }
    save_checkpoint(Path(path), model.state_dict(), {"report": fitted.report}, manifest)


def load_reward_model(path: str | Path) -> Saved:
    """The reward model in the folder `path`; DescantError where there is none."""
    checkpoint = load_checkpoint(Path(path))
    found = checkpoint.manifest
    kind = found.get("reward_model")
    if not isinstance(kind, str):
        raise DescantError(
            f"{path} holds no reward model: make one with descant prefs fit STORE --out {path}."
        )
    try:
        view = make_view(found["environment"], found["vocabulary"])
        model = make_model(
            kind, view.space, _config(kind, found["config"]), found["annotators"], found["sizes"]
        )
        model.load_state_dict(checkpoint.weights)
        report = dict(checkpoint.state["report"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise DescantError(f"{path} is no reward model of this version: {error}. Fit it anew.") from error
    model.eval()
    return Saved(model, view, report, str(found["digest"]))


def annotators_in(path: str | Path) -> list[str]:
    """Names of the annotators that the reward model in the folder `path` tells apart; none where there is no model."""
    try:
        return [str(name) for name in load_checkpoint(Path(path)).manifest.get("annotators", [])]
    except DescantError:
        return []


def _config(kind: str, fields: dict[str, Any]) -> Any:
    """The configuration from JSON, in which tuples are lists."""
    return config_of(kind)(**{name: tuple(v) if isinstance(v, list) else v for name, v in fields.items()})


def clip_scores(saved: Saved, clips: list[Clip], text: Task[Any] | None = None) -> dict[str, Any]:
    """What `descant prefs pairs --scores` reads: {"model_hash", "scores": {CLIP_HASH: [one a model]}}."""
    scores = saved.scores_of(clips, text=text)
    rows = np.round(scores.T, 6).tolist()
    return {"model_hash": saved.hash, "scores": {c.hash: row for c, row in zip(clips, rows, strict=True)}}
