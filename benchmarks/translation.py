"""`bench translation`: models learned from references and tuned by BLEU; what is gained, forgotten and cheated.

Worlds: the built-in grammar, whose correct translations are all known, and, given `--data FOLDER`, pairs of one's own
(Multi30k, say). In each a prior is learned by cross-entropy, then tuned by agents with and without a cost of leaving
it, by rewards that can be cheated, and by a constant one, which tells nothing. Settings are in `translation_worlds`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .jobs import Done, Job
from .studies import Study, Table, errors_of
from .translation_picture import draw
from .translation_report import write_report
from .translation_tables import Row, bars, cheated, exposed, results, rows_of
from .translation_worlds import GRAMMAR, METHODS, PRIORS, Settings, pairs_world


def jobs(seeds: Sequence[int], data: Path | None = None) -> list[Job]:
    """World by world, the pairs first, and seed by seed: priors, then what is tuned of them."""
    worlds = [GRAMMAR] if data is None else [pairs_world(data), GRAMMAR]
    return [job for world in worlds for job in jobs_of(world, seeds[: world.get("seeds")])]


def jobs_of(world: Settings, seeds: Sequence[int]) -> list[Job]:
    """Those of one world: its models, learned in each way, then tuned by each method, with KL and without."""
    return [
        make(world, model, name, kept, seed)
        for model, settings in world["models"].items()
        for make, name, kept in (
            *((_learned, name, False) for name in settings["priors"]),
            *(
                (_tuned, name, kept)
                for name in settings["methods"]
                for kept in (False, True)[: 1 + (name in settings["kept"])]
            ),
        )
        for seed in seeds
    ]


def _learned(world: Settings, model: str, prior: str, kept: bool, seed: int) -> Job:
    """The job of a model that is learned from references."""
    told = _told(world, model, seed) | {"prior": prior, "own": PRIORS[prior]}
    return _job("pretrained", prior, told)


def _tuned(world: Settings, model: str, method: str, kept: bool, seed: int) -> Job:
    """The job of a model that is tuned by one of METHODS."""
    agent, own, reward = METHODS[method]
    usual, other = world["tune"], world["models"][model].get("tune", {})
    tune = usual | other | {"config": usual["config"] | other.get("config", {})}
    told = _told(world, model, seed) | {"method": method, "kept": kept}
    told |= {"agent": agent, "own": own, "reward": reward, "tune": tune}
    return _job("tuned", method + (", KL" if kept else ""), told)


def _told(world: Settings, model: str, seed: int) -> dict[str, Any]:
    """What decides what becomes of a model, and nothing of other models, whose jobs shall stay the same."""
    learned = {name: world["models"][model][name] for name in ("network", "pretrain", "passes")}
    kept = {name: world[name] for name in ("name", "env", "tested", "text") if name in world}
    return {"world": kept, "model": model, "learned": learned, "seed": seed}


def _job(work: str, what: str, told: dict[str, Any]) -> Job:
    title = f"{told['world']['name']}, {told['model']}: {what} seed {told['seed']}"
    return Job(title, f"{__package__}.translation_runs:{work}", told, shares="runs")


def tables(done: list[Done], out: Path) -> list[Table]:
    """Of each world what was gained, the bars, where errors are, what was cheated; a picture and a report."""
    worlds: dict[str, list[Row]] = {}
    for row in rows_of(done):
        worlds.setdefault(row.world["name"], []).append(row)
    found = [
        table
        for rows in worlds.values()
        for table in (results(rows), bars(rows), exposed(rows), cheated(rows))
        if table.rows
    ]
    failed = errors_of(done)
    pictures = draw(worlds, out)
    report = write_report(found, worlds, pictures, failed, out)
    files = (*(file for each in pictures.values() for file in each), *report)
    if not found:
        return [Table("translation", (), (), [], False, failed, report)]
    last = dataclasses.replace(found[0], failed=failed, met=found[0].met and not failed, files=files)
    return [last, *found[1:]]


TRANSLATION = Study("translation", jobs, tables, seeds=5, options=("data",))
"""Translation: cross-entropy, then BLEU; exposure bias, forgetting, cheated rewards, a constant reward."""
