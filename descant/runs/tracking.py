"""Trackers: where a run's numbers go. metrics.jsonl is the truth; the dashboards mirror it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence

from ..errors import DescantError, did_you_mean
from .folders import RunFolder
from .metrics import MetricsFile
from .mirrors import TensorBoardTracker, WandbTracker
from .trackers import Tracker

__all__ = ["JsonlTracker", "MultiTracker", "TensorBoardTracker", "Tracker", "WandbTracker", "make_tracker"]

BACKENDS = ("jsonl", "tensorboard", "wandb")


class JsonlTracker(Tracker):
    """Appends each record to a `MetricsFile`."""

    def __init__(self, file: MetricsFile) -> None:
        self.file = file

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.file.append(step, values)

    def sync(self) -> None:
        self.file.sync()

    def close(self) -> None:
        self.file.close()


class MultiTracker(Tracker):
    """Hands every record to each of its trackers, the truth first."""

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self.trackers = tuple(trackers)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for tracker in self.trackers:
            tracker.log(step, values)

    def sync(self) -> None:
        for tracker in self.trackers:
            tracker.sync()

    def close(self) -> None:
        with contextlib.ExitStack() as stack:  # one that fails to close must not keep the others open
            for tracker in self.trackers:
                stack.callback(tracker.close)


def check_backends(backends: Sequence[str]) -> None:
    """DescantError for a backend that `make_tracker` does not know."""
    for backend in backends:
        if backend not in BACKENDS:
            raise DescantError(f"unknown tracker {backend!r}.{did_you_mean(backend, BACKENDS)}")


def make_tracker(
    run: RunFolder,
    backends: Sequence[str] = ("jsonl",),
    resume_step: int | None = None,
    *,
    project: str = "descant",
    group: str | None = None,
    job_type: str | None = None,
) -> MultiTracker:
    """A tracker for the run: metrics.jsonl always, and the mirrors named: `tensorboard`, `wandb`.

    `resume_step` is the checkpoint's step: what was logged after it is dropped. The other arguments are W&B's
    (`WANDB_PROJECT`, where set, wins over `project`; the job type is the agent unless another is given, the group
    what `WANDB_RUN_GROUP` says). DescantError for an unknown backend.
    """
    file: MetricsFile
    mirrors: dict[str, Callable[[], Tracker]] = {
        "tensorboard": lambda: TensorBoardTracker(run.path / "tensorboard", resume_step),
        "wandb": lambda: WandbTracker(
            run.path, os.environ.get("WANDB_PROJECT") or project, run.path.name, group,
            job_type or run.config.get("agent"), run.config, first_record=file.count,
        ),
    }  # fmt: skip
    check_backends(backends)
    file = MetricsFile(run.metrics_path)
    if resume_step is not None:
        file.truncate(resume_step)
    wanted = [mirrors[name] for name in mirrors if name in backends]
    with contextlib.ExitStack() as opened:  # so that a mirror that can't begin leaves none open
        trackers: list[Tracker] = [opened.enter_context(JsonlTracker(file))]
        trackers += [opened.enter_context(make()) for make in wanted]
        opened.pop_all()
    return MultiTracker(trackers)
