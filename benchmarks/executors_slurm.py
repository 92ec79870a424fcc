"""Jobs in a Slurm queue by submitit. Every machine must see the results folder, as is usual there."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from descant.errors import DescantError

from .executors import Lost
from .executors_local import THREADS
from .work import Done, Job, answer, answered, call, order, ordered

INSTALL = "--executor slurm needs submitit, which is not installed: pip install 'descant[slurm]'."
CLUSTERS = ("slurm", "local", "debug")
LOOK_SECONDS = 0.1
MINUTES = 24 * 60


class Slurm:
    """A job of one core each. The address is a cluster of submitit: slurm, or its stand-ins local and debug."""

    def __init__(self, out: Path, workers: int, address: str | None) -> None:
        cluster = address or "slurm"
        if cluster not in CLUSTERS:
            raise DescantError(
                f"--address {cluster!r}: for slurm it is {', '.join(CLUSTERS)}; partition and account "
                "are taken from SBATCH_PARTITION and SBATCH_ACCOUNT."
            )
        self.out = out.absolute()
        self.executor = _executor(self.out / "slurm", cluster)
        self.at_work: list[Any] = []

    def submit(self, job: Job) -> Any:
        """Put a job into the queue."""
        before = dict(os.environ)
        os.environ |= dict.fromkeys(THREADS, "1")  # jobs inherit it
        try:
            handle = self.executor.submit(carry_out, order(job), str(self.out))
        finally:
            os.environ.clear()
            os.environ.update(before)
        self.at_work.append(handle)
        return handle

    def ready(self, handles: list[Any], seconds: float) -> list[Any]:
        """Those that have ended."""
        end = time.monotonic() + seconds
        while not (found := [handle for handle in handles if handle.done()]) and time.monotonic() < end:
            time.sleep(LOOK_SECONDS)
        return found

    def fetch(self, handle: Any, job: Job) -> Done:
        """What a job left; Lost where it left nothing."""
        from submitit.core.utils import FailedJobError, UncompletedJobError

        self.at_work.remove(handle)
        try:
            return answered(job, handle.result())
        except FailedJobError as error:  # of carrying out, not of the job, whose errors are answers
            return Done(job, None, 0.0, str(error).strip().splitlines()[-1], str(error))
        except UncompletedJobError as error:
            raise Lost(" ".join(str(error).split())[:300]) from error

    def close(self, cut: bool) -> None:
        """Take what is left out of the queue."""
        for handle in self.at_work:
            handle.cancel()


def carry_out(line: str, out: str) -> str:
    """On the other machine: a job; how it ended."""
    return answer(call(ordered(line), Path(out)))


def _executor(folder: Path, cluster: str) -> Any:
    try:
        import submitit
    except ImportError as error:
        raise DescantError(INSTALL) from error
    try:
        executor = submitit.AutoExecutor(folder=folder / "%j", cluster=cluster)
    except (RuntimeError, OSError) as error:
        raise DescantError(
            f"There is no Slurm here ({' '.join(str(error).split()).rstrip('.')}): run it where sbatch is, "
            "or leave out --executor."
        ) from error
    executor.update_parameters(name="descant", cpus_per_task=1, timeout_min=MINUTES)
    return executor
