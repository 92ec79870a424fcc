"""`bench preferences`: how well reward models recover from comparisons what annotators like, over several seeds.

1. A linear reward of sequences, 2,000 comparisons without noise: correlation of score and reward on others.
2. The divergent toy: four groups prefer what is near their own place on [0, 1]; somebody new is known by 8 comparisons.
   Where some of these are wrong, an accuracy hangs on who is asked: so many are, and a perfect observer beside.
   Bradley-Terry-Luce can't do better than one order of [0, 1] does; `vpl` reads a code off the 8.
3. The same with a beta that makes the code say nothing, which the report must notice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from descant.reward_models.comparisons import Comparisons, make_comparisons
from descant.reward_models.dpl import DPLConfig
from descant.reward_models.fitting import fit
from descant.reward_models.models import Config, right
from descant.reward_models.per_user import PerUserConfig
from descant.reward_models.stacked import Items
from descant.reward_models.vpl import VPL, VPLConfig
from descant.tasks import Bools, Floats, Ints

from .jobs import Done, Job
from .studies import Study, Table, between, errors_of, interval

PLACES = np.array(
    [0.15, 0.38, 0.62, 0.85]
)  # of the four bumps, which are so narrow that only the distance counts
LINE = spaces.Box(-np.inf, np.inf, (1,))
PEOPLE, EACH, NEW = 400, 64, 500  # annotators learned from, comparisons of each, new ones to report on
MANY = 20_000  # new ones for `vpl` under noise: known by their answers or not, 500 give an error of 0.009
CONTEXT, ASKED = 8, 64  # comparisons that tell of somebody new, and those then predicted
NOISE = 0.25
SIZES = (1, 2, 4, 8, 16, 32)
DIMENSIONS, COMPARISONS = 16, 2_000
COLLAPSING = 30.0
EVEN = 1e-9  # from even odds, within which a probability is even
SETTINGS: dict[str, Any] = {
    "btl": Config(models=1, epochs=10, batch_size=512),
    "dpl": DPLConfig(models=1, epochs=10, batch_size=512),
    "dpl categorical": DPLConfig(models=1, epochs=10, batch_size=512, family="categorical"),
    "per-user": PerUserConfig(models=1, epochs=12, batch_size=256),
    "vpl": VPLConfig(epochs=250, batch_size=64, beta=0.002, flips=0.3, opposite=0.02),
    "vpl collapsed": VPLConfig(epochs=20, beta=COLLAPSING, warmup=0.0),
}


def prefers_first(points: Floats, group: Ints) -> Bools:
    """Whether a group prefers the first of two points [..., 2]: the bump's height there, of any width."""
    away = np.abs(points - PLACES[group][..., None])
    found: Bools = away[..., 0] < away[..., 1]
    return found


def population(people: int, each: int, seed: int) -> Comparisons:
    """Comparisons of two points drawn evenly, `each` of every annotator, each of whom is of a group drawn evenly."""
    rng = np.random.default_rng(seed)
    group, points = rng.integers(0, len(PLACES), people), rng.random((people, each, 2))
    answers = np.where(prefers_first(points, group[:, None]), 0, 1).ravel()
    columns = torch.from_numpy(2 * points.reshape(-1, 1, 1) - 1).float()  # what models see: -1 to 1
    items = Items(columns, torch.ones(points.size, dtype=torch.int64))
    pairs = np.arange(points.size).reshape(-1, 2)
    return make_comparisons(items, pairs, answers, np.repeat(np.arange(people), each))


@lru_cache(maxsize=1)
def bound() -> float:
    """The best accuracy of one order of [0, 1] for all groups, by a fine grid: the larger side of each comparison."""
    points = np.random.default_rng(0).random((400_000, 1, 2))
    share = prefers_first(points, np.arange(len(PLACES))[None]).mean(axis=1)
    return float(np.maximum(share, 1 - share).mean())


