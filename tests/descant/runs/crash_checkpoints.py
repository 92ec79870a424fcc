"""Run by test_crashes.py: kills processes that save checkpoints (forks: torch starts slowly)."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from descant.runs import load_checkpoint, save_checkpoint

torch.set_num_threads(1)
CRASHES = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "open")


def save(path: Path, step: int) -> None:
    save_checkpoint(path, {"w": torch.full((20_000,), float(step))}, {"step": step}, {})


def load(path: Path) -> int:
    """The step of the checkpoint, which must be consistent."""
    checkpoint = load_checkpoint(path)
    step = int(checkpoint.state["step"])
    assert (checkpoint.weights["w"] == step).all(), "weights and state are of different steps"
    return step


def fork(work: Callable[[], None]) -> int:
    pid = os.fork()
    if pid == 0:
        work()
        os._exit(0)
    return pid


def save_for_ever(path: Path, step: int) -> None:
    while True:
        step += 1
        save(path, step)


def kill_at_random(path: Path, kills: int) -> None:
    save(path, 0)
    for _ in range(kills):
        step = load(path)
        pid = fork(lambda step=step: save_for_ever(path, step))
        while load(path) == step:  # however busy the machine is: it has saved, and is saving again
            time.sleep(0.001)
        time.sleep(random.uniform(0, 0.02))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        assert load(path) > step, "an older checkpoint is back"


def crash_at(path: Path, nth: int) -> None:
    """Save step 2, dying just before the nth thing that is done to a file."""
    left = [nth]

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event in CRASHES and str(path.parent) in str(arguments[0]):
            left[0] -= 1
            if left[0] < 0:
                os._exit(9)

    sys.addaudithook(hook)
    save(path, 2)


def crash_everywhere(folder: Path) -> None:
    """Kill one save at each of its operations, from a clean start and from what the last crash left."""
    for clean in (True, False):
        seen = set()
        for nth in range(100):
            path = folder / f"{clean}-{nth if clean else 0}" / "last"
            if clean or nth == 0:
                save(path, 1)
            status = os.waitpid(fork(lambda path=path, nth=nth: crash_at(path, nth)), 0)[1]
            seen.add(load(path))
            if status == 0:
                break
        assert 10 < nth < 99, f"{nth} operations"
        assert seen == {1, 2}
        save(path, 3)
        assert os.listdir(path.parent) == ["last"], "leftovers"


def read_while_writing(path: Path) -> None:
    save(path, 0)
    pid = fork(lambda: save_for_ever(path, 0))
    steps = [0]
    try:
        while len(set(steps)) < 50:
            steps.append(load(path))
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert steps == sorted(steps)


if __name__ == "__main__":
    here = Path(sys.argv[1])
    kill_at_random(here / "random" / "last", kills=15)
    crash_everywhere(here / "everywhere")
    read_while_writing(here / "reading" / "last")
    print("survived")
