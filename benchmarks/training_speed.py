"""How fast agents train, beside Stable-Baselines3's with equal networks and settings, and where our time goes.

`ppo`, `actor-critic` and `dqn` with layers, the first two also with an LSTM, on CartPole-v1 and Counterpoint-v0, beside
SB3's PPO, A2C and DQN, and sb3-contrib's RecurrentPPO (with one epoch beside `actor-critic`). Sides train on in turns
in one process, so that what the machine does meets all alike: ours on the native vector environment; SB3's over a
`DummyVecEnv` of single environments, as a user would run it, and over `SB3VecEnv`. Seconds are the processor's, of one
thread, so that other programs on the machine count little; warm-up is left out.

All have two layers of `WIDTH`, rectified, for the policy and two for the critic, or a layer and an LSTM (ours has the
layer before it, RecurrentPPO behind it). What stays different: ours masks what is not allowed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import gymnasium
from gymnasium.vector import AutoresetMode

from descant.makers import make_agent

from .cartpole import SameStepCartPole
from .speed_rows import Row, as_data
from .studies import Table

ENVS = ("CartPole-v1", "descant/Counterpoint-v0")
NUM_ENVS = 16
WIDTH = 64
ROUNDS = 3
ROUND_SECONDS = 0.15

EQUAL = {"learning_rate": 3e-4, "gamma": 0.99}
ON_POLICY = EQUAL | {"gae_lambda": 0.95, "vf_coef": 0.5, "ent_coef": 0.0, "max_grad_norm": 0.5}
OURS = {"lr_schedule": "constant", "hidden": (WIDTH, WIDTH)}
CRITIC = {"critic_hidden": (WIDTH, WIDTH)}
EPOCHS = {"n_steps": 64, "n_epochs": 4}
ONLINE = {"n_steps": 8}
REPLAY = {"batch_size": 128, "train_freq": 4, "gradient_steps": 16, "buffer_size": 50_000}
BEGINNING = 1024  # environment steps before dqn's first update
COPIED = 1024  # environment steps between copies of its weights


@dataclass(frozen=True)
class Setting:
    """An agent of ours and the algorithm it is compared with, each with its own names for equal settings.

    `chunk` is how many environment steps it takes before it learns from them; before `warm_up` it learns nothing.
    """

    agent: str
    ours: dict[str, Any]
    algorithm: str
    theirs: dict[str, Any]
    chunk: int
    warm_up: int = 0

    @property
    def recurrent(self) -> bool:
        """Whether the networks have an LSTM."""
        return bool(self.ours.get("recurrent"))

    @property
    def name(self) -> str:
        """The agent, and the kind of its networks."""
        return f"{self.agent} {'LSTM' if self.recurrent else 'MLP'}"


def on_policy(agent: str, algorithm: str, ours: dict[str, Any], theirs: dict[str, Any]) -> Setting:
    """A setting of an agent that learns from rollouts."""
    chunk = NUM_ENVS * ours["n_steps"]
    return Setting(agent, ON_POLICY | OURS | CRITIC | ours, algorithm, ON_POLICY | theirs, chunk)


SETTINGS = (
    on_policy("ppo", "PPO", EPOCHS | {"minibatch_size": 256}, EPOCHS | {"batch_size": 256}),
    on_policy("actor-critic", "A2C", ONLINE, ONLINE | {"use_rms_prop": False, "normalize_advantage": True}),
    Setting(
        "dqn",
        EQUAL
        | OURS
        | REPLAY
        | {"learning_starts": BEGINNING, "target": "hard", "target_interval": COPIED // 4}
        | {"double": False, "n_steps": 1},
        "DQN",
        EQUAL | REPLAY | {"learning_starts": BEGINNING, "target_update_interval": COPIED},
        NUM_ENVS * REPLAY["train_freq"],
        BEGINNING,
    ),
    on_policy(
        "ppo",
        "RecurrentPPO",
        EPOCHS | {"minibatch_size": 256, "recurrent": True},
        EPOCHS | {"batch_size": 256},
    ),
    on_policy(
        "actor-critic",
        "RecurrentPPO",
        ONLINE | {"recurrent": True},
        ONLINE | {"n_epochs": 1, "batch_size": NUM_ENVS * ONLINE["n_steps"]},
    ),
)

Train = Callable[[int], int]  # trains on for so many environment steps or a few more; how many it made


def measure(setting: str, env: str) -> list[Row]:
    """The rows of a setting, by its name, and an environment: two ratios, and three parts of our time."""
    (found,) = (each for each in SETTINGS if each.name == setting)
    return compare(found, env)


def compare(setting: Setting, env: str) -> list[Row]:
    """Our training against SB3's both ways: medians of the ratios of rounds, and where our time goes."""
    agent = make_agent(setting.agent, env, num_envs=NUM_ENVS, seed=0, **setting.ours)
    sides = [ours(agent), theirs(setting, dummy(env)), theirs(setting, bridge(env))]
    paces = [pace(train, setting.chunk, setting.warm_up) for train in sides]
    rounds = [[rate(t, n) for t, n in zip(sides, paces, strict=True)] for _ in range(ROUNDS)]
    title = f"{setting.name}, {env.removeprefix('descant/')}"
    rows = []
    for i, name in ((1, "DummyVecEnv"), (2, "bridge")):
        ratio = median(speeds[0] / speeds[i] for speeds in rounds)
        own, other = (median(speeds[k] for speeds in rounds) for k in (0, i))
        detail = f"{own:,.0f} against {other:,.0f} steps/s"
        rows.append(
            Row(f"{title}: ours / {setting.algorithm}, {name}", ratio, "x", detail=detail, sides=(own, other))
        )
    return rows + parts(title, agent, paces[0])