def linear(seed: int) -> float:
    """Correlation of score and reward on 2,000 sequences that were not compared; the reward is linear in the steps."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=DIMENSIONS)
    columns = rng.normal(size=(2, COMPARISONS, 8, DIMENSIONS))
    worth = (columns @ weights).sum(-1)
    items = [Items(torch.from_numpy(part).float(), torch.full((COMPARISONS,), 8)) for part in columns]
    pairs = rng.permuted(np.tile(np.arange(COMPARISONS), (2, 1)), axis=1).T
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    answers = np.where(worth[0, pairs[:, 0]] > worth[0, pairs[:, 1]], 0, 1)
    config = Config(models=1, hidden=(), epochs=60, learning_rate=0.05, batch_size=256, seed=seed)
    space = spaces.Box(-np.inf, np.inf, (DIMENSIONS,))
    model = fit("btl", space, make_comparisons(items[0], pairs, answers), config).model
    return float(np.corrcoef(model.scores(items[1])[0].numpy(), worth[1])[0, 1])


def toy(name: str, seed: int, new: int = 0) -> dict[str, Any]:
    """What a model of the toy is worth on annotators it has not seen; `vpl` under noise on `new` more too."""
    torch.set_num_threads(1)
    base = 1_000_003 * (seed + 1)
    config = replace(SETTINGS[name], seed=seed)
    model: Any = fit(name.split()[0], LINE, population(PEOPLE, EACH, base), config).model
    if name.startswith("vpl"):
        return of_vpl(model, base, new)
    context, asked = met(base, CONTEXT)
    with torch.no_grad():
        if name != "per-user":
            return {"accuracy": accuracy(model.log_odds(asked), asked)}
    found = {}
    for share, key in ((0.0, "accuracy"), (NOISE, "noisy")):
        odds = by_heads(model, turned(context, share), asked)
        found[key] = accuracy(odds, asked)
    return found


def met(base: int, size: int, part: int = 0) -> tuple[Comparisons, Comparisons]:
    """Contexts of `NEW` new annotators, others in each part, and what is asked then."""
    data = population(NEW, size + ASKED, base + 9 + 1000 * part)
    place = torch.arange(len(data)) % (size + ASKED)
    return data.take(torch.nonzero(place < size)[:, 0]), data.take(torch.nonzero(place >= size)[:, 0])


def turned(context: Comparisons, share: float, seed: int = 0) -> Comparisons:
    """The same with a share of the labels turned around, drawn for each."""
    chance = torch.from_numpy(np.random.default_rng(seed).random(len(context)) < share)
    return replace(context, answers=torch.where(chance, 1 - context.answers, context.answers))


def answered(odds: Tensor, asked: Comparisons) -> Tensor:
    """Which answers the mean of the models gets right, half where it is even: float[K]."""
    return right(odds.mean(0), asked.answers)


def accuracy(odds: Tensor, asked: Comparisons) -> float:
    """Share that the mean of the models answers rightly."""
    return float(answered(odds, asked).mean())


def of_vpl(model: VPL, base: int, new: int) -> dict[str, Any]:
    """Accuracy by size of context, under noise (of `new` others too), flip rate, and how much the code says."""
    by_size = {size: told(model, *met(base, size)) for size in SIZES}
    context, asked = met(base, CONTEXT)
    with torch.no_grad():
        odds = [model.odds(asked, codes(model, turned(context, s)), asked.annotators) for s in (0.0, 1.0)]
        drawn = model.posterior(context).draw(torch.Generator().manual_seed(0))
        by_draw = accuracy(model.odds(asked, drawn, asked.annotators), asked)
    return {
        "accuracy": by_size[CONTEXT],
        "by_size": by_size,
        "drawn": by_draw,
        "noisy": told(model, turned(context, NOISE), asked),
        **(under_noise(model, base, new) if new else {}),
        "flips": float(((odds[0] > 0) != (odds[1] > 0)).float().mean()),
        **model.says(context),
    }


def under_noise(model: VPL, base: int, new: int) -> dict[str, float]:
    """Accuracy where a share of the labels is wrong, of `new` annotators, `NEW` at a time; its standard error.

    What an observer who knows the four places and the share of wrong labels answers rightly of the same is beside it.
    """
    mine, best = [], []
    for part in range(new // NEW):
        context, asked = met(base, CONTEXT, part)
        context = turned(context, NOISE, base + 13 + 1000 * part)
        with torch.no_grad():
            odds = model.odds(asked, codes(model, context), asked.annotators)
        mine.append(answered(odds, asked).reshape(NEW, -1).mean(1))
        best.append(answered(observer(context, asked, NOISE)[None], asked).mean())
    each = torch.cat(mine)
    return {
        "noisy_many": float(each.mean()),
        "noisy_error": float(each.std()) / len(each) ** 0.5,
        "observer": float(torch.stack(best).mean()),
    }


def told(model: VPL, context: Comparisons, asked: Comparisons) -> float:
    """Accuracy given contexts."""
    with torch.no_grad():
        return accuracy(model.odds(asked, codes(model, context), asked.annotators), asked)


def codes(model: VPL, context: Comparisons) -> Tensor:
    """Posterior means: float[M, B, D]."""
    return model.posterior(context).mean


def observer(context: Comparisons, asked: Comparisons, share: float) -> Tensor:
    """P(a) - 1/2 of what is asked, float[K], by Bayes' rule from contexts of which a share of the labels is wrong.

    It knows the four places, and that groups are as likely each.
    """
    fits = by_group(context) == (context.answers == 0)[:, None]
    told = torch.where(fits, np.log(1 - share), np.log(share))
    likely = torch.zeros(int(context.annotators.max()) + 1, len(PLACES), dtype=told.dtype)
    posterior = likely.index_add(0, context.annotators, told).softmax(-1)
    favour = (posterior[asked.annotators] * by_group(asked)).sum(-1) - 0.5
    return torch.where(favour.abs() < EVEN, 0.0, favour)


def by_group(data: Comparisons) -> Tensor:
    """Whether each group prefers the first: bool[K, groups]."""
    points = (data.items.columns[data.pairs][..., 0, 0].double().numpy() + 1) / 2
    groups = np.broadcast_to(np.arange(len(PLACES)), (len(points), len(PLACES)))
    return torch.from_numpy(prefers_first(points[:, None], groups))


def by_heads(model: Any, context: Comparisons, asked: Comparisons) -> Tensor:
    """Log-odds by a head fitted to each annotator's context: float[M, K]."""
    odds = torch.zeros(model.config.models, len(asked))
    for who in range(NEW):
        head = model.head(context.take(torch.nonzero(context.annotators == who)[:, 0]))
        rows = torch.nonzero(asked.annotators == who)[:, 0]
        with torch.no_grad():
            pairs = asked.pairs[rows]
            scores = [model.with_head(asked.items.take(pairs[:, side]), head) for side in (0, 1)]
            odds[:, rows] = scores[0] - scores[1]
    return odds


