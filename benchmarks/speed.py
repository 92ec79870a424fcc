"""`bench speed`: performance as ratios, each measured in one process on one machine, with a bar where there is one.

A part is a job: it is measured alone, kept, and not measured again in the same folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from .jobs import Done, Job
from .preference_speed import given
from .speed_rows import COLUMNS, Row, as_data, from_data
from .studies import Study, Table, errors_of
from .training_speed import ENVS, SETTINGS, training_tables

TRAINING = "training"
FITTING = "reward models"
PARTS = {
    "environments": "speed_environments",
    "programs": "speed_programs",
    "rewards": "bleu_speed",
    "translators": "translation_speed",
    FITTING: "preference_speed",
    "memory": "speed_memory",
    "workers": "speed_workers",
}
"""What is measured, and the module whose `measure` does."""


def measured(part: str, **arguments: Any) -> list[dict[str, Any]]:
    """The rows of a part, as JSON."""
    module = import_module(f".{PARTS.get(part, 'training_speed')}", __package__)
    return as_data(module.measure(**arguments))


def jobs(seeds: Sequence[int], imitation: Path | None = None) -> list[Job]:
    """A job for each part, and for each agent and environment that is trained. Seeds are the parts' own."""
    told: dict[str, dict[str, Any]] = {part: {} for part in PARTS}
    told[FITTING] = {"python": None if imitation is None else given(imitation)}
    made = [_job(part, part, arguments) for part, arguments in told.items()]
    pairs = [(setting.name, env) for setting in SETTINGS for env in ENVS]
    return made + [_job(f"{s}, {env}", TRAINING, {"setting": s, "env": env}) for s, env in pairs]


def _job(title: str, part: str, arguments: dict[str, Any]) -> Job:
    return Job(title, f"{__name__}:{measured.__name__}", {"part": part, **arguments})


def tables(done: list[Done], out: Path) -> list[Table]:
    """A table for each part, and two of training: speeds, and where our time goes."""
    parts: dict[str, list[list[Row]]] = {}
    for d in done:
        if not d.error:
            parts.setdefault(d.job.arguments["part"], []).append(from_data(d.value))
    trained = parts.pop(TRAINING, [])
    found = [_table(part, rows) for part, (rows,) in parts.items()] + training_tables(trained)
    failed = errors_of(done)
    last = Table("what could not be measured", ("what",), (), None, met=False, failed=failed)
    return [*found, last] if failed else found


def _table(part: str, rows: list[Row]) -> Table:
    shown = tuple(row.shown for row in rows)
    return Table(f"speed: {part}", COLUMNS, shown, as_data(rows), met=all(row.met for row in rows))


SPEED = Study("speed", jobs, tables, seeds=1, options=("imitation",), alone=True)
"""Steps, sentences and tokens a second beside what others have; memory; what workers are worth."""
