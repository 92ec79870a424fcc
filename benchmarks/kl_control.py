"""`bench kl-control`: what tuning on a reward forgets of its prior, and what holds it back.

One prior, learned from legal lines of counterpoint; one agent, tuned from it on the reward `fux` with the same budget:
by plain reward maximisation, with weights held (l2-sp, ewc), or with the KL to the prior taken from the reward.
Measured beside the exact frontier, for generated cantus firmi on others than were learned from. The bar: no other
method has more reward than KL control of the same seed at the same KL (`reward_at`), beyond the interval over seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium

from descant.makers import make_agent

from .jobs import Done, Job
from .kl_frontier import Point, exact_points, reward_at
from .kl_measure import measure
from .kl_picture import draw
from .kl_prior import ENV, load_prior, measured_on, prior_in, world_options
from .studies import Study, Table, errors_of, give_or_take, interval

AGENT = "reinforce"
WORLDS = {"generated": 300_000, "dorian": 100_000}  # and environment steps to tune on each
PRIOR: dict[str, Any] = {
    "pool": 1024,
    "lines": 65_536,
    "held_out": 24,
    "held_out_lines": 2048,
    "lines_played": 6144,
    "hidden": [256, 256],
    "batch_size": 64,
    "learning_rate": 1e-3,
    "patience": 2,
    "epochs": 30,
    "seed": 0,
    "worlds": list(WORLDS),
}
TUNING: dict[str, Any] = {
    "num_envs": 256,
    "learning_rate": 1e-3,
    "gamma": 1.0,
    "ent_coef": 0.0,
    "ent_coef_final": 0.0,
    "hidden": PRIOR["hidden"],
}
CS = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.0003)
TARGET = {"kl_coef": 0.03, "kl_target": 0.1, "kl_gain": 0.5}
# Method, what is varied, and the agent's options.
METHODS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("none", "", {}),
    *(("l2-sp", f"{x:g}", {"penalty": "l2-sp", "penalty_coef": x}) for x in (0.01, 0.1, 1.0)),
    *(("ewc", f"{x:g}", {"penalty": "ewc", "penalty_coef": x}) for x in (10.0, 100.0, 1000.0)),
    *(("KL", f"c = {c:g}", {"kl_coef": c}) for c in CS),
    ("KL", "to 0.1 a note", TARGET),
)
EXACT = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 1e-3, 3e-4, 1e-4, 3e-5)
SAMPLED = tuple(f"kl_k{i}{end}" for i in (1, 2, 3) for end in ("", "_se"))
METER = ("kl", "entropy", "prior_log_prob", "return", "kl_coef", *SAMPLED)
COLUMNS = (
    "method", "strength", "seeds", "reward a line", "score", "legal", "KL a line", "KL a note", "log p a note",
    "entropy", "held-out NLL", "distinct", "above KL control",
)  # fmt: skip
MEASURES = (
    ("reward", 3), ("score", 4), ("legal", 3), ("kl_per_line", 3), ("kl", 4), ("prior_log_prob", 3), ("entropy", 3),
    ("heldout_nll", 3), ("distinct", 3),
)  # fmt: skip


class MeterCheck:
    """A tracker that counts the records which lack a field of the KL meter."""

    def __init__(self) -> None:
        self.records = self.lacking = 0

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Look at one record."""
        self.records += 1
        self.lacking += any(name not in values for name in METER)

    def sync(self) -> None:
        """Nothing is written."""

    def close(self) -> None:
        """Nothing is open."""


def tune_one(
    world: str, steps: int, config: dict[str, Any], prior: dict[str, Any], seed: int, folder: str
) -> dict[str, float]:
    """Tune the prior once: what `measure` says of it, and how many records of its log lack the KL meter."""
    said, check = prior_in(folder, prior), MeterCheck()
    env = gymnasium.make_vec(ENV, num_envs=config["num_envs"], **world_options(world, prior))
    agent = make_agent(AGENT, env, **config, init=said["path"], prior=said["path"], seed=seed)
    agent.learn(steps, tracker=check)  # type: ignore[arg-type]
    logged = {"records": check.records, "lacking": check.lacking}
    return measure(agent, said, world, prior, seed) | logged


def prior_facts(prior: dict[str, Any], folder: str) -> dict[str, Any]:
    """Make the prior; its likelihood of held-out lines beside those of chance and of the truth."""
    return prior_in(folder, prior)


def frontier(world: str, cs: list[float], prior: dict[str, Any], folder: str) -> list[Point]:
    """The exact frontier of a world: KL and reward of the prior, then of the optimum at each c."""
    return exact_points(load_prior(prior_in(folder, prior)), *measured_on(world, prior), cs)


def untuned(world: str, prior: dict[str, Any], folder: str) -> dict[str, float]:
    """What `measure` says of the prior itself."""
    said = prior_in(folder, prior)
    return measure(load_prior(said), said, world, prior, 0)


