"""`bench imitation`: what a teacher is worth. Steps to a score of 0.99, and how errors add up along a line.

All agents train on generated cantus firmi, with `exact` as the teacher of those that have one. They are examined
greedily on Fux's six, above and below, and on generated cantus firmi that no agent has seen.

Cloning and DAgger are compared at equal numbers of lines labelled, with equal labels and gradient steps: `dagger` with
beta = 1 lets the teacher write every line, which is cloning; with beta = 0 the learner writes all but the first round.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from descant.agent import Agent, make_config
from descant.makers import make_agent
from descant.registry import agents
from descant.shells import TaskVectorEnv, make_task
from descant.tasks import take_rows

from .exams import Exam, a_line, by_length, exam_on, sit, tally
from .imitation_picture import draw
from .jobs import Done, Job
from .plans import plans_in
from .studies import Study, Table, between, errors_of, interval

ENV = "descant/Counterpoint-v0"
WORLD: dict[str, Any] = {"pool": 2048}  # cantus firmi that all train on
UNSEEN = {"pool": 1024, "pool_seed": 1000}
EVERY = 43  # of the unseen cantus firmi one in so many is sung: neighbours in a pool share mode and length
GOAL = 0.99
EPOCHS = 200  # at most; cloning stops of itself
ROUNDS = 8  # in which a comparison's lines are labelled
EXAMS = {"fux": "Fux's twelve", "unseen": "unseen"}
LEARNERS = ("reinforce", "ppo")  # without a teacher
PPO = {
    "num_envs": 512,
    "n_steps": 16,
    "n_epochs": 3,
    "minibatch_size": 2048,
    "gamma": 0.9,
    "ent_coef": 0.5,
    "ent_coef_final": 0.02,
}
# Work and arguments: how many steps each may take, and how often one looks. The fewer steps reinforce and ppo are told
# to train for, the sooner their schedules get them there, until they do not: these numbers were found on seed 100.
RACES: dict[str, tuple[str, dict[str, Any]]] = {
    "dagger": ("race", {"steps": 200_000, "every": 1, "config": {"num_envs": 128, "updates": 200}}),
    "bc": ("race_cloning", {"lines": (1024, 2048, 4096), "config": {}}),
    "reinforce": ("race", {"steps": 1_500_000, "every": 16_384, "config": {}}),
    "ppo": ("race", {"steps": 1_000_000, "every": 16_384, "config": PPO}),
}
LINES = (32, 128, 512, 2048)
METHODS: dict[str, dict[str, Any]] = {
    "cloning": {"beta": 1.0, "updates": 200},
    "dagger": {"beta": 0.0, "updates": 200},
}
SPANS = ((8, 10), (12, 14))  # lengths of lines, in notes


@functools.cache
def exams() -> dict[str, Exam]:
    """Fux's twelve problems, and generated ones of which no agent has seen the cantus."""
    training: Any = make_task(ENV, **WORLD)
    unseen: Any = make_task(ENV, **UNSEEN)
    seen = {problem.cantus for problem in training.problems.problems}
    fresh = [i for i, problem in enumerate(unseen.problems.problems) if problem.cantus not in seen]
    chosen = [i for i in fresh if i // 2 % EVERY == 0]  # above and below
    return {
        "fux": exam_on(make_task(ENV, cantus="fux")),
        "unseen": exam_on(unseen, take_rows(unseen.starts(), chosen)),
    }


def scores(agent: Agent) -> dict[str, float]:
    """Mean score in each exam."""
    return {name: float(sit(agent, exam).score.mean()) for name, exam in exams().items()}


def vector_env(agent: str, config: dict[str, Any]) -> Any:
    """The cantus firmi that all train on, in as many rows as the agent asks for."""
    return TaskVectorEnv(ENV, make_config(agents.get(agent), config).num_envs, **WORLD)


def learner(agent: str, config: dict[str, Any], seed: int, folder: str) -> Any:
    """A new agent on the cantus firmi that all train on; what its teacher plans is kept in the folder."""
    made = make_agent(agent, vector_env(agent, config), **config, seed=seed)
    if hasattr(made, "teacher"):
        made.teacher.tables = plans_in(folder)
    return made


def race(
    agent: str, steps: int, every: int, config: dict[str, Any], seed: int, folder: str
) -> dict[str, Any]:
    """Train until the mean score has been `GOAL` in each exam, or for `steps`: the scores at each look.

    There is a look after at least `every` environment steps. `reached` has the steps at the first look at which the
    goal was reached, by exam; None where it was not.
    """
    looks: list[dict[str, float]] = []

    def look(agent: Any) -> bool:
        if not looks or agent.num_timesteps - looks[-1]["steps"] >= every:
            looks.append({"steps": agent.num_timesteps, **scores(agent)})
        return None in reached(looks).values()

    learner(agent, config, seed, folder).learn(steps, callback=look)
    return {"reached": reached(looks), "looks": looks}


def race_cloning(
    agent: str, lines: Sequence[int], config: dict[str, Any], seed: int, folder: str
) -> dict[str, Any]:
    """The same for a cloner, taught afresh with more and more lines; its steps are the notes that it was shown."""
    looks: list[dict[str, float]] = []
    for count in lines:
        cloner = learner(agent, {**config, "episodes": count}, seed, folder)
        steps = int(cloner.shown(cloner.collector).valid.sum())
        cloner.learn(EPOCHS * steps)
        looks.append({"steps": steps, **scores(cloner)})
        if None not in reached(looks).values():
            break
    return {"reached": reached(looks), "looks": looks}


def reached(looks: Sequence[dict[str, float]]) -> dict[str, int | None]:
    """Steps at the first look with the goal reached, by exam."""
    found = {name: [int(seen["steps"]) for seen in looks if seen[name] >= GOAL] for name in ("fux", "unseen")}
    return {name: steps[0] if steps else None for name, steps in found.items()}


def errors(method: str, lines: int, config: dict[str, Any], seed: int, folder: str) -> dict[str, Any]:
    """Errors of a learner that has had so many lines labelled, on its own path and on the teacher's.

    By position in the line (from the first): how many notes, how many wrong, and their cost; by length of the line: how
    many lines, and their regret. All exams together.
    """
    agent = learner("dagger", {**config, "num_envs": lines // ROUNDS}, seed, folder)
    count = 0

    def rounds(_: Any) -> bool:
        nonlocal count
        count += 1
        return count < ROUNDS

    agent.learn(10**9, callback=rounds)
    own = [sit(agent, exam) for exam in exams().values()]
    forced = [sit(agent, exam, np.random.default_rng(seed)) for exam in exams().values()]
    score = {name: float(paper.score.mean()) for name, paper in zip(exams(), own, strict=True)}
    return {"steps": agent.num_timesteps, "score": score, "own": tally(own), "forced": tally(forced)}


def jobs(seeds: Sequence[int]) -> list[Job]:
    """Every race and every comparison on every seed."""
    races = [
        Job(
            f"{agent} to {GOAL} seed {seed}",
            f"{__name__}:{work}",
            {"agent": agent, **arguments, "seed": seed},
            "plans",
        )
        for seed in seeds
        for agent, (work, arguments) in RACES.items()
    ]
    comparisons = [
        Job(
            f"{method} {lines} lines seed {seed}",
            f"{__name__}:errors",
            {"method": method, "lines": lines, "config": config, "seed": seed},
            "plans",
        )
        for seed in seeds
        for lines in LINES
        for method, config in METHODS.items()
    ]
    return races + comparisons


def tables(done: Sequence[Done], out: Path) -> list[Table]:
    """Steps to the goal, where dagger must be first on every seed; and errors against position, with a picture."""
    return [race_table(done), error_table(done, out)]


def race_table(done: Sequence[Done]) -> Table:
    """A row an agent and exam: on how many seeds it reached the goal, and after how many steps."""
    rows, data = [], []
    worst: dict[str, dict[str, float]] = {name: {} for name in EXAMS}
    best: dict[str, dict[str, float]] = {name: {} for name in EXAMS}
    own = [d for d in done if "agent" in d.job.arguments]
    for agent in RACES:
        found = [d for d in own if d.job.arguments["agent"] == agent]
        for name in EXAMS:
            steps = [d.value["reached"][name] for d in found if not d.error]
            there = [s for s in steps if s is not None]
            worst[name][agent] = max(there) if len(there) == len(found) and found else float("inf")
            best[name][agent] = min(there, default=float("inf"))
            mean, low, high = interval(there)
            spread = f"{mean:,.0f} ({between(low, high, ',.0f')})" if there else "-"
            last = [d.value["looks"][-1][name] for d in found if not d.error]
            rows.append(
                (
                    agent,
                    EXAMS[name],
                    f"{len(there)} of {len(found)}",
                    spread,
                    f"{max(there):,}" if there else "-",
                    f"{np.mean(last):.4f}" if last else "-",
                )
            )
            data.append({"agent": agent, "exam": name, "steps": steps, "last": last})
    met = all(worst[name]["dagger"] < min(best[name][agent] for agent in LEARNERS) for name in EXAMS)
    columns = ("agent", "exam", "reached", "steps (95 % interval)", "most", "last score")
    title = f"Counterpoint-v0: environment steps to a mean score of {GOAL}"
    return Table(title, columns, tuple(rows), data, met, errors_of(own))


def error_table(done: Sequence[Done], out: Path) -> Table:
    """A row a method and number of lines: regret on its own path and on the teacher's; the picture of the largest."""
    own = [d for d in done if "method" in d.job.arguments]
    rows, data = [], []
    results = {
        (method, lines): [
            d.value
            for d in own
            if not d.error and (d.job.arguments["method"], d.job.arguments["lines"]) == (method, lines)
        ]
        for method in METHODS
        for lines in LINES
    }
    for lines in LINES:
        for method in METHODS:
            found = results[method, lines]
            if not found:
                continue
            free, forced = ([a_line(value[path], "cost") for value in found] for path in ("own", "forced"))
            ratio = float(np.sum(free) / np.sum(forced))
            short, long = (float(np.mean([by_length(v["own"], *span) for v in found])) for span in SPANS)
            score = float(np.mean([value["score"]["unseen"] for value in found]))
            labels = float(np.mean([value["steps"] for value in found]))
            rows.append(
                (
                    f"{lines:,}",
                    f"{labels:,.0f}",
                    method,
                    _with_interval(free),
                    _with_interval(forced),
                    f"{ratio:.2f}",
                    f"{short:.3f}",
                    f"{long:.3f}",
                    f"{score:.4f}",
                )
            )
            data.append(
                {
                    "method": method,
                    "lines": lines,
                    "ratio": ratio,
                    "own": free,
                    "forced": forced,
                    "score": score,
                }
            )
    columns = (
        "lines", "labels", "method", "regret, own path", "regret, teacher's path", "ratio",
        "lines of 8 to 10", "lines of 12 to 14", "unseen score",
    )  # fmt: skip
    title = "Regret of a line, in the learner's own states and in the teacher's"
    largest = {method: results[method, LINES[-1]] for method in METHODS}
    files = draw(largest, LINES[-1], out) if all(largest.values()) else ()
    return Table(title, columns, tuple(rows), data, bool(rows), errors_of(own), files)


def _with_interval(values: Sequence[float]) -> str:
    mean, low, high = interval(values)
    return f"{mean:.3f} ({between(low, high, '.3f')})"


IMITATION = Study("imitation", jobs, tables)
"""Environment steps to 0.99 with a teacher and without, and whether errors add up along a line."""
