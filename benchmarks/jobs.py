"""Many small measurements: processes of one thread each, every result kept, what is done skipped the next time."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from descant.errors import DescantError
from descant.files import write_atomically
from descant.runs.digests import content_hash
from descant.version import __version__

from .board import Board

POLL_SECONDS = 0.5
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Job:
    """One measurement: `work`, a function "module:name", called with `arguments`; these and its result are JSON.

    With `shares`, the work is also told `folder`, OUT/shares: where jobs leave each other what takes long to make.
    """

    title: str
    work: str
    arguments: dict[str, Any]
    shares: str = ""

    @property
    def key(self) -> str:
        """A hash of all that decides the result."""
        return content_hash({"work": self.work, "arguments": self.arguments, "version": __version__})[:12]


@dataclass(frozen=True)
class Done:
    """How a job ended: its value, or the error where it failed, and the seconds it took."""

    job: Job
    value: Any
    seconds: float
    error: str = ""


def run_jobs(jobs: Sequence[Job], out: Path, workers: int = 2) -> list[Done]:
    """Run what is not done yet, `workers` at a time; results in the order of the jobs.

    Each result is written to out/jobs when it is there, so that a stopped benchmark goes on. What failed is reported,
    not dropped, and tried again the next time. On Ctrl-C the jobs at work are lost, no other.
    """
    found = {job.key: done for job in jobs if (done := _read(job, out)) is not None}
    waiting = {job.key: job for job in jobs if job.key not in found}
    with Board([("benchmark", len({job.key for job in jobs}))]) as board:
        board.update(0, len(found))
        if waiting:
            write_atomically(out / "jobs" / ".writable", b"")  # refuse before the work, not after
            for done in _results(list(waiting.values()), out, workers):
                _write(done, out)
                found[done.job.key] = done
                board.update(0, len(found))
    return [found[job.key] for job in jobs]


def call(job: Job, out: Path = Path()) -> Done:
    """Run one job in this process."""
    import torch

    torch.set_num_threads(1)
    module, _, name = job.work.partition(":")
    told = {"folder": str(out / job.shares)} if job.shares else {}
    begin = time.perf_counter()
    try:
        value, error = getattr(import_module(module), name)(**job.arguments, **told), ""
    except Exception as failure:
        value, error = None, f"{type(failure).__name__}: {failure}"
    return Done(job, value, time.perf_counter() - begin, error)


def _results(jobs: Sequence[Job], out: Path, workers: int) -> Iterator[Done]:
    """Results as they come. A worker that is killed fails the jobs that were left, not the benchmark."""
    with _one_thread(), ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        futures: dict[Future[Done], Job] = {pool.submit(call, job, out): job for job in jobs}
        try:
            while futures:
                for future in wait(futures, POLL_SECONDS, "FIRST_COMPLETED").done:
                    job = futures.pop(future)
                    error = future.exception()
                    yield (
                        future.result()
                        if error is None
                        else Done(job, None, 0.0, f"{type(error).__name__}: {error}")
                    )
        except BaseException:
            workers_left = list((pool._processes or {}).values())
            pool.shutdown(wait=False, cancel_futures=True)
            for process in workers_left:
                process.terminate()
            raise


@contextmanager
def _one_thread() -> Iterator[None]:
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


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
    }
    write_atomically(_path(done.job, out), (json.dumps(record, indent=1) + "\n").encode())
