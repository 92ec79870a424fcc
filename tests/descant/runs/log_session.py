"""Run by test_tracking.py in its own process: two sessions of one run, the second one resumed."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from descant.runs import RunFolder, make_tracker

BACKENDS = ("wandb", "jsonl", "tensorboard")


def values(step: int) -> dict[str, float]:
    return {"train/loss": step / 3, "return": -(step**2), "odd": float("nan" if step % 2 else "inf")}


if __name__ == "__main__":
    run = RunFolder.create(Path(sys.argv[1]), {"agent": "dqn", "seed": 3})
    with make_tracker(run, BACKENDS) as tracker:
        for step in range(0, 1000, 2):
            tracker.log(step, values(step))
            if step % 100 == 0:
                tracker.log(step, {"evaluation/return": step / 7})  # a step may come twice
        tracker.sync()
    time.sleep(1.1)  # W&B names an offline session by the second
    with make_tracker(run, BACKENDS, resume_step=900, group="suite", job_type="train") as tracker:
        for step in range(902, 1010):
            tracker.log(step, values(step))
