"""The unit that executors carry out: a function by name with arguments that are JSON, and what came of it."""

from __future__ import annotations

import dataclasses
import json
import time
import traceback
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from descant.runs.digests import content_hash
from descant.version import __version__


@dataclass(frozen=True)
class Job:
    """One measurement: `work`, a function "module:name", called with `arguments`; these and its result are JSON.

    With `shares`, the work is also told `folder`, OUT/shares: where jobs leave each other what takes long to make.
    `files` below OUT are what else it leaves. Both travel where the disk is another's.
    """

    title: str
    work: str
    arguments: dict[str, Any]
    shares: str = ""
    files: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """A hash of all that decides the result."""
        return content_hash({"work": self.work, "arguments": self.arguments, "version": __version__})[:12]


@dataclass(frozen=True)
class Done:
    """How a job ended: its value, or where it failed the error in a line and the traceback; the seconds it took."""

    job: Job
    value: Any
    seconds: float
    error: str = ""
    trace: str = ""


def call(job: Job, out: Path = Path()) -> Done:
    """Run one job in this process."""
    import torch

    torch.set_num_threads(1)
    module, _, name = job.work.partition(":")
    told = {"folder": str(out / job.shares)} if job.shares else {}
    begin = time.perf_counter()
    try:
        value = getattr(import_module(module), name)(**job.arguments, **told)
        json.dumps(value)  # what is no JSON is the job's mistake, and found here
        error = trace = ""
    except (Exception, SystemExit) as failure:
        value, error = None, f"{type(failure).__name__}: {failure}"
        trace = "".join(traceback.format_exception(failure))
    return Done(job, value, time.perf_counter() - begin, error, trace)


def order(job: Job) -> str:
    """A job as a line of JSON."""
    return json.dumps(dataclasses.asdict(job))


def ordered(line: str) -> Job:
    """The job of such a line."""
    told = json.loads(line)
    return Job(**told | {"files": tuple(told["files"])})


def answer(done: Done) -> str:
    """How a job ended, as a line of JSON."""
    return json.dumps([done.value, done.seconds, done.error, done.trace])


def answered(job: Job, line: str) -> Done:
    """What such a line says of a job."""
    return Done(job, *json.loads(line))
