"""Jobs on a Ray cluster, found by its address or started here. No disk need be shared: files travel as bytes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from descant.errors import DescantError
from descant.version import __version__

from .executors import Lost
from .parcels import Parcel, news, pack, unpack
from .work import Done, Job, answer, answered, call, order, ordered

CONNECT_SECONDS = 5.0
HEALTH_SECONDS = 20.0
INSTALL = "--executor ray needs Ray, which is not installed: pip install 'descant[ray]', on every machine."


class Ray:
    """A task of one core a job. Ray is not told to try again: `execute` does."""

    def __init__(self, out: Path, workers: int, address: str | None) -> None:
        self.out = out
        self.ray = _ray()
        self.own = not self.ray.is_initialized()
        if self.own:
            _connect(self.ray, workers, address)
        self.remote = self.ray.remote(num_cpus=1, max_retries=0)(carry_out)
        self.at_work: list[Any] = []

    def submit(self, job: Job) -> Any:
        """Send a job and its files."""
        handle = self.remote.remote(order(job), pack(self.out, _travels(job)), __version__)
        self.at_work.append(handle)
        return handle

    def ready(self, handles: list[Any], seconds: float) -> list[Any]:
        """Tasks that have ended."""
        found: list[Any] = self.ray.wait(handles, num_returns=len(handles), timeout=seconds)[0]
        return found

    def fetch(self, handle: Any, job: Job) -> Done:
        """What came back; files are written where they belong."""
        self.at_work.remove(handle)
        errors = self.ray.exceptions
        try:
            line, parcel = self.ray.get(handle)
        except errors.RayTaskError as error:  # of carrying out, not of the job, whose errors are answers
            return Done(job, None, 0.0, str(error).splitlines()[-1], str(error))
        except errors.RayError as error:
            raise Lost(f"{type(error).__name__}: {str(error).splitlines()[0]}") from error
        unpack(parcel, self.out)
        return answered(job, line)

    def close(self, cut: bool) -> None:
        """Leave the cluster; what is at work there is dropped."""
        for handle in self.at_work:
            self.ray.cancel(handle, force=True)
        if self.own:
            self.ray.shutdown()


def carry_out(line: str, parcel: Parcel, version: str) -> tuple[str, Parcel]:
    """On the other machine: a job in a folder of its own; how it ended, and the files that are new."""
    if version != __version__:
        raise DescantError(
            f"this machine has descant {__version__}, the benchmark {version}: install the same."
        )
    job = ordered(line)
    with TemporaryDirectory(prefix="descant-") as folder:
        unpack(parcel, Path(folder))
        done = call(job, Path(folder))
        return answer(done), news(parcel, pack(Path(folder), _travels(job)))


def _travels(job: Job) -> Sequence[str]:
    return [name for name in (job.shares, *job.files) if name]


def _ray() -> Any:
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise DescantError(INSTALL) from error
    return ray


def _connect(ray: Any, workers: int, address: str | None) -> None:
    """Join the cluster, or start one here; DescantError within seconds where there is none."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    options: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    if address is None:
        ray.init(address="local", num_cpus=workers, include_dashboard=False, **options)
        return
    if address != "auto":
        _reach(address)
    try:
        ray.init(address=address, **options)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        raise DescantError(_unreachable(address, str(error).splitlines()[0])) from error


def _reach(address: str) -> None:
    """DescantError where nothing, or no Ray, listens at HOST:PORT: ray.init would wait for minutes, or end us."""
    client = address.startswith("ray://")
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise DescantError(f"--address {address!r} is no address of a Ray cluster: give HOST:PORT, or auto.")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
        if not client:
            subprocess.run(
                [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", f"{host}:{port}"],
                timeout=HEALTH_SECONDS,
                check=True,
                capture_output=True,
            )
    except (OSError, subprocess.SubprocessError) as error:
        reason = "it does not speak Ray" if isinstance(error, subprocess.SubprocessError) else str(error)
        raise DescantError(_unreachable(address, reason)) from error


def _unreachable(address: str, reason: str) -> str:
    return (
        f"There is no Ray cluster at {address} ({reason.rstrip('.')}): start one with ray start --head, "
        "or leave out --address to start one here."
    )
