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
from descant.music.windows import SPLITS, Windows, observations
from descant.ngrams import best_ngrams
from descant.rollouts import Rollout
from descant.runs.folders import RunFolder

ROWS = 1024  # windows that pass through a network at once
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
        }
        write_atomically(data_path(run, split), save(arrays))


def read_windows(run: RunFolder, split: str) -> NDArray[np.int8]:
    """The windows of a split as `write_data` left them, int8[W, T]; DescantError where they are gone."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = data_path(run, split)
    try:
        return np.ascontiguousarray(load_file(path)["actions"].T)
    except (OSError, SafetensorError, KeyError) as error:
        raise DescantError(f"{path} is gone or damaged ({error}): pretrain anew.") from error


def score(agent: Agent, windows: NDArray[np.int8]) -> tuple[float, float]:
    """Mean negative log-likelihood in nats a step of a policy network, and how often its likeliest action is right."""
    network = agent.networks["policy"]  # type: ignore[attr-defined]
    loss, hits = 0.0, 0
    columns = agent.observation_space.shape[0]
    for first in range(0, len(windows), ROWS):
        actions = windows[first : first + ROWS].T.astype(np.int64)
        seen = observations(windows[first : first + ROWS])[..., :columns]
        nothing = np.zeros(actions.shape, bool)
        starts = nothing.copy()
        starts[0] = True
        zeros = np.zeros(actions.shape)
        shown = Rollout(seen, actions, zeros, nothing, nothing, starts, ~nothing, None, None)
        found = policy_log_probs(network, shown)
        loss -= float(np.take_along_axis(found, actions[..., None], axis=2).sum())
        hits += int((found.argmax(axis=2) == actions).sum())
    return loss / windows.size, hits / windows.size


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
    model, baseline = score(agent, test), ngrams.score(test)
    report = {
        "windows": dict(zip(SPLITS, map(len, (train, valid, test)), strict=True)),
        "model": _named(model),
        "ngrams": {"order": ngrams.order, **_named(baseline)},
        "num_timesteps": agent.num_timesteps,
    }
    write_atomically(run.path / REPORT, (json.dumps(report, indent=1) + "\n").encode())
    return report


def _named(found: tuple[float, float]) -> dict[str, float]:
    return {"nll": found[0], "perplexity": float(np.exp(found[0])), "accuracy": found[1]}
