"""Pretraining on data: windows of a corpus as demonstrations in a run folder, and what came of the training."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from descant.agent import Agent
from descant.control import policy_log_probs
from descant.errors import DescantError
from descant.files import write_atomically
from descant.makers import load_agent
from descant.music.melodies import ACTIONS
from descant.music.melody_statistics import COPIED_RUN, Corpus
from descant.music.windows import SPLITS, Windows, observations
from descant.ngrams import best_ngrams
from descant.rollouts import Rollout
from descant.runs.folders import RunFolder
from descant.tasks import Floats, Ints

ROWS = 1024  # windows that pass through a network at once
RESAMPLES = 2000
REPORT = "pretrain.json"


def data_name(split: str) -> str:
    """Where a run keeps the demonstrations of a split (train, valid, test), as seen from its folder."""
    return f"data/{split}.safetensors"


def data_path(run: RunFolder, split: str) -> Path:
    """The same as a path."""
    return run.path / data_name(split)


def write_data(run: RunFolder, windows: Windows, columns: int) -> None:
    """Write the windows of each split as demonstrations; `columns` of the observation, 2, or 1 without the step."""
    from safetensors.numpy import save

    for number, split in enumerate(SPLITS):
        actions = windows.of(number)
        arrays = {
            "actions": np.ascontiguousarray(actions.T),
            "valid": np.ones(actions.T.shape, np.uint8),
            "observations": np.ascontiguousarray(observations(actions)[..., :columns]),
            "tunes": windows.tunes[windows.splits == number],
        }
        write_atomically(data_path(run, split), save(arrays))


def read_windows(run: RunFolder, split: str) -> NDArray[np.int8]:
    """The windows of a split as `write_data` left them, int8[W, T]; DescantError where they are gone."""
    return np.ascontiguousarray(_read(run, split, "actions").T)


def read_tunes_of(run: RunFolder, split: str) -> Ints:
    """The number of the tune that each window of a split is from, int64[W]; DescantError as of `read_windows`."""
    return _read(run, split, "tunes")


def _read(run: RunFolder, split: str, name: str) -> NDArray[Any]:
    from safetensors import SafetensorError, safe_open

    path = data_path(run, split)
    try:
        with safe_open(path, "numpy") as file:
            found: NDArray[Any] = file.get_tensor(name)
    except (OSError, SafetensorError) as error:
        raise DescantError(f"{path} is gone or damaged ({error}): pretrain anew.") from error
    return found


def score_rows(agent: Agent, windows: NDArray[np.int8]) -> tuple[Floats, Floats]:
    """Of each window, float[W]: mean negative log-likelihood in nats a step, and share of steps where the likeliest
    action of a policy network is right."""
    parts = [_score_rows(agent, windows[i : i + ROWS]) for i in range(0, len(windows), ROWS)]
    loss, hits = (np.concatenate(part) for part in zip(*parts, strict=True))
    return loss, hits


def _score_rows(agent: Agent, windows: NDArray[np.int8]) -> tuple[Floats, Floats]:
    actions = windows.T.astype(np.int64)
    seen = observations(windows)[..., : agent.observation_space.shape[0]]
    nothing = np.zeros(actions.shape, bool)
    starts = nothing.copy()
    starts[0] = True
    zeros = np.zeros(actions.shape)
    shown = Rollout(seen, actions, zeros, nothing, nothing, starts, ~nothing, None, None)
    found = policy_log_probs(agent.networks["policy"], shown)  # type: ignore[attr-defined]
    taken = np.take_along_axis(found, actions[..., None], axis=2)[..., 0]
    return -taken.mean(axis=0), (found.argmax(axis=2) == actions).mean(axis=0)


def score(agent: Agent, windows: NDArray[np.int8]) -> tuple[float, float]:
    """The same of all windows together."""
    loss, hits = score_rows(agent, windows)
    return float(loss.mean()), float(hits.mean())


def keep_best(run: RunFolder) -> Agent:
    """The agent with the weights that fitted what was held out best; saved as the checkpoint `best`."""
    agent = load_agent(run.checkpoint_path("last"))
    best: Mapping[str, torch.Tensor] = getattr(agent, "best", {})
    if best:
        agent.networks["policy"].load_state_dict(best)  # type: ignore[attr-defined]
    agent.save(run.checkpoint_path("best"))
    return agent


def conclude(run: RunFolder) -> dict[str, Any]:
    """Keep the best weights; what they and the n-grams are worth on tunes that neither saw, also as `pretrain.json`."""
    agent = keep_best(run)
    train, valid, test = (read_windows(run, split) for split in SPLITS)
    ngrams = best_ngrams(train, valid, ACTIONS)
    model, baseline = score_rows(agent, test), ngrams.rows(test)
    new = ~Corpus(train).holds(test, COPIED_RUN)
    tunes = read_tunes_of(run, "test")
    report = {
        "windows": dict(zip(SPLITS, map(len, (train, valid, test)), strict=True)),
        "model": _named(model),
        "ngrams": {"order": ngrams.order, **_named(baseline)},
        "ahead": {
            "nll": interval_of(baseline[0] - model[0], tunes),
            "accuracy": interval_of(model[1] - baseline[1], tunes),
        },
        "new": {
            "windows": int(new.sum()),
            "model": _named(model, new) if new.any() else None,
            "ngrams": _named(baseline, new) if new.any() else None,
        },
        "num_timesteps": agent.num_timesteps,
    }
    write_atomically(run.path / REPORT, (json.dumps(report, indent=1) + "\n").encode())
    return report


def interval_of(values: Floats, tunes: Ints) -> list[float]:
    """Mean of float[W], and the ends of its 95 % interval: percentiles of resamples of whole tunes int[W]."""
    groups = np.unique(tunes, return_inverse=True)[1]
    sums, counts = np.bincount(groups, values), np.bincount(groups)
    drawn = np.random.default_rng(0).multinomial(
        len(counts), np.full(len(counts), 1 / len(counts)), RESAMPLES
    )
    means = (drawn @ sums) / (drawn @ counts)
    return [float(values.mean()), *map(float, np.percentile(means, [2.5, 97.5]))]


def _named(rows: tuple[Floats, Floats], some: Any = slice(None)) -> dict[str, float]:
    nll, accuracy = (float(row[some].mean()) for row in rows)
    return {"nll": nll, "perplexity": float(np.exp(nll)), "accuracy": accuracy}
