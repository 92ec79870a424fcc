"""A language of two words: every translation of three sentences, to enumerate what agents expect."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor

from descant.policies.categorical import chosen, masked_log_softmax
from descant.policies.encoders import to_tensor
from descant.rollouts import Collector, Rollout
from descant.text.vocabularies import EOS

X, Y = 4, 5  # ids of the words, in the order of how often they come
ALL = [(X, EOS), (Y, EOS), (X, X, EOS), (X, Y, EOS), (Y, X, EOS), (Y, Y, EOS)]
FORM: dict[str, Any] = {"recurrent": True, "trunk": "gru", "hidden": (8, 8), "max_grad_norm": 1e12}


def tiny(folder: Path, n: int, **options: Any) -> Any:
    """`n` rows: a is x, b is y, a b is x y; three tokens at most."""
    (folder / "source").write_text("a\nb\na b\n")
    (folder / "target").write_text("x\ny\nx y\n")
    data = {"source": str(folder / "source"), "target": str(folder / "target")}
    reward = {"name": "bleu", "order": 2, "smoothing": "add-k", "value": 1.0}
    return gymnasium.make_vec(
        "descant/Translation-v0",
        num_envs=n,
        **{"data": data, "max_words": 2, "max_length": 3, "reward": reward, **options},
    )


def every_translation(folder: Path, pair: int) -> Rollout:
    """All that can be written of a sentence, one a row."""
    env = tiny(folder, len(ALL))
    words = iter(np.array([(*each, 0, 0)[:3] for each in ALL]).T)
    return Collector(env).episodes(lambda *_: next(words), options={"pairs": np.full(len(ALL), pair)})


def rows_of(rollout: Rollout, rows: Any) -> Rollout:
    """The rollout of some rows, as often as they are named."""
    names = ("actions", "rewards", "terminated", "truncated", "starts", "valid", "masks")
    rows = np.asarray(rows)
    picked = {name: getattr(rollout, name)[:, rows] for name in names}
    seen = {key: part[:, rows] for key, part in rollout.observations.items()}
    last = {key: part[rows] for key, part in rollout.last_observation.items()}
    return dataclasses.replace(rollout, observations=seen, last_observation=last, **picked)


def log_chances(agent: Any, rollout: Rollout) -> Tensor:
    """Log-probability of every action that was taken, float64[T, N], with gradients; 0 where nothing happened."""
    valid = torch.as_tensor(rollout.valid)
    seen, starts = to_tensor(rollout.observations), torch.as_tensor(rollout.starts)
    logits = agent.networks["policy"].valid_outputs(seen, starts, valid)["policy"]
    log_probs = masked_log_softmax(logits, torch.as_tensor(rollout.masks)[valid])
    found = torch.zeros(valid.shape, dtype=log_probs.dtype)
    found[valid] = chosen(log_probs, torch.as_tensor(rollout.actions)[valid])
    return found
