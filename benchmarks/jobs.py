"""Many small measurements: carried out by an executor, every result kept, what is done skipped the next time."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from descant.errors import DescantError
from descant.files import write_atomically

from .board import Board
from .executors import LOCAL, Executor, execute
from .work import Done as Done  # studies take these from here
from .work import Job as Job
from .work import call as call


def run_jobs(jobs: Sequence[Job], out: Path, workers: int = 2, executor: Executor = LOCAL) -> list[Done]:
    """Run what is not done yet, `workers` at a time; results in the order of the jobs.

    Each result is written to out/jobs when it is there, so that a stopped benchmark goes on. What failed is reported,
    not dropped, and tried again the next time. On Ctrl-C the jobs at work are lost, no other.
    """
    found = {job.key: done for job in jobs if (done := _read(job, out)) is not None}
    waiting = {job.key: job for job in jobs if job.key not in found}
    if waiting:
        write_atomically(out / "jobs" / ".writable", b"")  # refuse before the work, not after
    with (
        closing(execute(list(waiting.values()), out, workers, executor)) as results,
        Board([("benchmark", len({job.key for job in jobs}))]) as board,
    ):
        board.update(0, len(found))
        for done in results:
            if done is not None:
                _write(done, out)
                found[done.job.key] = done
                board.update(0, len(found))
    return [found[job.key] for job in jobs]


def is_kept(job: Job, out: Path) -> bool:
    """Whether the job has a result, and won't run again."""
    return _read(job, out) is not None


def _path(job: Job, out: Path) -> Path:
    return out / "jobs" / f"{job.key}.json"


def _read(job: Job, out: Path) -> Done | None:
    """What is kept of a job that did not fail."""
    try:
        kept = json.loads(_path(job, out).read_text())
    except OSError:
        return None
    except ValueError as error:
        raise DescantError(f"{_path(job, out)} can't be read ({error}): delete it and try again.") from error
    return None if kept["error"] else Done(job, kept["value"], kept["seconds"])


def _write(done: Done, out: Path) -> None:
    record = dataclasses.asdict(done.job) | {
        "value": done.value,
        "seconds": done.seconds,
        "error": done.error,
        "trace": done.trace,
    }
    write_atomically(_path(done.job, out), (json.dumps(record, indent=1) + "\n").encode())