def jobs(seeds: Sequence[int]) -> list[Job]:
    """The linear reward and each model of the toy, on every seed."""
    work = [Job(f"linear seed {seed}", f"{__name__}:linear", {"seed": seed}) for seed in seeds]
    return work + [
        Job(
            f"{name} seed {seed}",
            f"{__name__}:toy",
            {"name": name, "seed": seed} | ({"new": MANY} if name == "vpl" else {}),
        )
        for name in SETTINGS
        for seed in seeds
    ]


def tables(done: Sequence[Done], out: Path) -> list[Table]:
    """What was found beside its bar; the worst seed must reach it."""
    own = [d for d in done if d.job.arguments.get("name") is None]
    rows = [row("linear reward, btl: correlation", [d.value for d in own if not d.error], len(own), 0.99)]
    for name, key, title, bar in BARS:
        found = [d for d in done if d.job.arguments.get("name") == name]
        values = [float(value_of(d.value, key)) for d in found if not d.error]
        rows.append(row(f"{name}: {title}", values, len(found), bar))
    columns = ("measure", "seeds", "mean", "95 % interval", "worst", "bar")
    met_all = all("MISSED" not in r[-1] for r, _ in rows)
    data = [d for _, d in rows]
    title = f"Reward models; in the toy one order for all can reach {bound():.3f}"
    return [Table(title, columns, tuple(r for r, _ in rows), data, met_all, errors_of(done))]


BARS: tuple[tuple[str, str, str, float | None], ...] = (
    ("btl", "accuracy", "accuracy", None),
    ("dpl", "accuracy", "accuracy", None),
    ("dpl categorical", "accuracy", "accuracy", None),
    ("per-user", "accuracy", "accuracy, 8 comparisons", None),
    ("per-user", "noisy", "accuracy, a quarter of them wrong", None),
    *(
        ("vpl", str(size), f"accuracy, {size} comparisons", 0.97 if size == CONTEXT else None)
        for size in SIZES
    ),
    ("vpl", "noisy_many", f"accuracy, a quarter of the 8 wrong, of {MANY:,}", 0.85),
    ("vpl", "observer", "a perfect observer's, of the same", None),
    ("vpl", "noisy", f"accuracy, a quarter of the 8 wrong, of {NEW}", None),
    ("vpl", "drawn", f"accuracy, {CONTEXT} comparisons, z drawn", None),
    ("vpl", "flips", "answers turned with all labels", 0.75),
    ("vpl", "active", "active units", 4),
    ("vpl collapsed", "accuracy", f"accuracy, beta {COLLAPSING:g}", None),
    ("vpl collapsed", "drawn", f"accuracy, beta {COLLAPSING:g}, z drawn", None),
    ("vpl collapsed", "collapsed", "says that it collapsed", 1),
)


def value_of(found: dict[str, Any], key: str) -> float:
    """A measure by name, or accuracy by size of context, which JSON keeps as text."""
    if not key.isdigit():
        return float(found[key])
    return float({str(size): value for size, value in found["by_size"].items()}[key])


def row(
    title: str, values: list[float], seeds: int, bar: float | None
) -> tuple[tuple[str, ...], dict[str, Any]]:
    """A row of the table, and its data."""
    (mean, low, high), worst = interval(values), min(values, default=float("nan"))
    fine = len(values) == seeds and (bar is None or worst >= bar)
    goal = ("-" if bar is None else f">= {bar:g}") + ("" if fine else "  MISSED")
    cells = (title, str(len(values)), f"{mean:.3f}", between(low, high, ".3f"), f"{worst:.3f}", goal)
    return cells, {"measure": title, "values": values, "bar": bar}


PREFERENCES = Study("preferences", jobs, tables)
"""Reward models against what annotators like: one taste, and four that disagree."""
