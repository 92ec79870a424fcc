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
from .translation_worlds import GRAMMAR, KEPT, Settings, pairs_world


def jobs(seeds: Sequence[int], data: Path | None = None) -> list[Job]:
    """World by world, the pairs first, and seed by seed: priors, then what is tuned of them."""
    worlds = [GRAMMAR] if data is None else [pairs_world(data), GRAMMAR]
    return [job for world in worlds for job in jobs_of(world, seeds)]


def jobs_of(world: Settings, seeds: Sequence[int]) -> list[Job]:
    """Those of one world: its first model with every method, with KL and without, then its other models."""
    first, *others = world["models"]
    made = []
    for model, priors, methods in (
        (first, ["cross-entropy"], world["methods"]),
        *((other, list(world["priors"]), ["mixer"]) for other in others),
    ):
        for seed in seeds:
            told = {"world": world, "model": model, "seed": seed}
            made += [_job("pretrained", told | {"prior": prior}) for prior in priors]
        for method in methods:
            for kept in (False, True) if method in KEPT and model == first else (False,):
                for seed in seeds:
                    told = {"world": world, "model": model, "seed": seed}
                    made.append(_job("tuned", told | {"method": method, "kept": kept}))
    return made


def _job(work: str, arguments: dict[str, Any]) -> Job:
    what = arguments.get("prior") or arguments["method"] + (", KL" if arguments["kept"] else "")
    title = f"{arguments['world']['name']}, {arguments['model']}: {what} seed {arguments['seed']}"
    return Job(title, f"{__package__}.translation_runs:{work}", arguments, shares="runs")


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
    if not found:
        return [Table("translation", (), (), [], False, failed, report)]
    last = dataclasses.replace(
        found[0], failed=failed, met=found[0].met and not failed, files=(*pictures, *report)
    )
    return [last, *found[1:]]


TRANSLATION = Study("translation", jobs, tables, seeds=3, options=("data",))
"""Translation: cross-entropy, then BLEU; exposure bias, forgetting, cheated rewards, a constant reward."""
