"""`bench regret`: how near neural agents come to the exact KL-regularised optimum, in nats, over several seeds.

On `descant/Tokens-v0` (4 tokens, 5 steps) with its own prior p and temperature c = 1, an agent's policy pi has the
regret log Z - (E[R]/c - KL(pi || p)) = KL(pi || pi*), summed over all 1,024 sequences: exact, nothing is sampled.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

import numpy as np

from descant.agent import Agent
from descant.makers import make_agent
from descant.planning import enumerate_task, optimum
from descant.registry import tasks
from descant.tasks import Floats

from .board import Board

ENV = "descant/Tokens-v0"
BAR = 0.05  # nats
C = 1.0
SOFT = {"prior": "task", "c": C}
KEPT = {"prior": "task", "kl_coef": C, "ent_coef": 0.0}
# Agent, environment steps, settings that differ from its defaults, bar (None: what a hard maximum must leave).
PLAN: tuple[tuple[str, int, dict[str, Any], float | None], ...] = (
    ("psi", 5_000, SOFT, BAR),
    ("g", 5_000, SOFT, BAR),
    ("kl-q", 8_000, SOFT, None),
    ("ppo", 300_000, {**KEPT, "ent_coef_final": 0.0, "gamma": 1.0}, BAR),
    ("rloo", 300_000, KEPT, BAR),
    ("grpo", 300_000, {**KEPT, "scale": "none", "length": "none"}, BAR),
)


@dataclass(frozen=True)
class Row:
    """Regrets of one agent, one a seed; `predicted` is what its own fixed point leaves, where that is known."""

    agent: str
    steps: int
    regrets: tuple[float, ...]
    failed: tuple[str, ...]
    bar: float | None
    predicted: float | None = None

    @property
    def mean(self) -> float:
        """Of the seeds that did not fail."""
        return float(np.mean(self.regrets)) if self.regrets else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """95 % t interval of the mean."""
        from scipy.stats import t

        n = len(self.regrets)
        if n < 2:
            return float("nan"), float("nan")
        half = float(t.ppf(0.975, n - 1)) * float(np.std(self.regrets, ddof=1)) / n**0.5
        return self.mean - half, self.mean + half

    @property
    def met(self) -> bool:
        """Whether no seed failed and every one is under the bar."""
        return not self.failed and (self.bar is None or max(self.regrets) < self.bar)


def regret(agent: Agent, task: Any, c: float) -> float:
    """KL(pi || pi*) of the agent's policy in nats, over all sequences of a Tokens world."""
    sequences, reward, log_prior = task.sequences()
    optimal = np.logaddexp.reduce(log_prior + reward / c)
    log_policy = log_policy_of(agent, task, sequences)
    value = (np.exp(log_policy) * (reward / c - log_policy + log_prior)).sum()
    return float(optimal - value)


def log_policy_of(agent: Agent, task: Any, sequences: Any) -> Floats:
    """Log-probability of each sequence under the agent: float[S]."""
    rng = np.random.default_rng(0)  # the task draws nothing
    state, total = task.reset(rng, len(sequences)), np.zeros(len(sequences))
    rows = np.arange(len(sequences))
    for column in sequences.T:
        total += agent.log_probs(task.observe(state))[rows, column]
        state, _, _ = task.step(state, column, rng)
    return total


def predicted_kl_q(task: Any, c: float) -> float:
    """Regret that the softmax of kl-q's fixed point must leave: its backups take a maximum, not a log-sum."""
    graph = enumerate_task(task)
    layers = []
    for layer in graph.layers:
        log_prior = task.prior_log_probs(task.observe(layer.states))[layer.source, layer.action]
        layers.append(dataclasses.replace(layer, reward=layer.reward / c + log_prior))
    plan = optimum(dataclasses.replace(graph, layers=tuple(layers)))
    value: Floats = np.zeros(1)
    for layer, priced, q in zip(
        reversed(graph.layers), reversed(layers), reversed(plan.edge_values), strict=True
    ):
        onward = np.append(value, 0.0)[layer.target]
        weight = np.exp(q - _maximum(q, layer.source, len(layer))[layer.source])
        share = weight / np.bincount(layer.source, weights=weight, minlength=len(layer))[layer.source]
        gain = share * (priced.reward - np.log(share) + onward)
        value = np.bincount(layer.source, weights=gain, minlength=len(layer)).astype(float)
    _, reward, log_prior = task.sequences()
    return float(np.logaddexp.reduce(log_prior + reward / c) - value[0])


def _maximum(values: Floats, source: Any, count: int) -> Floats:
    found = np.full(count, -np.inf)
    np.maximum.at(found, source, values)
    return found


def train_one(job: tuple[str, int, dict[str, Any], int]) -> tuple[float, str]:
    """Train one agent on one seed: its regret and "", or NaN and what went wrong."""
    name, steps, config, seed = job
    try:
        agent = make_agent(name, ENV, **config, seed=seed).learn(steps)
        return regret(agent, tasks.get(ENV)(), C), ""
    except Exception as error:
        return float("nan"), f"seed {seed}: {type(error).__name__}: {error}"


def measure(seeds: Sequence[int], workers: int = 2, plan: Any = PLAN) -> list[Row]:
    """Every agent on every seed, `workers` at a time; a seed that fails is counted, not dropped."""
    jobs = [(name, steps, config, seed) for name, steps, config, _ in plan for seed in seeds]
    found: list[tuple[float, str]] = []
    with Board([("regret", len(jobs))]) as board, ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        for result in pool.map(train_one, jobs):
            found.append(result)
            board.update(0, len(found))
    rows = []
    for i, (name, steps, _, bar) in enumerate(plan):
        own = found[i * len(seeds) : (i + 1) * len(seeds)]
        regrets = tuple(value for value, error in own if not error)
        predicted = predicted_kl_q(tasks.get(ENV)(), C) if name == "kl-q" else None
        rows.append(Row(name, steps, regrets, tuple(error for _, error in own if error), bar, predicted))
    return rows


def print_regret(rows: Sequence[Row]) -> None:
    """A table on stdout, and what failed."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Tokens-v0, 4 tokens x 5 steps, c = 1: regret in nats")
    for column in ("agent", "steps", "seeds", "mean", "95 % interval", "worst", "bar"):
        table.add_column(column, justify="left" if column == "agent" else "right")
    for row in rows:
        low, high = row.interval
        bar = f"predicted {row.predicted:.4f}" if row.bar is None else f"< {row.bar:g}"
        bar += "" if row.met else "  MISSED"
        seeds = f"{len(row.regrets)}" + (f" + {len(row.failed)} failed" if row.failed else "")
        worst = f"{max(row.regrets, default=float('nan')):.4f}"
        table.add_row(
            row.agent, f"{row.steps:,}", seeds, f"{row.mean:.4f}", f"{low:.4f} to {high:.4f}", worst, bar
        )
    Console().print(table)
    for row in rows:
        for error in row.failed:
            print(f"failed: {row.agent}, {error}")
