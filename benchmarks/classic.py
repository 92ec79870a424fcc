"""`bench classic`: how soon agents reach a bar, in environment steps and in seconds, beside Stable-Baselines3's.

CartPole-v1: a mean return of 475 over 100 episodes. Counterpoint-v0, trained on generated cantus firmi: a mean score of
0.9 on Fux's twelve. Both by the greedy policy, checked about every `every` steps while training goes on, by the same
function on both sides; the first check that reaches the bar ends the run. SB3's algorithms run twice: as a user would
run them ("user": `make_vec_env`, a DummyVecEnv of single environments) and over the native vector environment
("bridge": `descant.shells.SB3VecEnv`). Their networks have the layers of ours and ReLU; PPO's runs also with tanh, its
default, beside the bars.

What checks cost is left out of the seconds, and so is the first use of torch and of each library, by a short training
before the clock starts. Everything runs on one thread, so that processor seconds say what a training costs also where
other programs share the machine; ratios are made of them. A run that never reaches the bar has failed. Where SB3's
fail, what they had used by then counts as if they had arrived: a bound that favours them.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from gymnasium.vector import AutoresetMode

from descant.evaluation import anchors, play
from descant.makers import make_agent
from descant.registry import tasks

from .jobs import Done, Job
from .studies import Study, Table, between, errors_of, interval

EPISODES = 100
WARM_UP = 2_000  # environment steps of the training before the clock starts
FASTER = {"user": 3.0, "bridge": 1.5}  # how many times sooner than SB3 in seconds
VARIANTS = {
    "ours": "",
    "user": ", as a user would run it",
    "bridge": ", native bridge",
    "user tanh": " with tanh, as a user would run it",
    "bridge tanh": " with tanh, native bridge",
}


@dataclass(frozen=True)
class Problem:
    """An environment, the bar its greedy policy must reach, and environment steps between checks."""

    env: str
    bar: float
    every: int


@dataclass(frozen=True)
class Entry:
    """An agent on a problem: ours, or SB3's in one of two vectorisations; `steps` are all it may use."""

    problem: str
    agent: str
    variant: str
    steps: int
    config: dict[str, Any]


