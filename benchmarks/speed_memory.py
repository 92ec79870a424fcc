"""How much memory environments and training take, each in a process of its own, SB3's beside ours.

Counted is the most that the process held (Linux's VmHWM) beyond what it held after its imports, in megabytes of
10**6 bytes. Before dqn's first update, its replay memory is filled.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .speed_rows import Row

STATUS = Path("/proc/self/status")
MISSING = "measured on Linux only"
COUNTERPOINT = "descant/Counterpoint-v0"
ENVIRONMENTS = ("CartPole", "Counterpoint")
NUM_ENVS = 4096
TRAINED = (0, 2, 3)  # of the settings of training_speed: ppo, dqn, ppo with an LSTM
CHUNKS = 4
FILLED = 50_000


def measure() -> list[Row]:
    """Every row. Takes about a minute."""
    from .training_speed import SETTINGS

    if not STATUS.exists():
        return [Row("memory", None, "MB", detail=MISSING)]
    whole = held("imports")[0]
    rows = [Row("descant, torch and SB3, imported", whole, "MB")]
    theirs, ours = (held("step", name)[1] for name in ENVIRONMENTS)
    title = f"{ENVIRONMENTS[1]} stepped, {NUM_ENVS:,} environments"
    rows.append(Row(title, ours, "MB", detail=f"CartPole {theirs:.0f} MB", sides=(ours, theirs)))
    for i in TRAINED:
        setting = SETTINGS[i]
        ours, theirs = (held("train", str(i), side)[1] for side in ("ours", "theirs"))
        detail = f"SB3's {setting.algorithm} {theirs:.0f} MB"
        rows.append(Row(f"{setting.name} trained", ours, "MB", detail=detail, sides=(ours, theirs)))
    return rows


def held(*told: str) -> tuple[float, float]:
    """Megabytes that a process held after its imports, and how many more at most."""
    command = [sys.executable, "-m", __name__, *told]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    before, most = json.loads(said.splitlines()[-1])
    return before, most - before


def now(field: str) -> float:
    """What the kernel says of this process, in megabytes."""
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024 / 1e6


def main(what: str, *told: str) -> None:
    """Do what is measured in this process, and print what it held."""
    import sb3_contrib  # noqa: F401
    import stable_baselines3  # noqa: F401
    import torch

    torch.set_num_threads(1)
    works: dict[str, Callable[..., None]] = {"imports": lambda: None, "step": step, "train": train}
    before = now("VmRSS")
    works[what](*told)
    print(json.dumps([before, now("VmHWM")]))


def step(name: str) -> None:
    """Step many environments some times."""
    import gymnasium

    if name == "CartPole":
        env = gymnasium.make_vec("CartPole-v1", NUM_ENVS, vectorization_mode="vector_entry_point")
    else:
        env = gymnasium.make_vec(f"descant/{name}-v0", NUM_ENVS)
    env.reset(seed=0)
    for _ in range(64):
        env.step(env.action_space.sample())


def train(index: str, side: str) -> None:
    """Train with a setting of `training_speed`: ours on the native environment, or SB3's over its DummyVecEnv."""
    from descant.makers import make_agent

    from .training_speed import NUM_ENVS as FEW
    from .training_speed import SETTINGS, dummy, ours, theirs

    setting = _filled(SETTINGS[int(index)])
    if side == "ours":
        work = ours(make_agent(setting.agent, COUNTERPOINT, num_envs=FEW, seed=0, **setting.ours))
    else:
        work = theirs(setting, dummy(COUNTERPOINT))
    work(setting.warm_up + CHUNKS * setting.chunk)


def _filled(setting: Any) -> Any:
    """The setting with a replay memory that is full before the first update."""
    if not setting.warm_up:
        return setting
    late = {"learning_starts": FILLED}
    return dataclasses.replace(
        setting, ours=setting.ours | late, theirs=setting.theirs | late, warm_up=FILLED
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
