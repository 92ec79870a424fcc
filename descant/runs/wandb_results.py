"""A finished run for Weights & Biases, offline: its numbers, what it wrote to read, see and hear, its checkpoint."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .mirrors import WandbTracker

MEDIA = {"wav": "sound", "svg": "engraved", "png": "piano roll"}
"""Columns of the table of samples by the kind of file."""
DONE = "complete"


@dataclass(frozen=True)
class Sample:
    """One thing that was written: what is said of it, by column, and its files."""

    values: Mapping[str, float | str]
    files: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Finished:
    """A run that has ended: `records` are those of metrics.jsonl, `summary` its final figures."""

    folder: Path
    name: str
    group: str
    job_type: str
    config: Mapping[str, Any]
    records: Sequence[Mapping[str, Any]]
    samples: Sequence[Sample]
    summary: Mapping[str, float]
    checkpoint: Path | None = None


def write_finished(run: Finished, project: str = "descant") -> bool:
    """Leave the run as an offline session in its folder's wandb/; False where it is there already.

    A session that was cut off is written anew. Nothing touches the network; files of artefacts stay where they are, so
    they must be there still when the session is uploaded.
    """
    home = run.folder / "wandb"
    if (home / DONE).exists():
        return False
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    with _staging_in(home / "data"), _tracker(run, project) as tracker:
        for record in run.records:
            values = {name: _number(value) for name, value in record.items() if name not in ("step", "time")}
            tracker.log(record["step"], values)
        last = run.records[-1]["step"] if run.records else 0
        if run.samples:
            tracker.run.log({"step": last, "samples": table_of(run.samples)}, step=len(run.records))
        _log_files(tracker.run, f"midi-{run.name}", "midi", _files(run.samples, "mid"))
        if run.checkpoint is not None:
            _log_files(tracker.run, f"checkpoint-{run.name}", "model", sorted(run.checkpoint.iterdir()))
        tracker.run.summary.update(dict(run.summary))
    (home / DONE).touch()
    return True


def table_of(samples: Sequence[Sample]) -> Any:
    """A W&B table: a row a sample, its values, then what can be heard and seen."""
    import wandb

    names = list(dict.fromkeys(name for sample in samples for name in sample.values))
    kinds = [kind for kind in MEDIA if _files(samples, kind)]
    rows = [
        [*(sample.values.get(name) for name in names), *(_media(sample, kind) for kind in kinds)]
        for sample in samples
    ]
    return wandb.Table(columns=[*names, *(MEDIA[kind] for kind in kinds)], data=rows)


def _media(sample: Sample, kind: str) -> Any:
    """The sample's file of a kind as W&B shows it; an engraving, which is SVG, as a page."""
    import wandb

    for file in _files([sample], kind):
        if kind == "svg":
            return wandb.Html(file.read_text(encoding="utf-8"), inject=False)
        return wandb.Audio(str(file)) if kind == "wav" else wandb.Image(str(file))
    return None


def _files(samples: Sequence[Sample], kind: str) -> list[Path]:
    return [file for sample in samples for file in sample.files if file.suffix == f".{kind}"]


def _log_files(run: Any, name: str, kind: str, files: Sequence[Path]) -> None:
    """An artefact of files, which are not copied."""
    import wandb

    if not files:
        return
    artifact = wandb.Artifact(name, kind)
    for file in files:
        artifact.add_file(str(file), policy="immutable", skip_cache=True)
    run.log_artifact(artifact)


def _tracker(run: Finished, project: str) -> WandbTracker:
    project = os.environ.get("WANDB_PROJECT") or project
    return WandbTracker(
        run.folder, project, run.name, run.group, run.job_type, run.config, mode="offline", first_record=0
    )


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


@contextlib.contextmanager
def _staging_in(folder: Path) -> Iterator[None]:
    """Have W&B copy media to a folder of the run and not to the user's, so that all lies in one place."""
    before = os.environ.get("WANDB_DATA_DIR")
    os.environ["WANDB_DATA_DIR"] = str(folder)
    try:
        yield
    finally:
        os.environ.pop("WANDB_DATA_DIR") if before is None else os.environ.update(WANDB_DATA_DIR=before)
