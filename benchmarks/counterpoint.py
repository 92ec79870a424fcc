"""`bench counterpoint`: agents trained on generated cantus firmi, greedy on Fux's six, above and below.

Three things are asked of each: its score between chance and the exact optimum, lines without error out of twelve, and
how often its note is Fux's own where it goes on from Fux's own line so far.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from descant.agent import Agent, make_config
from descant.evaluation import evaluate
from descant.makers import make_agent
from descant.music.counterpoint import actions_of
from descant.music.solutions import solved_problems
from descant.registry import agents, tasks

from .jobs import Done, Job
from .studies import Study, Table, errors_of, interval

ENV = "descant/Counterpoint-v0"
POOL = 8192  # generated cantus firmi that training draws from
BAR = 0.97  # mean score of each seed; and every line without error
ENOUGH = 3  # agents that must clear both bars on every seed
TIE = 1e-9  # log-probabilities nearer than this are equal
# Agent, environment steps, settings that differ from its defaults. Entropy counts much at first, so that bars which are
# rare are met often enough to learn from, and little at last.
WHOLE = {"collect": "episodes", "num_envs": 256, "gamma": 0.9, "ent_coef": 1.0, "ent_coef_final": 0.01}
CLIPPED = {"num_envs": 512, "n_steps": 16, "n_epochs": 3, "minibatch_size": 2048, "gamma": 0.9}
REPLAY = {
    "num_envs": 64,
    "gamma": 0.9,
    "n_steps": 1,
    "epsilon_end": 0.1,
    "batch_size": 512,
    "gradient_steps": 8,
}
PLAN: tuple[tuple[str, int, dict[str, Any]], ...] = (
    ("reinforce", 4_500_000, {}),
    ("actor-critic", 6_000_000, WHOLE),
    ("ppo", 2_500_000, {**CLIPPED, "ent_coef": 0.5, "ent_coef_final": 0.02}),
    ("dqn", 600_000, REPLAY),
)
ANCHORS = ("random", "exact")


def agreement(agent: Agent, task: Any) -> float:
    """Share of the positions of Fux's own lines where the agent's likeliest note is Fux's, given his line so far.

    `task` has Fux's problems. Where several notes are equally likely, Fux's counts by its share of them, which is what
    a draw among them agrees on average: for `random` that is chance.
    """
    found = []
    rng = np.random.default_rng(0)  # the task draws nothing
    for problem, line in solved_problems():
        options = {"cantus": problem.cantus, "position": problem.position}
        state = task.reset(rng, 1, options)
        for action in actions_of(line):
            log_probs = agent.log_probs(task.observe(state), None, task.action_mask(state))[0]
            likeliest = log_probs >= log_probs.max() - TIE
            found.append(likeliest[action] / likeliest.sum())
            state, _, _ = task.step(state, np.array([action]), rng)
    return float(np.mean(found))


def measure(agent: Agent, task: Any) -> dict[str, float]:
    """What is asked of an agent on Fux's twelve problems, `task`; each number is a mean or a sum over them."""
    outcomes = evaluate(agent, task)
    return {
        "score": float(np.mean([outcome.score for outcome in outcomes])),
        "worst": float(min(outcome.score for outcome in outcomes if outcome.score is not None)),
        "legal": float(sum(outcome.metrics["legal"] for outcome in outcomes)),
        "problems": float(len(outcomes)),
        "warnings": float(sum(f.severity == "warning" for o in outcomes for f in o.findings)),
        "agreement": agreement(agent, task),
    }


def train_one(agent: str, steps: int, config: dict[str, Any], seed: int, pool: int) -> dict[str, float]:
    """Train an agent on generated cantus firmi and measure it; `seconds` are those of the training."""
    rows = getattr(make_config(agents.get(agent), config), "num_envs", 1)
    begin = time.perf_counter()
    env = gymnasium.make_vec(ENV, num_envs=rows, pool=pool)
    trained = make_agent(agent, env, **config, seed=seed).learn(steps)
    seconds = time.perf_counter() - begin
    return measure(trained, tasks.get(ENV)(cantus="fux")) | {"seconds": seconds}


