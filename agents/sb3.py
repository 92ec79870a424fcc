"""Stable-Baselines3's algorithms as agents: `sb3/ppo`, `sb3/a2c`, `sb3/dqn`, `sb3/maskable-ppo`.

They run over `SB3VecEnv`, and are saved in our form: weights as safetensors, the rest as JSON, never SB3's zip. What
is saved is all that learning depends on (optimiser, random states, environments, replay), so that a resumed run
equals an uninterrupted one on descant's environments. Other environments can't be saved and begin a new episode.
"""

from __future__ import annotations

import contextlib
import dataclasses
from abc import abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch

from descant.agent import Agent, Callback, Environment, Parts
from descant.buffers import available, leaves, refuse_too_large
from descant.devices import DeviceConfig, device_for, settled
from descant.errors import DescantError
from descant.neural import under
from descant.shells import TaskVectorEnv
from descant.tasks import Bools, Floats

from .sb3_envs import Spaces, same_step
from .sb3_states import last_step, random_states, set_last_step, set_random_states

if TYPE_CHECKING:
    from descant.runs.checkpoints import Checkpoint
    from descant.runs.tracking import Tracker

LOG_STEPS = 10_000  # environment steps between records
WINDOW = 100  # episodes that a record averages over
SHARES = ("gamma", "gae_lambda", "exploration_fraction", "exploration_final_eps")
FROM_ZERO = ("seed", "learning_starts")


@dataclasses.dataclass(frozen=True)
class SB3Config(DeviceConfig):
    """Refuses numbers that no algorithm can work with, which SB3 meets in the midst of training."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name in SHARES and not 0 <= value <= 1:
                raise DescantError(f"{name} must lie between 0 and 1, not {value}.")
            least = 0 if name in FROM_ZERO else 1
            if isinstance(value, int) and value < least:
                raise DescantError(f"{name} must be at least {least}, not {value}.")
            if name in ("learning_rate", "clip_range") and value <= 0:
                raise DescantError(f"{name} must be positive, not {value}.")


@dataclasses.dataclass(frozen=True)
class PPOConfig(SB3Config):
    """SB3's PPO; defaults are SB3's but for more environments and larger batches, as a fast environment allows."""

    num_envs: int = 64
    """Rows of the environment, where the agent makes it from an id."""
    learning_rate: float = 3e-4
    """Step size of the optimiser."""
    n_steps: int = 128
    """Steps of each row in a rollout."""
    batch_size: int = 1024
    """Steps in a gradient step."""
    n_epochs: int = 10
    """How often each rollout is learned from."""
    gamma: float = 0.99
    """Discount of what comes after a step."""
    gae_lambda: float = 0.95
    """Weight of longer sums of rewards in the advantage: 0 trusts the critic, 1 the rewards."""
    clip_range: float = 0.2
    """How far the ratio may go from 1 and still be learned from."""
    ent_coef: float = 0.01
    """Weight of the policy's entropy."""
    hidden: tuple[int, ...] = (256, 256)
    """Widths of the layers of each network."""
    seed: int = 0
    """Everything random follows from it."""


@dataclasses.dataclass(frozen=True)
class A2CConfig(SB3Config):
    """SB3's A2C with its own defaults."""

    num_envs: int = 64
    """Rows of the environment, where the agent makes it from an id."""
    learning_rate: float = 7e-4
    """Step size of the optimiser."""
    n_steps: int = 5
    """Steps of each row in a rollout."""
    gamma: float = 0.99
    """Discount of what comes after a step."""
    gae_lambda: float = 1.0
    """Weight of longer sums of rewards in the advantage: 0 trusts the critic, 1 the rewards."""
    ent_coef: float = 0.01
    """Weight of the policy's entropy."""
    hidden: tuple[int, ...] = (256, 256)
    """Widths of the layers of each network."""
    seed: int = 0
    """Everything random follows from it."""


@dataclasses.dataclass(frozen=True)
class DQNConfig(SB3Config):
    """SB3's DQN; a smaller replay than SB3's default million."""

    num_envs: int = 16
    """Rows of the environment, where the agent makes it from an id."""
    learning_rate: float = 1e-3
    """Step size of the optimiser."""
    buffer_size: int = 200_000
    """Steps that the replay remembers."""
    learning_starts: int = 2_000
    """Steps taken at random before the first gradient step."""
    batch_size: int = 256
    """Steps in a gradient step."""
    gamma: float = 0.99
    """Discount of what comes after a step."""
    train_freq: int = 4
    """Steps of each row between gradient steps."""
    gradient_steps: int = 4
    """Gradient steps at a time."""
    target_update_interval: int = 2_000
    """Steps between copies of the network to the target network."""
    exploration_fraction: float = 0.3
    """Share of the training in which random actions become fewer."""
    exploration_final_eps: float = 0.02
    """Share of random actions from then on."""
    hidden: tuple[int, ...] = (256, 256)
    """Widths of the layers of each network."""
    seed: int = 0
    """Everything random follows from it."""


