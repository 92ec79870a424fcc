"""Where jobs are carried out: processes here, a Ray cluster, a Slurm queue; the numbers are the same on each."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from descant.errors import DescantError, did_you_mean

from .work import Done, Job

POLL_SECONDS = 0.5
TRIES = 3
KINDS = {
    "local": ".executors_local:Local",
    "ray": ".executors_ray:Ray",
    "slurm": ".executors_slurm:Slurm",
}


@dataclass(frozen=True)
class Executor:
    """Which kind of machines: `local`, `ray` or `slurm`, and the address of those that are not started here."""

    kind: str = "local"
    address: str | None = None


LOCAL = Executor()


class Lost(Exception):
    """A worker went away before its job was done: killed, out of memory, its machine gone."""


class Backend(Protocol):
    """What a kind of executor has to know. A handle is hashable and stands for a job at work."""

    def __init__(self, out: Path, workers: int, address: str | None) -> None: ...

    def submit(self, job: Job) -> Any:
        """Begin a job; its handle."""

    def ready(self, handles: list[Any], seconds: float) -> list[Any]:
        """Those that have ended, after at most so many seconds."""

    def fetch(self, handle: Any, job: Job) -> Done:
        """How one that is ready ended; Lost where its worker went away."""

    def close(self, cut: bool) -> None:
        """Let workers go; with `cut`, some are still at work, and are asked to save and leave."""


def check_executor(executor: Executor) -> None:
    """DescantError for an executor there isn't, or an address that it can't have."""
    if executor.kind not in KINDS:
        raise DescantError(f"Unknown executor {executor.kind!r}.{did_you_mean(executor.kind, list(KINDS))}")
    if executor.kind == "local" and executor.address is not None:
        raise DescantError("--address is of a cluster: give --executor ray or slurm too, or leave it out.")


def execute(
    jobs: Sequence[Job], out: Path, workers: int = 2, executor: Executor = LOCAL
) -> Generator[Done | None, None, None]:
    """Carry out jobs, `workers` at a time; each as it ends, and None now and then while nothing does.

    A job whose worker was lost is begun again, `TRIES` times in all. Close the generator to stop early: local
    workers save first. DescantError, at once, where there is no such executor or it can't be reached.
    """
    check_executor(executor)
    module, _, name = KINDS[executor.kind].partition(":")
    kind: type[Backend] = getattr(import_module(module, __package__), name)
    backend = kind(out, workers, executor.address) if jobs else None
    return _carry_out(deque((job, 1) for job in jobs), workers, backend)


def _carry_out(
    waiting: deque[tuple[Job, int]], workers: int, backend: Backend | None
) -> Generator[Done | None, None, None]:
    if backend is None:
        return
    at_work: dict[Any, tuple[Job, int]] = {}
    try:
        while waiting or at_work:
            while waiting and len(at_work) < workers:
                at_work[backend.submit(waiting[0][0])] = waiting[0]
                waiting.popleft()
            for handle in backend.ready(list(at_work), POLL_SECONDS):
                job, tried = at_work.pop(handle)
                try:
                    yield backend.fetch(handle, job)
                except Lost as lost:
                    if tried < TRIES:
                        waiting.appendleft((job, tried + 1))
                    else:
                        yield Done(job, None, 0.0, f"its worker was lost {TRIES} times: {lost}")
            yield None
    finally:
        backend.close(cut=bool(waiting or at_work))