def anchor(agent: str, seed: int) -> dict[str, float]:
    """The same of chance or of the exact optimum, which have nothing to learn."""
    known = make_agent(agent, gymnasium.make_vec(ENV, num_envs=1, cantus="fux"), seed=seed)
    return measure(known, tasks.get(ENV)(cantus="fux")) | {"seconds": 0.0}


def jobs(seeds: Sequence[int]) -> list[Job]:
    """The anchors once, then every agent on every seed, seed by seed."""
    made = [Job(name, f"{__name__}:anchor", {"agent": name, "seed": 0}) for name in ANCHORS]
    for seed in seeds:
        for agent, steps, config in PLAN:
            arguments = {"agent": agent, "steps": steps, "config": config, "seed": seed, "pool": POOL}
            made.append(Job(f"{agent} seed {seed}", f"{__name__}:train_one", arguments))
    return made


def tables(done: Sequence[Done], out: Path) -> list[Table]:
    """A row an agent, chance first and the optimum last; at least three agents must clear both bars on every seed."""
    rows, data = [], []
    for agent, steps, config in (("random", 0, {}), *PLAN, ("exact", 0, {})):
        own = [d for d in done if d.job.arguments["agent"] == agent]
        values = [d.value for d in own if not d.error]
        cleared = (
            agent not in ANCHORS and bool(values) and len(values) == len(own) and all(map(clears, values))
        )
        rows.append(_row(agent, steps, values, len(own) - len(values), cleared))
        seeds = [d.job.arguments["seed"] for d in own if not d.error]
        data.append(
            {
                "agent": agent,
                "steps": steps,
                "config": config,
                "seeds": seeds,
                "values": values,
                "cleared": cleared,
            }
        )
    met = sum(1 for row in data if row["cleared"]) >= ENOUGH
    title = "Counterpoint-v0, trained on generated cantus firmi: greedy on Fux's twelve problems"
    return [Table(title, COLUMNS, tuple(rows), data, met, errors_of(done))]


COLUMNS = (
    "agent",
    "steps",
    "seeds",
    "score",
    "95 % interval",
    "worst seed",
    "without error, of 12",
    "warnings",
    "Fux's own note",
    "seconds",
    "bars",
)


def clears(value: dict[str, float]) -> bool:
    """Whether one seed clears both bars."""
    return value["score"] >= BAR and value["legal"] == value["problems"]


def _row(
    agent: str, steps: int, values: Sequence[dict[str, float]], failed: int, cleared: bool
) -> tuple[str, ...]:
    def of(name: str) -> list[float]:
        return [value[name] for value in values]

    (score, low, high), legal = interval(of("score")), of("legal")
    nothing = float("nan")
    return (
        agent,
        f"{steps:,}" if steps else "",
        "" if agent in ANCHORS else f"{len(values)}" + (f" + {failed} failed" if failed else ""),
        f"{score:.4f}",
        f"{low:.4f} to {high:.4f}" if len(values) > 1 else "",
        f"{min(of('score'), default=nothing):.4f}",
        _span(legal),
        f"{interval(of('warnings'))[0]:.1f}",
        f"{interval(of('agreement'))[0]:.1%}",
        f"{interval(of('seconds'))[0]:.0f}" if steps else "",
        "" if agent in ANCHORS else f">= {BAR:g}, 12 of 12" + ("" if cleared else "  MISSED"),
    )


def _span(counts: Sequence[float]) -> str:
    """Fewest to most, or the one number that all have."""
    return " to ".join(f"{count:.0f}" for count in sorted({min(counts), max(counts)})) if counts else ""


COUNTERPOINT = Study("counterpoint", jobs, tables)
"""Agents trained on generated cantus firmi, greedy on Fux's six above and below, several seeds each."""