PROBLEMS = {
    "cartpole": Problem("CartPole-v1", 475.0, 1_000),
    "counterpoint": Problem("descant/Counterpoint-v0", 0.9, 1_000),
}
# rl-baselines3-zoo's settings of PPO for CartPole but for its learning rate, of which three times as much was better.
ZOO_PPO = {
    "num_envs": 8,
    "n_steps": 32,
    "batch_size": 256,
    "n_epochs": 20,
    "gamma": 0.98,
    "gae_lambda": 0.8,
    "learning_rate": "linear 3e-3",
    "clip_range": "linear 0.2",
    "ent_coef": 0.0,
    "hidden": [64, 64],
    "activation": "relu",
}
# In one environment, over the bridge too, SB3's DQN arrived sooner than in four or eight.
CARTPOLE_DQN = {
    "num_envs": 1,
    "learning_rate": "linear 4e-3",
    "batch_size": 256,
    "buffer_size": 100_000,
    "learning_starts": 1_000,
    "gamma": 0.98,
    "n_steps": 3,
    "tau": 1.0,
    "target_update_interval": 32,
    "train_freq": 32,
    "gradient_steps": 32,
    "exploration_fraction": 0.16,
    "exploration_final_eps": 0.04,
    "hidden": [64, 64],
    "activation": "relu",
}
# Without action masks, which SB3's PPO and DQN do not know.
FUX_PPO = {
    "num_envs": 64,
    "n_steps": 16,
    "batch_size": 512,
    "n_epochs": 8,
    "gamma": 0.9,
    "learning_rate": "linear 2e-3",
    "ent_coef": 0.02,
    "hidden": [256, 256],
    "activation": "relu",
}
FUX_DQN = {
    "num_envs": 32,
    "learning_rate": "linear 4e-3",
    "batch_size": 128,
    "buffer_size": 100_000,
    "learning_starts": 1_000,
    "gamma": 0.9,
    "tau": 0.02,
    "target_update_interval": 1,
    "train_freq": 4,
    "gradient_steps": 16,
    "exploration_fraction": 0.03,
    "exploration_final_eps": 0.02,
    "hidden": [256, 256],
    "activation": "relu",
}
SMALL = {"hidden": [64, 64], "critic_hidden": [64, 64]}
OURS: dict[tuple[str, str], tuple[int, dict[str, Any]]] = {
    ("cartpole", "reinforce"): (
        500_000,
        SMALL
        | {"num_envs": 8, "learning_rate": 1e-2, "gamma": 0.99, "ent_coef": 0.02, "ent_coef_final": 0.0},
    ),
    ("cartpole", "actor-critic"): (
        300_000,
        SMALL | {"num_envs": 16, "n_steps": 16, "learning_rate": 5e-3, "gamma": 0.99, "ent_coef": 0.01},
    ),
    ("cartpole", "ppo"): (
        100_000,
        SMALL
        | {"num_envs": 8, "n_steps": 32, "n_epochs": 10, "minibatch_size": 256, "learning_rate": 5e-3}
        | {"gamma": 0.99, "gae_lambda": 0.95, "ent_coef": 0.0},
    ),
    ("cartpole", "dqn"): (
        50_000,
        {"num_envs": 4, "train_freq": 16, "gradient_steps": 64, "batch_size": 256, "learning_rate": 3e-3}
        | {"gamma": 0.98, "n_steps": 3, "target": "hard", "target_interval": 32}
        | {"double": False, "hidden": [64, 64]}
        | {"exploration_fraction": 0.16, "epsilon_end": 0.04},
    ),
    ("counterpoint", "ppo"): (
        150_000,
        {"num_envs": 64, "n_steps": 16, "n_epochs": 8, "minibatch_size": 512, "learning_rate": 2e-3}
        | {"gamma": 0.9, "ent_coef": 0.02, "hidden": [256, 256], "critic_hidden": [256, 256]},
    ),
    ("counterpoint", "dqn"): (
        150_000,
        {"num_envs": 32, "train_freq": 4, "gradient_steps": 16, "batch_size": 128, "learning_rate": 4e-3}
        | {"gamma": 0.9, "n_steps": 1, "target": "hard", "target_interval": 32}
        | {"double": False, "hidden": [256, 256]}
        | {"exploration_fraction": 0.03, "epsilon_end": 0.02},
    ),
}
# Settings of SB3's by vectorisation.
THEIRS: dict[tuple[str, str, str], dict[str, Any]] = {
    ("cartpole", "ppo", "user"): ZOO_PPO,
    ("cartpole", "ppo", "bridge"): ZOO_PPO,
    ("cartpole", "ppo", "user tanh"): ZOO_PPO | {"activation": "tanh"},
    ("cartpole", "ppo", "bridge tanh"): ZOO_PPO | {"activation": "tanh"},
    ("cartpole", "dqn", "user"): CARTPOLE_DQN,
    ("cartpole", "dqn", "bridge"): CARTPOLE_DQN,
    ("counterpoint", "ppo", "user"): FUX_PPO,
    ("counterpoint", "ppo", "bridge"): FUX_PPO,
    ("counterpoint", "dqn", "user"): FUX_DQN,
    ("counterpoint", "dqn", "bridge"): FUX_DQN,
}
PLAN: tuple[Entry, ...] = tuple(
    Entry(problem, agent, "ours", steps, config) for (problem, agent), (steps, config) in OURS.items()
) + tuple(
    Entry(problem, f"sb3/{agent}", variant, OURS[problem, agent][0], config)
    for (problem, agent, variant), config in THEIRS.items()
)


@dataclass
class Clock:
    """Seconds of training by the wall and of the processor; checks stop it."""

    wall: float = 0.0
    cpu: float = 0.0
    _since: tuple[float, float] = (0.0, 0.0)

    @contextmanager
    def running(self) -> Any:
        """Count what happens within."""
        self.start()
        try:
            yield self
        finally:
            self.stop()

    def start(self) -> None:
        """Count from now on."""
        self._since = (time.perf_counter(), time.process_time())

    def stop(self) -> None:
        """Count no more."""
        self.wall += time.perf_counter() - self._since[0]
        self.cpu += time.process_time() - self._since[1]