class SB3Agent(Agent):
    """One of SB3's algorithms behind our interface. `Algorithm` names it, `arguments` make it."""

    def __init__(self, env: Environment | None, config: Any, spaces: Any = None) -> None:
        from descant.shells import SB3VecEnv

        super().__init__(env, config, spaces)
        self.config = config = settled(config, new=spaces is None)
        torch.set_num_threads(1)
        if env is None:
            self.vec_env: Any = Spaces(*self.spaces).as_vec_env(config.num_envs)
        else:
            self.vec_env = SB3VecEnv(same_step(env))
        kind = "MultiInputPolicy" if hasattr(self.observation_space, "spaces") else "MlpPolicy"
        arguments = {k: v for k, v in dataclasses.asdict(config).items() if k not in ("num_envs", "hidden")}
        arguments["device"] = device_for(config.device)
        net = {"net_arch": list(config.hidden)}
        try:
            self.model = self.algorithm()(kind, self.vec_env, policy_kwargs=net, verbose=0, **arguments)
        except (AssertionError, ValueError) as error:
            raise DescantError(f"SB3 does not take this configuration of {self.name!r}: {error}") from error
        self._returns = np.zeros(self.vec_env.num_envs)
        self._random_states: dict[str, Any] | None = None
        self._finished: list[float] = []  # returns of the last episodes
        self._losses: dict[str, float] | None = None  # of a checkpoint, until learning goes on

    @property
    def spaces(self) -> tuple[Any, Any]:
        """Of one observation and one action."""
        return self.observation_space, self.action_space

    @classmethod
    @abstractmethod
    def algorithm(cls) -> Any:
        """SB3's class."""

    def learn(
        self,
        total_timesteps: int,
        callback: Callback | None = None,
        tracker: Tracker | None = None,
        progress_bar: bool = False,
    ) -> Self:
        """Train until `num_timesteps` reaches `total_timesteps`; SB3 finishes the rollout it has begun."""
        from descant.runs.progress import progress

        if self.env is None:
            raise DescantError("This agent was loaded without an environment: pass env to learn on.")
        if self._random_states is not None:
            set_random_states(self._random_states, self.model)
            self._random_states = None
        left = total_timesteps - self.num_timesteps
        if left <= 0:
            return self
        with progress(total_timesteps, self.name, self.num_timesteps, progress_bar) as bar:
            bridge = _bridge(self, callback, tracker, bar)
            with contextlib.suppress(_Stop), self._finite_logits():
                self.model.learn(left, bridge, reset_num_timesteps=self.num_timesteps == 0)
            self.check_weights()
            self.num_timesteps = self.model.num_timesteps
        return self

    def check_weights(self) -> None:
        """DescantError where a weight is infinite or not a number."""
        if not all(bool(torch.isfinite(p).all()) for p in self.model.policy.parameters()):
            raise DescantError(
                f"The weights are not finite at step {self.model.num_timesteps}: lower learning_rate."
            )

    @contextlib.contextmanager
    def _finite_logits(self) -> Iterator[None]:
        """What torch's distributions say of logits that are no numbers, in our words."""
        try:
            yield
        except ValueError as error:
            if not str(error).startswith("Expected parameter logits"):
                raise
            raise DescantError(
                f"The policy is not finite at step {self.model.num_timesteps}: lower learning_rate."
            ) from error

    def log_probs(self, observation: Any, state: Any = None, action_masks: Bools | None = None) -> Floats:
        """Log-probability of every action: float[n, A]. Masks count only for an algorithm that knows them."""
        with torch.inference_mode():
            tensor, _ = self.model.policy.obs_to_tensor(observation)
            logits = self._distribution(tensor, action_masks).distribution.logits
            return torch.log_softmax(logits, dim=-1).cpu().numpy().astype(np.float64)

    def parts(self) -> Parts:
        """Policy, optimiser, random states, the environments' states, and what the algorithm keeps itself."""
        weights: dict[str, Any] = {f"policy.{k}": v for k, v in self.model.policy.state_dict().items()}
        for i, (_, moments) in enumerate(sorted(self.model.policy.optimizer.state_dict()["state"].items())):
            weights |= {f"optimizer.{i}.{k}": torch.as_tensor(v) for k, v in moments.items()}
        pending = self._random_states  # of a checkpoint, until learning goes on
        arrays, plain = (pending["arrays"], pending["plain"]) if pending else random_states(self.model)
        weights |= {f"random.{k}": v for k, v in arrays.items()}
        state: dict[str, Any] = {"random": plain, "updates": int(self.model._n_updates)}
        state["finished"] = self._finished[-WINDOW:]
        state["losses"] = _losses(self.model) if self._losses is None else self._losses
        state["episodes"] = int(self.model._episode_num)
        if isinstance(self.env, TaskVectorEnv) and self.model._last_obs is not None:
            arrays, state["env"] = self.vec_env.env.get_state()
            weights |= {f"env.{k}": v for k, v in arrays.items()}
            weights |= last_step(self.model, self._returns)
        own, state["own"] = self._own_parts()
        return Parts(weights | {f"own.{k}": v for k, v in own.items()}, state)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take back what `parts` gave."""
        weights, state = checkpoint.weights, checkpoint.state
        self.model.policy.load_state_dict(under("policy.", weights))
        count = len(self.model.policy.optimizer.state_dict()["param_groups"][0]["params"])
        moments = {i: under(f"optimizer.{i}.", weights) for i in range(count)}
        groups = self.model.policy.optimizer.state_dict()["param_groups"]
        state_of = {i: m for i, m in moments.items() if m}
        self.model.policy.optimizer.load_state_dict({"state": state_of, "param_groups": groups})
        self.model.num_timesteps = self.num_timesteps
        self.model._n_updates = state["updates"]
        self.model._episode_num = state["episodes"]
        self._finished, self._losses = list(state["finished"]), state["losses"]
        if self.env is None:
            return
        self._random_states = {"arrays": under("random.", weights), "plain": state["random"]}
        if isinstance(self.env, TaskVectorEnv) and "env" in state:
            self.vec_env.env.set_state(
                {k: v.numpy() for k, v in under("env.", weights).items()}, state["env"]
            )
            set_last_step(self.model, self._returns, weights)
        self._restore_own({k: v.numpy() for k, v in under("own.", weights).items()}, state["own"])

    def _distribution(self, tensor: Any, masks: Bools | None) -> Any:
        return self.model.policy.get_distribution(tensor)

    def _own_parts(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """What one algorithm keeps besides: arrays and JSON."""
        return {}, {}

    def _restore_own(self, arrays: dict[str, Any], plain: dict[str, Any]) -> None:
        """Take that back."""


class PPO(SB3Agent):
    """Proximal policy optimisation (Schulman et al. 2017), by SB3."""

    name: ClassVar[str] = "sb3/ppo"
    Config: ClassVar[type[Any]] = PPOConfig

    @classmethod
    def algorithm(cls) -> Any:
        """`stable_baselines3.PPO`."""
        from stable_baselines3 import PPO as Algorithm

        return Algorithm


class A2C(SB3Agent):
    """Advantage actor-critic (Mnih et al. 2016), by SB3."""

    name: ClassVar[str] = "sb3/a2c"
    Config: ClassVar[type[Any]] = A2CConfig

    @classmethod
    def algorithm(cls) -> Any:
        """`stable_baselines3.A2C`."""
        from stable_baselines3 import A2C as Algorithm

        return Algorithm


class MaskablePPO(SB3Agent):
    """PPO that honours action masks (Huang & Ontanon 2022), by sb3-contrib."""

    name: ClassVar[str] = "sb3/maskable-ppo"
    Config: ClassVar[type[Any]] = PPOConfig

    @classmethod
    def algorithm(cls) -> Any:
        """`sb3_contrib.MaskablePPO`."""
        from sb3_contrib import MaskablePPO as Algorithm

        return Algorithm

    def __init__(self, env: Environment | None, config: Any, spaces: Any = None) -> None:
        super().__init__(env, config, spaces)
        if env is not None and not hasattr(self.vec_env.env.unwrapped, "action_masks"):
            raise DescantError(
                f"Agent {self.name!r} needs an environment with action masks, a method action_masks(): use sb3/ppo."
            )

    def _distribution(self, tensor: Any, masks: Bools | None) -> Any:
        return self.model.policy.get_distribution(tensor, action_masks=masks)


class DQN(SB3Agent):
    """Deep Q-learning (Mnih et al. 2015), by SB3."""

    name: ClassVar[str] = "sb3/dqn"
    Config: ClassVar[type[Any]] = DQNConfig

    @classmethod
    def algorithm(cls) -> Any:
        """`stable_baselines3.DQN`."""
        from stable_baselines3 import DQN as Algorithm

        return Algorithm

    def __init__(self, env: Environment | None, config: Any, spaces: Any = None) -> None:
        if env is not None:  # SB3 itself warns, takes what it can get, and is killed on the way
            columns = {
                **leaves(env.single_observation_space, "observations"),
                **leaves(env.single_observation_space, "next_observations"),
                "actions": ((), np.dtype(np.int64)),
                "rewards": ((2,), np.dtype(np.float32)),  # and whether the episode ended, as a float
            }
            refuse_too_large(columns, config.buffer_size, False, available())
        super().__init__(env, config, spaces)

    def log_probs(self, observation: Any, state: Any = None, action_masks: Bools | None = None) -> Floats:
        """0 for the action of the highest value, -inf for the others: float[n, A]."""
        actions, _ = self.model.predict(observation, deterministic=True)
        log_probs = np.full((len(actions), int(self.action_space.n)), -np.inf)
        log_probs[np.arange(len(actions)), actions] = 0.0
        return log_probs

    def _own_parts(self) -> tuple[dict[str, Any], dict[str, Any]]:
        buffer = self.model.replay_buffer
        filled = buffer.buffer_size if buffer.full else buffer.pos
        arrays = {name: getattr(buffer, name)[:filled] for name in REPLAY}
        plain = {"pos": buffer.pos, "full": buffer.full, "calls": self.model._n_calls}
        return arrays, plain | {"exploration_rate": self.model.exploration_rate}

    def _restore_own(self, arrays: dict[str, Any], plain: dict[str, Any]) -> None:
        buffer = self.model.replay_buffer
        for name in REPLAY:
            getattr(buffer, name)[: len(arrays[name])] = arrays[name]
        buffer.pos, buffer.full = plain["pos"], plain["full"]
        self.model._n_calls = plain["calls"]
        self.model.exploration_rate = plain["exploration_rate"]


REPLAY = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


class _Stop(Exception):
    """Leaves SB3's loop where nothing is half done."""


