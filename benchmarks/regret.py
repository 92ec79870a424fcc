"""`bench regret`: how near neural agents come to the exact KL-regularised optimum, in nats, over several seeds.

On `descant/Tokens-v0` (4 tokens, 5 steps) with its own prior p and temperature c = 1, an agent's policy pi has the
regret log Z - (E[R]/c - KL(pi || p)) = KL(pi || pi*), summed over all 1,024 sequences: exact, nothing is sampled.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from descant.agent import Agent
from descant.makers import make_agent
from descant.planning import enumerate_task, optimum
from descant.registry import tasks
from descant.tasks import Floats

from .jobs import Done, Job
from .studies import Study, Table, between, errors_of, interval

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


def train_one(agent: str, steps: int, config: dict[str, Any], seed: int) -> float:
    """Train one agent on one seed: its regret."""
    return regret(make_agent(agent, ENV, **config, seed=seed).learn(steps), tasks.get(ENV)(), C)


def jobs(seeds: Sequence[int]) -> list[Job]:
    """Every agent on every seed."""
    return [
        Job(
            f"{agent} seed {seed}",
            f"{__name__}:train_one",
            {"agent": agent, "steps": steps, "config": config, "seed": seed},
        )
        for agent, steps, config, _ in PLAN
        for seed in seeds
    ]


def tables(done: Sequence[Done], out: Path) -> list[Table]:
    """A row an agent; every seed must be under the bar, and none may fail."""
    rows, data, met = [], [], True
    for agent, steps, _, bar in PLAN:
        own = [d for d in done if d.job.arguments["agent"] == agent]
        regrets = [d.value for d in own if not d.error]
        (mean, low, high), worst = interval(regrets), max(regrets, default=float("nan"))
        fine = len(regrets) == len(own) and (bar is None or worst < bar)
        predicted = predicted_kl_q(tasks.get(ENV)(), C) if bar is None else None
        goal = f"predicted {predicted:.4f}" if bar is None else f"< {bar:g}"
        failed = f" + {len(own) - len(regrets)} failed" if len(regrets) < len(own) else ""
        rows.append(
            (
                agent,
                f"{steps:,}",
                f"{len(regrets)}{failed}",
                f"{mean:.4f}",
                between(low, high, ".4f"),
                f"{worst:.4f}",
                goal + ("" if fine else "  MISSED"),
            )
        )
        data.append({"agent": agent, "steps": steps, "regrets": regrets, "bar": bar, "predicted": predicted})
        met = met and fine
    columns = ("agent", "steps", "seeds", "mean", "95 % interval", "worst", "bar")
    title = "Tokens-v0, 4 tokens x 5 steps, c = 1: regret in nats"
    return [Table(title, columns, tuple(rows), data, met, errors_of(done))]


REGRET = Study("regret", jobs, tables)
"""Neural agents against the exact KL-regularised optimum of Tokens-v0, in nats."""
