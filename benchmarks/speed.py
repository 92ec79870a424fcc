"""`bench speed`: performance as ratios, each measured in one run on one machine, with a bar where there is one."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import gymnasium
import numpy as np

from descant.registry import tasks

ROUNDS = 9
ROUND_SECONDS = 0.25
ACTIONS = 64  # drawn in advance, so that drawing costs neither side


@dataclass(frozen=True)
class Row:
    """One measurement: a value, its unit, and the bar it should clear (None where there is none)."""

    name: str
    value: float
    unit: str
    bar: float | None = None
    at_most: bool = False
    detail: str = ""

    @property
    def met(self) -> bool:
        """Whether the bar is cleared, or there is none."""
        if self.bar is None:
            return True
        return self.value <= self.bar if self.at_most else self.value >= self.bar


def measure(imitation: Path | None = None) -> list[Row]:
    """Every row, those beside imitation if its python is given. Takes about three minutes, most of it training."""
    from . import bleu_speed, preference_speed, training_speed, translation_speed

    rows = [against_cartpole(n) for n in (256, 4096)]
    rows += [throughput(n) for n in (1, 64, 1024)]
    rows.append(bridge_against_dummy())
    rows.append(slowest_solve())
    rows.append(check_work())
    rows.append(import_time())
    rows += bleu_speed.measure()
    rows += training_speed.measure()
    rows += translation_speed.measure()
    rows += preference_speed.measure(imitation)
    return rows


def against_cartpole(num_envs: int) -> Row:
    """Steps/s of our vector environment over those of CartPole's own, in turn: the median ratio."""
    ours = _stepper(gymnasium.make_vec("descant/Counterpoint-v0", num_envs=num_envs))
    cartpole = gymnasium.make_vec("CartPole-v1", num_envs=num_envs, vectorization_mode="vector_entry_point")
    theirs = _stepper(cartpole)
    _rate(ours, num_envs), _rate(theirs, num_envs)
    pairs = [(_rate(ours, num_envs), _rate(theirs, num_envs)) for _ in range(ROUNDS)]
    ratio = median(a / b for a, b in pairs)
    speeds = [median(side) / 1e6 for side in zip(*pairs, strict=True)]
    detail = f"{speeds[0]:.1f} against {speeds[1]:.1f} million steps/s"
    return Row(f"Counterpoint / CartPole, {num_envs:,} environments", ratio, "x", bar=1.0, detail=detail)


def throughput(num_envs: int) -> Row:
    """Steps/s of our vector environment."""
    step = _stepper(gymnasium.make_vec("descant/Counterpoint-v0", num_envs=num_envs))
    _rate(step, num_envs)
    rates = [_rate(step, num_envs) for _ in range(3)]
    return Row(f"Counterpoint, {num_envs:,} environments", median(rates) / 1e6, "million steps/s")


def bridge_against_dummy(num_envs: int = 64) -> Row:
    """Steps/s over `SB3VecEnv` against SB3's `DummyVecEnv` of single environments."""
    from stable_baselines3.common.vec_env import DummyVecEnv

    from descant.shells import SB3VecEnv

    native = gymnasium.make_vec("descant/Counterpoint-v0", num_envs=num_envs, autoreset_mode="SameStep")
    bridge: Any = SB3VecEnv(native)
    dummy = DummyVecEnv([lambda: gymnasium.make("descant/Counterpoint-v0") for _ in range(num_envs)])
    steps = [_sb3_stepper(bridge), _sb3_stepper(dummy)]
    pairs = [tuple(_rate(step, num_envs) for step in steps) for _ in range(3)]
    ratio = median(a / b for a, b in pairs)
    detail = f"{median(p[0] for p in pairs):,.0f} against {median(p[1] for p in pairs):,.0f} steps/s"
    return Row(f"SB3 bridge / DummyVecEnv, {num_envs} environments", ratio, "x", detail=detail)


def slowest_solve() -> Row:
    """Seconds for the exact optimum and the count, the slowest of the twelve Fux problems."""
    from descant.music.cantus_firmi import FUX
    from descant.planning import count_episodes, enumerate_task, optimum

    times = {}
    for name in FUX:
        for position in ("above", "below"):
            begin = time.perf_counter()
            task = tasks.get("descant/Counterpoint-v0")(cantus=name, position=position, mask="rules")
            optimum(enumerate_task(task))
            count_episodes(enumerate_task(task, allowed=task.strict))
            times[f"{name} {position}"] = time.perf_counter() - begin
    worst = max(times, key=lambda key: times[key])
    return Row("solve, the slowest of twelve", times[worst], "s", bar=2.0, at_most=True, detail=worst)


def check_work() -> Row:
    """Seconds of work of `descant check`, imports of the program left out."""
    from descant.music.counterpoint import actions_of
    from descant.music.pitches import parse_line
    from descant.tasks import replay

    begin = time.perf_counter()
    task = tasks.get("descant/Counterpoint-v0")(cantus="D4 F4 E4 D4 G4 F4 A4 G4 F4 E4 D4", position="above")
    line = parse_line("A4 A4 G4 A4 B4 C5 C5 B4 D5 C#5 D5")
    task.rules.explain(replay(task, task.starts(), actions_of(line)))
    return Row("check", time.perf_counter() - begin, "s", bar=0.3, at_most=True)


def import_time() -> Row:
    """Seconds of `import descant` in a fresh interpreter, the best of five."""
    code = "import time; t = time.perf_counter(); import descant; print(time.perf_counter() - t)"
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        for _ in range(5)
    ]
    return Row("import descant", min(float(r.stdout) for r in runs), "s", bar=0.3, at_most=True)


def print_speed(rows: list[Row]) -> None:
    """A table on stdout."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="speed")
    for column in ("what", "value", "bar", "detail"):
        table.add_column(column, justify="right" if column in ("value", "bar") else "left")
    for row in rows:
        bar = (
            ""
            if row.bar is None
            else f"{'<=' if row.at_most else '>='} {row.bar:g}{'' if row.met else '  MISSED'}"
        )
        table.add_row(row.name, f"{row.value:.3g} {row.unit}", bar, row.detail)
    Console().print(table)


def _stepper(env: Any) -> Callable[[], int]:
    """A function that steps the environment through actions drawn in advance; how many steps it made."""
    env.reset(seed=0)
    env.action_space.seed(0)
    batches = [env.action_space.sample() for _ in range(ACTIONS)]

    def steps() -> int:
        for actions in batches:
            env.step(actions)
        return ACTIONS

    return steps


def _sb3_stepper(env: Any) -> Callable[[], int]:
    env.reset()
    rng = np.random.default_rng(0)
    batches = [rng.integers(0, env.action_space.n, env.num_envs) for _ in range(ACTIONS)]

    def steps() -> int:
        for actions in batches:
            env.step(actions)
        return ACTIONS

    return steps


def _rate(step: Callable[[], int], num_envs: int) -> float:
    """Environment steps a second over one round."""
    begin, done = time.perf_counter(), 0
    while time.perf_counter() - begin < ROUND_SECONDS:
        done += step()
    return done * num_envs / (time.perf_counter() - begin)