def ours(agent: Any) -> Train:
    """Training of an agent of ours. Steps that only reset a row do not count, so rollouts are less than chunks."""
    return trainer(agent, lambda steps: agent.learn(agent.num_timesteps + steps))


def theirs(setting: Setting, env: Any) -> Train:
    """Training of SB3's."""
    model = sb3_model(setting, env)
    return trainer(model, lambda steps: model.learn(steps, reset_num_timesteps=False))


def trainer(agent: Any, learn: Callable[[int], Any]) -> Train:
    """Trains on, and says by the agent's own count how many steps that took."""

    def train(steps: int) -> int:
        before = agent.num_timesteps
        learn(steps)
        return int(agent.num_timesteps - before)

    return train


def sb3_model(setting: Setting, env: Any) -> Any:
    """SB3's algorithm with the network of `WIDTH`."""
    import sb3_contrib
    import stable_baselines3
    from stable_baselines3.common.torch_layers import FlattenExtractor
    from torch import nn

    class Flat(FlattenExtractor):
        """SB3's own counts the columns of MultiDiscrete observations in NumPy's int16, which torch's LSTM refuses."""

        def __init__(self, space: Any) -> None:
            super().__init__(space)
            self._features_dim = int(self._features_dim)

    net: dict[str, Any] = {"net_arch": [WIDTH, WIDTH], "activation_fn": nn.ReLU}
    algorithm, policy = getattr(stable_baselines3, setting.algorithm, None), "MlpPolicy"
    if setting.recurrent:
        algorithm, policy = sb3_contrib.RecurrentPPO, "MlpLstmPolicy"
        net |= {"net_arch": [WIDTH], "lstm_hidden_size": WIDTH, "features_extractor_class": Flat}
    assert algorithm is not None
    return algorithm(policy, env, seed=0, device="cpu", policy_kwargs=net, **setting.theirs)


def dummy(env: str) -> Any:
    """SB3's default: single environments in a Python loop."""
    from stable_baselines3.common.env_util import make_vec_env

    return make_vec_env(env, n_envs=NUM_ENVS)


