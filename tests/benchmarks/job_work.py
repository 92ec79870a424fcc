"""Work for the tests of jobs; workers import it by name."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path


def count(path: str, value: int) -> int:
    """The value, after a line in the file."""
    with Path(path).open("a") as file:
        file.write(f"{value}\n")
    return value


def until(path: str) -> None:
    """Fail while there is no such file."""
    if not Path(path).exists():
        raise ValueError("not yet")


def die() -> None:
    """As one whom the kernel kills for memory."""
    os.kill(os.getpid(), signal.SIGKILL)


def threads() -> list[object]:
    """Threads of torch, and of others."""
    import torch

    return [torch.get_num_threads(), os.environ["OMP_NUM_THREADS"]]


def process() -> int:
    """Which process it is."""
    return os.getpid()


def sleep(seconds: float) -> float:
    """The seconds slept."""
    time.sleep(seconds)
    return seconds


def told(folder: str, value: int) -> list[object]:
    """What it was told."""
    return [folder, value]


def odd() -> complex:
    """What JSON has no word for."""
    return 1j


def chat() -> str:
    """Says something, beneath Python too, and listens: what it heard."""
    print("hello")
    os.system("echo hello")
    return sys.stdin.read()


def die_once(path: str) -> int:
    """Is killed the first time."""
    if not Path(path).exists():
        Path(path).touch()
        die()
    return 1


def cores() -> list[int]:
    """On which cores it may run, after long enough for another worker to begin."""
    time.sleep(0.5)
    return sorted(os.sched_getaffinity(0))


def leave(folder: str, value: int, seconds: float) -> dict[str, object]:
    """Leaves the value in both kinds of files; where it was."""
    import ray

    shared, own = Path(folder) / str(value), Path(folder).parent / "notes" / str(value)
    own.parent.mkdir()
    for file in (shared, own):
        file.write_text(str(value))
    time.sleep(seconds)
    node = ray.get_runtime_context().get_node_id()
    return {"node": node, "folder": folder, "given": (Path(folder) / "given").read_text()}