def _bridge(agent: SB3Agent, callback: Callback | None, tracker: Tracker | None, bar: Any) -> Any:
    """An SB3 callback that logs, shows progress, and lets ours save and stop between rollouts."""
    from stable_baselines3.common.callbacks import BaseCallback

    class Bridge(BaseCallback):
        """Between SB3's loop and ours."""

        def __init__(self) -> None:
            super().__init__()
            self.logged = agent.num_timesteps // LOG_STEPS
            self.begun = False

        def _on_training_start(self) -> None:
            for name, value in (agent._losses or {}).items():
                self.logger.record(f"train/{name}", value)
            agent._losses = None

        def _on_rollout_start(self) -> None:
            agent.num_timesteps = agent.model.num_timesteps
            agent.check_weights()
            if self.begun and callback is not None and not callback(agent):
                raise _Stop
            self.begun = True

        def _on_step(self) -> bool:
            agent._returns += self.locals["rewards"]
            if not np.isfinite(agent._returns).all():
                row = int(np.argmin(np.isfinite(agent._returns)))
                raise DescantError(
                    f"The environment's reward is not finite at step {self.num_timesteps}: in row {row} it is "
                    f"{self.locals['rewards'][row]}; mend the environment. The last checkpoint is as it was."
                )
            dones = self.locals["dones"]
            if dones.any():
                agent._finished += agent._returns[dones].tolist()
                agent._returns[dones] = 0.0
            if self.num_timesteps // LOG_STEPS > self.logged and agent._finished:
                self.logged = self.num_timesteps // LOG_STEPS
                agent._finished = agent._finished[-WINDOW:]
                mean = float(np.mean(agent._finished))
                bar.update(self.num_timesteps, **{"return": mean})
                if tracker is not None:
                    tracker.log(self.num_timesteps, {"return": mean} | _losses(agent.model))
            return True

    return Bridge()


def _losses(model: Any) -> dict[str, float]:
    """What SB3 logged of its last update."""
    named = model.logger.name_to_value if hasattr(model, "_logger") else {}
    return {k.removeprefix("train/"): float(v) for k, v in named.items() if k.startswith("train/")}