def bridge(env: str) -> Any:
    """The native vector environment behind `SB3VecEnv`."""
    from descant.shells import SB3VecEnv

    if env == "CartPole-v1":
        return SB3VecEnv(SameStepCartPole(NUM_ENVS))
    return SB3VecEnv(gymnasium.make_vec(env, NUM_ENVS, autoreset_mode=AutoresetMode.SAME_STEP))


def pace(train: Train, chunk: int, warm_up: int) -> int:
    """Environment steps of a round of about `ROUND_SECONDS`, in whole chunks, found out after a warm-up."""
    train(warm_up + chunk)
    speed = rate(train, chunk)
    return max(round(speed * ROUND_SECONDS / chunk), 1) * chunk


def rate(train: Train, steps: int) -> float:
    """Environment steps a second of the processor, of those really made."""
    begin = time.process_time()
    return train(steps) / (time.process_time() - begin)


@dataclass
class Spent:
    """Seconds of the processor in calls that are watched, inner ones taken from outer ones."""

    seconds: dict[str, float] = field(default_factory=dict)
    _inner: list[float] = field(default_factory=lambda: [0.0])

    @contextmanager
    def on(self, part: str) -> Iterator[None]:
        """Count what happens within to `part`."""
        begin = time.process_time()
        self._inner.append(0.0)
        try:
            yield
        finally:
            took = time.process_time() - begin
            self.seconds[part] = self.seconds.get(part, 0.0) + took - self._inner.pop()
            self._inner[-1] += took

    def watched(self, part: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The function, counted to `part`."""

        def watched(*args: Any, **kwargs: Any) -> Any:
            with self.on(part):
                return call(*args, **kwargs)

        return watched


def spent(agent: Any, steps: int) -> tuple[int, dict[str, float]]:
    """Steps made, and seconds in env, act (the rest of collecting) and update (all the rest), of training on."""
    watch, collector = Spent(), agent.collector
    watched = ((collector.env, "step", "env"), (collector, "_collect", "act"))
    for owner, method, part in watched:
        setattr(owner, method, watch.watched(part, getattr(owner, method)))
    try:
        with watch.on("update"):
            made = ours(agent)(steps)
    finally:
        for owner, method, _ in watched:
            delattr(owner, method)
    return made, {part: watch.seconds[part] for part in ("env", "act", "update")}


def parts(title: str, agent: Any, steps: int) -> list[Row]:
    """A row for env, act and update each: microseconds an environment step, and the share of all."""
    made, seconds = spent(agent, steps)
    total = sum(seconds.values())
    return [
        Row(f"{title}: {part}", 1e6 * s / made, "us/step", detail=f"{s / total:.0%} of the time")
        for part, s in seconds.items()
    ]


def training_tables(trained: list[list[Row]]) -> list[Table]:
    """Speeds of both sides, and where our time goes, of what `measure` found; none where that is nothing."""
    if not trained:
        return []
    speeds, shares = [], []
    for rows in trained:
        (agent, env), said = (
            rows[0].name.split(": ")[0].split(", "),
            [row.name.split(": ")[1] for row in rows],
        )
        ratios, times = rows[:2], rows[2:]
        algorithm = said[0].removeprefix("ours / ").split(",")[0]
        steps = [ratios[0].sides[0], *(row.sides[1] for row in ratios)]
        own, dummy_steps, bridge_steps = (f"{each:,.0f}" for each in steps)
        factors = [f"{row.value:.2f}" for row in ratios]
        speeds.append((f"`{agent}`", env, own, algorithm, dummy_steps, bridge_steps, *factors))
        shares.append((f"`{agent}`", env, *(f"{row.value:.1f} ({row.detail.split()[0]})" for row in times)))
    columns = ("agent", "environment")
    data = [as_data(rows) for rows in trained]
    beside = ("ours", "SB3's", "DummyVecEnv", "bridge", "ours / DummyVecEnv", "ours / bridge")
    return [
        Table("speed: training, steps a second", (*columns, *beside), tuple(speeds), data),
        Table(
            "speed: where our time goes, us a step", (*columns, "env", "act", "update"), tuple(shares), None
        ),
    ]