@dataclass
class Watch:
    """Asks `score(model, check)` every `every` steps, off the clock; keeps when the bar was reached."""

    score: Callable[[Any, int], float]
    bar: float
    every: int
    clock: Clock = field(default_factory=Clock)
    steps: int = 0
    reached: bool = False
    checks: int = 0

    def goes_on(self, model: Any, steps: int) -> bool:
        """Whether to train on; called between updates, with the environment steps so far."""
        due, self.steps = steps // self.every > self.steps // self.every, steps
        if due:
            self.clock.stop()
            self.check(model)
            self.clock.start()
        return not self.reached

    def end(self, model: Any, steps: int) -> None:
        """Training is over: check what no check has seen."""
        if not self.reached and steps != self.steps:
            self.steps = steps
            self.check(model)

    def check(self, model: Any) -> None:
        """Ask for the score now."""
        self.checks += 1
        self.reached = self.score(model, self.checks) >= self.bar


class SameStepCartPole(CartPoleVectorEnv):
    """Gymnasium's own vector CartPole, ended rows reset in the same step, as SB3 needs; Gymnasium's can't."""

    metadata = {**CartPoleVectorEnv.metadata, "autoreset_mode": AutoresetMode.SAME_STEP}

    def step(self, action: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """As Gymnasium's; what was seen last of ended rows is in info["final_obs"]."""
        observation, reward, terminated, truncated, info = super().step(action)
        done = self.prev_done
        if done.any():
            final = np.full(self.num_envs, None, dtype=object)
            for row in done.nonzero()[0]:
                final[row] = observation[row]
            state: Any = self.state
            state[:, done] = self.np_random.uniform(self.low, self.high, (4, int(done.sum())))
            self.steps[done] = 0
            self.prev_done = np.zeros_like(done)
            observation, info = state.T.astype(np.float32), {"final_obs": final, "_final_obs": done}
        return observation, reward, terminated, truncated, info


def cartpole_return(model: Any, seed: int) -> float:
    """Mean return of the greedy policy over 100 episodes of CartPole that begin as `seed` says."""
    env = gymnasium.make_vec("CartPole-v1", EPISODES, vectorization_mode="vector_entry_point")
    observation, _ = env.reset(seed=seed)
    alive, total = np.ones(EPISODES, bool), np.zeros(EPISODES)
    while alive.any():
        actions, _ = model.predict(observation, deterministic=True)
        observation, reward, terminated, truncated, _ = env.step(np.asarray(actions))
        total += np.where(alive, reward, 0.0)
        alive &= ~(terminated | truncated)
    return float(total.mean())


@functools.cache
def fux_task() -> Any:
    """Fux's six cantus firmi, above and below."""
    return tasks.get("descant/Counterpoint-v0")(cantus="fux")


def fux_score(model: Any, seed: int) -> float:
    """Mean score of the greedy policy on Fux's twelve, 0 for chance and 1 for the exact optimum."""
    task = fux_task()
    _, returns = play(Greedy(model), task, task.starts())  # type: ignore[arg-type]
    return float(anchors(task).score(returns).mean())


@dataclass
class Greedy:
    """A model of SB3's, or an agent of ours, as `play` asks it; masks are left to the model."""

    model: Any

    def predict(self, observation: Any, *_: Any, **__: Any) -> tuple[Any, Any]:
        """The likeliest actions."""
        found: tuple[Any, Any] = self.model.predict(observation, deterministic=True)
        return found

    def set_random_seed(self, seed: int) -> None:
        """Nothing is drawn."""


SCORES: dict[str, Callable[[Any, int], float]] = {"cartpole": cartpole_return, "counterpoint": fux_score}


def train_one(
    problem: str, agent: str, variant: str, steps: int, config: dict[str, Any], seed: int
) -> dict[str, Any]:
    """Train until the bar is reached or the steps are used: when it was, null if never, and what was used.

    `final` is the mean return of 100 further episodes (CartPole) or the score (counterpoint) of the policy at the end.
    """
    goal, score = PROBLEMS[problem], SCORES[problem]
    learn = learn_ours if variant == "ours" else learn_sb3
    learn(goal.env, agent, variant, steps, config, seed, Watch(lambda *_: 1.0, 0.0, WARM_UP))
    watch = Watch(lambda model, check: score(model, 1000 * seed + check), goal.bar, goal.every)
    model = learn(goal.env, agent, variant, steps, config, seed, watch)
    used = {"steps": watch.steps, "seconds": watch.clock.wall, "cpu_seconds": watch.clock.cpu}
    return {f"{name}_to_bar": value if watch.reached else None for name, value in used.items()} | {
        **used,
        "final": score(model, 1000 * seed),
    }


def learn_ours(
    env: str, agent: str, variant: str, steps: int, config: dict[str, Any], seed: int, watch: Watch
) -> Any:
    """Train an agent of ours on the native vector environment; the agent."""
    made = make_agent(agent, env, **config, seed=seed)
    with watch.clock.running():
        made.learn(steps, lambda a: watch.goes_on(a, a.num_timesteps))
    watch.end(made, made.num_timesteps)
    return made


class Arrived(Exception):
    """Leaves SB3's loop between an update and the next rollout."""


def learn_sb3(
    env: str, agent: str, variant: str, steps: int, config: dict[str, Any], seed: int, watch: Watch
) -> Any:
    """Train an algorithm of SB3's, by its own interface alone; the model."""
    from stable_baselines3.common.callbacks import BaseCallback

    class Bridge(BaseCallback):
        """Asks the watch between updates."""

        def _on_rollout_start(self) -> None:
            if not watch.goes_on(self.model, self.model.num_timesteps):
                raise Arrived

        def _on_step(self) -> bool:
            return True

    model = sb3_model(agent, vec_env(env, variant, config["num_envs"], seed), config, seed)
    with watch.clock.running(), suppress(Arrived):
        model.learn(steps, Bridge())
    watch.end(model, model.num_timesteps)
    return model


def vec_env(env: str, variant: str, num_envs: int, seed: int) -> Any:
    """What SB3 steps: its own DummyVecEnv of single environments, or our bridge around one native environment."""
    from stable_baselines3.common.env_util import make_vec_env

    from descant.shells import SB3VecEnv

    if variant.startswith("user"):
        return make_vec_env(env, n_envs=num_envs, seed=seed)
    if env == "CartPole-v1":
        return SB3VecEnv(SameStepCartPole(num_envs))
    return SB3VecEnv(gymnasium.make_vec(env, num_envs, autoreset_mode=AutoresetMode.SAME_STEP))


def sb3_model(agent: str, env: Any, config: dict[str, Any], seed: int) -> Any:
    """SB3's algorithm of a name such as "sb3/ppo", with a network of `hidden` widths."""
    import stable_baselines3
    from torch import nn

    options = {k: v for k, v in config.items() if k not in ("num_envs", "hidden", "activation")}
    for name in ("learning_rate", "clip_range"):
        if isinstance(options.get(name), str):
            options[name] = falling(float(options[name].removeprefix("linear ")))
    activation = {"tanh": nn.Tanh, "relu": nn.ReLU}[config["activation"]]
    net = {"net_arch": list(config["hidden"]), "activation_fn": activation}
    algorithm = getattr(stable_baselines3, agent.removeprefix("sb3/").upper())
    return algorithm("MlpPolicy", env, policy_kwargs=net, seed=seed, device="cpu", **options)


def falling(first: float) -> Callable[[float], float]:
    """From `first` to 0 in a line, as rl-baselines3-zoo's "lin_"."""
    return lambda left: first * left


def jobs(seeds: Sequence[int]) -> list[Job]:
    """Every seed of every entry, seed by seed: what else the machine does then meets all entries alike."""
    return [
        Job(
            f"{entry.problem} {entry.agent} {entry.variant} seed {seed}",
            f"{__name__}:train_one",
            {**vars(entry), "seed": seed},
        )
        for seed in seeds
        for entry in PLAN
    ]


@dataclass(frozen=True)
class Found:
    """What came of an entry's seeds; runs that never reached the bar count with all they used."""

    runs: list[dict[str, Any]]
    errors: int

    @property
    def reached(self) -> int:
        """Seeds that reached the bar."""
        return sum(run["steps_to_bar"] is not None for run in self.runs)

    @property
    def all_reached(self) -> bool:
        """Whether every seed did, and none failed."""
        return bool(self.runs) and self.reached == len(self.runs) and not self.errors

    def mean(self, name: str) -> float:
        """Mean over seeds of steps, seconds or cpu_seconds used; NaN without runs."""
        return interval([run[name] for run in self.runs])[0]


def found_of(done: Sequence[Done], entry: Entry) -> Found:
    """The runs of one entry."""
    own = [d for d in done if all(d.job.arguments[k] == getattr(entry, k) for k in KEYS)]
    return Found([d.value for d in own if not d.error], sum(bool(d.error) for d in own))


KEYS = ("problem", "agent", "variant")


def ratios(ours: Found, theirs: Found) -> tuple[float, float]:
    """How many times sooner ours reached the bar on the mean, in steps and in processor seconds."""
    steps, seconds = (
        float(np.divide(theirs.mean(name), ours.mean(name))) for name in ("steps", "cpu_seconds")
    )
    return steps, seconds


def tables(done: Sequence[Done], out: Path) -> list[Table]:
    """A table a problem: ours must reach the bar on every seed, no later than SB3's in steps, sooner in seconds."""
    return [table_of(name, done) for name in PROBLEMS if any(e.problem == name for e in PLAN)]


def table_of(problem: str, done: Sequence[Done]) -> Table:
    """The table of one problem; each of SB3's rows stands below the agent of ours that it is compared with."""
    goal = PROBLEMS[problem]
    entries = [entry for entry in PLAN if entry.problem == problem]
    ours = {entry.agent: found_of(done, entry) for entry in entries if entry.variant == "ours"}
    rows, data, met = [], [], True
    places = [(agent, variant) for agent in ours for variant in VARIANTS]
    for entry in sorted(entries, key=lambda e: places.index((e.agent.removeprefix("sb3/"), e.variant))):
        found = found_of(done, entry)
        fine, cells, record = found.all_reached, ("", ""), {}
        if entry.variant != "ours":
            steps, seconds = ratios(ours[entry.agent.removeprefix("sb3/")], found)
            # A fraction of a step or of a second may not be rounded up to the bar, so compare first, then print.
            fine = steps >= 1 and seconds >= FASTER.get(entry.variant, 0.0)
            fine = not found.errors and (fine or entry.variant not in FASTER)
            cells = (f"{steps:.2f} x", f"{seconds:.2f} x")
            record = {"times_sooner_in_steps": steps, "times_sooner_in_cpu_seconds": seconds}
        rows.append((*measured(entry, found), *cells, bar_of(entry) + ("" if fine else "  MISSED")))
        data.append({**vars(entry), "runs": found.runs, "errors": found.errors, "met": fine, **record})
        met = met and fine
    own = [d for d in done if d.job.arguments["problem"] == problem]
    return Table(f"{goal.env}: to {goal.bar:g}", COLUMNS, tuple(rows), data, met, errors_of(own))


COLUMNS = (
    "agent",
    "reached",
    "steps",
    "95 % interval",
    "processor s",
    "wall s",
    "ours sooner, steps",
    "ours sooner, s",
    "bar",
)


def measured(entry: Entry, found: Found) -> tuple[str, ...]:
    """Name, seeds that reached the bar, mean steps and their interval, mean seconds."""
    bound = "" if found.reached == len(found.runs) else "> "
    failed = f" + {found.errors} failed" if found.errors else ""
    _, low, high = interval([run["steps"] for run in found.runs])
    return (
        entry.agent + VARIANTS[entry.variant],
        f"{found.reached} of {len(found.runs)}{failed}",
        f"{bound}{found.mean('steps'):,.0f}",
        between(low, high, ",.0f"),
        f"{bound}{found.mean('cpu_seconds'):.2f}",
        f"{bound}{found.mean('seconds'):.2f}",
    )


def bar_of(entry: Entry) -> str:
    """What a row must reach."""
    if entry.variant == "ours":
        return "every seed"
    if entry.variant not in FASTER:
        return "none: another network"
    return f"steps 1 x, s {FASTER[entry.variant]:g} x"


CLASSIC = Study("classic", jobs, tables)
"""How soon agents reach a bar on CartPole and on counterpoint, beside Stable-Baselines3's."""
