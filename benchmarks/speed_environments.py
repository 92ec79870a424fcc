"""How fast environments step: beside Gymnasium's own CartPole, from one to thousands, and over SB3's interface.

Sides go in turns, in one process; seconds are the processor's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import gymnasium
import numpy as np

from .speed_rows import Row

ROUNDS = 9
ROUND_SECONDS = 0.25
ACTIONS = 64  # drawn in advance, so that drawing costs neither side
SIZES = (1, 4, 16, 64, 256, 1024, 4096)
BARRED = (256, 4096)
OTHERS = ("GridWorld", "Tokens", "Melody", "Translation")


def measure() -> list[Row]:
    """Every row. Takes about a minute."""
    rows = [against_cartpole("Counterpoint", n, bar=1.0 if n in BARRED else None) for n in SIZES]
    rows += [against_cartpole(name, 256) for name in OTHERS]
    return [*rows, bridge_against_dummy()]


def against_cartpole(name: str, num_envs: int, bar: float | None = None) -> Row:
    """Steps/s of our vector environment over those of CartPole's own, in turn: the median ratio."""
    ours = _stepper(gymnasium.make_vec(f"descant/{name}-v0", num_envs=num_envs))
    cartpole = gymnasium.make_vec("CartPole-v1", num_envs=num_envs, vectorization_mode="vector_entry_point")
    theirs = _stepper(cartpole)
    _rate(ours, num_envs), _rate(theirs, num_envs)
    pairs = [(_rate(ours, num_envs), _rate(theirs, num_envs)) for _ in range(ROUNDS)]
    title = f"{name} / CartPole, {_many(num_envs)}"
    return _ratio(title, pairs, bar)


def bridge_against_dummy(num_envs: int = 64) -> Row:
    """Steps/s over `SB3VecEnv` against SB3's `DummyVecEnv` of single environments."""
    from stable_baselines3.common.vec_env import DummyVecEnv

    from descant.shells import SB3VecEnv

    native = gymnasium.make_vec("descant/Counterpoint-v0", num_envs=num_envs, autoreset_mode="SameStep")
    bridge: Any = SB3VecEnv(native)
    dummy = DummyVecEnv([lambda: gymnasium.make("descant/Counterpoint-v0") for _ in range(num_envs)])
    steps = [_sb3_stepper(bridge), _sb3_stepper(dummy)]
    pairs = [(_rate(steps[0], num_envs), _rate(steps[1], num_envs)) for _ in range(3)]
    return _ratio(f"SB3 bridge / DummyVecEnv, {_many(num_envs)}", pairs)


def _ratio(title: str, pairs: list[tuple[float, float]], bar: float | None = None) -> Row:
    ours, theirs = (median(side) for side in zip(*pairs, strict=True))
    detail = f"{ours:,.0f} against {theirs:,.0f} steps/s"
    ratio = median(a / b for a, b in pairs)
    return Row(title, ratio, "x", bar=bar, detail=detail, sides=(ours, theirs))


def _many(num_envs: int) -> str:
    return f"{num_envs:,} environment{'s' if num_envs > 1 else ''}"


def _stepper(env: Any) -> Callable[[], int]:
    """A function that steps the environment through actions drawn in advance; how many steps it made."""
    env.reset(seed=0)
    env.action_space.seed(0)
    return _through(env, [env.action_space.sample() for _ in range(ACTIONS)])


def _sb3_stepper(env: Any) -> Callable[[], int]:
    """The same of an SB3 `VecEnv`, whose space is that of one environment."""
    env.reset()
    rng = np.random.default_rng(0)
    return _through(env, [rng.integers(0, env.action_space.n, env.num_envs) for _ in range(ACTIONS)])


def _through(env: Any, batches: Sequence[Any]) -> Callable[[], int]:
    def steps() -> int:
        for actions in batches:
            env.step(actions)
        return len(batches)

    return steps


def _rate(step: Callable[[], int], num_envs: int) -> float:
    """Environment steps a second over one round."""
    begin, done = time.process_time(), 0
    while time.process_time() - begin < ROUND_SECONDS:
        done += step()
    return done * num_envs / (time.process_time() - begin)
