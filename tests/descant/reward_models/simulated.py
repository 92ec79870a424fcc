"""Comparisons made by hand."""

from __future__ import annotations

import numpy as np
import torch
from gymnasium import spaces

from descant.reward_models.comparisons import Comparisons, make_comparisons
from descant.reward_models.stacked import Items
from descant.tasks import Floats

BOX = spaces.Box(-np.inf, np.inf, (6,))


def points(n: int, seed: int = 0) -> Items:
    """Sequences of three points in six dimensions."""
    columns = np.random.default_rng(seed).normal(size=(n, 3, 6))
    return Items(torch.from_numpy(columns).float(), torch.full((n,), 3))


def compared(items: Items, worth: Floats, pairs: int, noise: float = 0.0, seed: int = 0) -> Comparisons:
    """Answers by the difference of worth; a share of them wrong."""
    rng = np.random.default_rng(seed)
    rows = np.array([rng.choice(len(items), 2, replace=False) for _ in range(pairs)])
    first = worth[rows[:, 0]] > worth[rows[:, 1]]
    return make_comparisons(items, rows, (first == (rng.random(pairs) < noise)).astype(int))