def jobs(seeds: Sequence[int]) -> list[Job]:
    """The prior first, then what is exact, then every method on every seed."""
    shared: dict[str, Any] = {"prior": PRIOR}
    made = [_job("prior", "prior_facts", shared)]
    for world in WORLDS:
        made.append(
            _job(f"{world}: exact frontier", "frontier", {"world": world, "cs": list(EXACT), **shared})
        )
        made.append(_job(f"{world}: the prior", "untuned", {"world": world, **shared}))
    for seed in seeds:
        for world, steps in WORLDS.items():
            for method, strength, options in METHODS:
                told = {"world": world, "steps": steps, "config": TUNING | options, "seed": seed, **shared}
                made.append(_job(f"{world}: {method} {strength} seed {seed}", "tune_one", told))
    return made


def _job(title: str, work: str, arguments: dict[str, Any]) -> Job:
    return Job(title, f"{__name__}:{work}", arguments, shares="priors")


def tables(done: list[Done], out: Path) -> list[Table]:
    """The prior, and for each world a table of all methods and a picture."""
    failed = errors_of(done)
    by = {(d.job.work.partition(":")[2], d.job.arguments.get("world")): d for d in done}
    found = [_prior_table(by[("prior_facts", None)])]
    for world in WORLDS:
        runs = [d for d in done if d.job.work.endswith(":tune_one") and d.job.arguments["world"] == world]
        found.append(world_table(world, runs, by[("untuned", world)], by[("frontier", world)], out))
    found[0] = Table(**{**vars(found[0]), "failed": failed, "met": found[0].met and not failed})
    return found


def _prior_table(done: Done) -> Table:
    """The prior's likelihood of held-out lines, which must beat that of chance."""
    columns = ("", "nats a note")
    if done.error:
        return Table("The prior", columns, (), None, False)
    names = {"uniform over the range": "nll_of_chance", "the prior": "nll", "the truth": "nll_at_best"}
    rows = tuple((name, f"{done.value[key]:.3f}") for name, key in names.items())
    data = {key: done.value[key] for key in ("epochs", "notes", *names.values())}
    title = "The prior: negative log-likelihood of held-out legal lines"
    return Table(title, columns, rows, data, done.value["nll"] < done.value["nll_of_chance"])


def world_table(world: str, runs: list[Done], prior: Done, exact: Done, out: Path) -> Table:
    """A row a method and strength, the prior first; what KL control is compared with, and a picture."""
    rows, data, met = [], [], not (prior.error or exact.error)
    if prior.value:
        values = (f"{prior.value[name]:.{digits}f}" for name, digits in MEASURES)
        rows.append(("the prior", "", "", *values, ""))
    start: Point = (0.0, exact.value[0][1]) if exact.value else (0.0, float("-inf"))
    fronts = {seed: [start, *points] for seed, points in controlled(runs).items()}
    for method, strength, options in METHODS:
        own = [d for d in runs if d.job.arguments["config"] == TUNING | options]
        fine = {d.job.arguments["seed"]: d.value for d in own if not d.error}
        entry = {name: interval([v[name] for v in fine.values()]) for name, _ in MEASURES}
        above = interval(margins(fine, fronts)) if method != "KL" else None
        missed = (
            len(fine) < len(own)
            or any(v["lacking"] for v in fine.values())
            or bool(above and not above[1] <= 0)
        )
        met = met and not missed
        seeds = f"{len(fine)}" + (f" + {len(own) - len(fine)} failed" if len(fine) < len(own) else "")
        cells = (spread(entry[name], digits) for name, digits in MEASURES)
        verdict = "" if above is None else spread(above, 3)
        rows.append((method, strength, seeds, *cells, verdict + ("  MISSED" if missed else "")))
        data.append({"method": method, "strength": strength, "seeds": fine, "above": above, "mean": entry})
    picture = {"prior": prior.value, "exact": exact.value, "methods": data}
    files = draw(world, picture, out)
    return Table(f"Tuned on {world}", COLUMNS, tuple(rows), picture, met, (), files)


def controlled(runs: list[Done]) -> dict[int, list[Point]]:
    """KL and reward of each run of KL control with a fixed c, by seed."""
    found: dict[int, list[Point]] = {}
    fixed = [TUNING | {"kl_coef": c} for c in CS]
    for d in runs:
        if not d.error and d.job.arguments["config"] in fixed:
            point = (d.value["kl_per_line"], d.value["reward"])
            found.setdefault(d.job.arguments["seed"], []).append(point)
    return found


def margins(fine: Mapping[int, Mapping[str, float]], fronts: Mapping[int, list[Point]]) -> list[float]:
    """For each seed, by how much a run's reward is above that of KL control of the same seed at the same KL."""
    return [
        value["reward"] - reward_at(fronts[seed], value["kl_per_line"])
        for seed, value in fine.items()
        if seed in fronts
    ]


def spread(found: tuple[float, float, float], digits: int) -> str:
    """Mean and half the 95 % interval."""
    return give_or_take(*found, digits)


KL_CONTROL = Study("kl-control", jobs, tables)
"""Plain reward maximisation, penalties on weights and KL control, from one prior: reward against KL."""
