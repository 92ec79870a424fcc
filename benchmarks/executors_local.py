"""Jobs in processes of this machine: one thread each, used again for the next job.

Where every core has a worker, each keeps to one of its own. Where fewer work, the kernel chooses: a worker that may not
leave a core that others use would wait beside an idle one.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from multiprocessing.connection import wait
from pathlib import Path
from signal import Signals

from .executors import Lost
from .work import Done, Job, answered, order

PATIENCE_SECONDS = 60.0  # for workers to save after Ctrl-C
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

Worker = subprocess.Popen[str]


class Local:
    """Starts a worker for each job at work; they speak lines of JSON over pipes."""

    def __init__(self, out: Path, workers: int, address: str | None) -> None:
        self.out = out
        self.pinned = workers >= cores()
        self.workers: list[Worker] = []
        self.idle: list[Worker] = []

    def submit(self, job: Job) -> Worker:
        """Give a job to an idle worker, or to a new one."""
        living = [worker for worker in self.idle if worker.poll() is None]
        worker = living.pop() if living else self._start()
        self.idle = living
        assert worker.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has gone: `fetch` will find out
            worker.stdin.write(order(job) + "\n")
            worker.stdin.flush()
        return worker

    def ready(self, handles: list[Worker], seconds: float) -> list[Worker]:
        """Workers that have said something, or have gone."""
        streams = {worker.stdout: worker for worker in handles}
        return [streams[stream] for stream in wait(list(streams), seconds)]  # type: ignore[arg-type, index]

    def fetch(self, handle: Worker, job: Job) -> Done:
        """What a worker said."""
        assert handle.stdout is not None
        line = handle.stdout.readline()
        if not line.endswith("\n"):
            raise Lost(_how(handle.wait()))
        self.idle.append(handle)
        return answered(job, line)

    def close(self, cut: bool) -> None:
        """Idle workers leave when their orders end. Others save first (a terminal's Ctrl-C has asked them already)."""
        for worker in self.workers:
            if cut:
                worker.terminate()
            assert worker.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                worker.stdin.close()
        for worker in self.workers:
            try:
                worker.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
            assert worker.stdout is not None
            worker.stdout.close()

    def _start(self) -> Worker:
        worker = subprocess.Popen(
            [
                sys.executable,
                "-m",
                f"{__package__}.worker",
                str(self.out),
                *(["pinned"] if self.pinned else []),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            env=os.environ | dict.fromkeys(THREADS, "1"),
        )
        self.workers.append(worker)
        return worker


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _how(code: int) -> str:
    """Of what a process ended."""
    if code >= 0:
        return f"it left with exit status {code}"
    reason = " (out of memory?)" if code == -Signals.SIGKILL else ""
    return f"it was ended by {Signals(-code).name}{reason}"
