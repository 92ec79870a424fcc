"""Work for the tests of jobs; workers import it by name."""

from __future__ import annotations

import os
import signal
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


def sleep(seconds: float) -> float:
    """The seconds slept."""
    time.sleep(seconds)
    return seconds


def told(folder: str, value: int) -> list[object]:
    """What it was told."""
    return [folder, value]
