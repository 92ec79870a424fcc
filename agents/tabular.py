"""What q-learning and sarsa share: a table of values by observation, exploration, step sizes, the loop, checkpoints."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from descant.agent import Agent, Callback, Environment, Parts
from descant.errors import DescantError
from descant.lookups import Lookup
from descant.rollouts import Collector
from descant.runs.progress import progress
from descant.runs.rngs import restore_rng, rng_state
from descant.tasks import Bools, Floats, Ints

from .exploration import boltzmann, epsilon_greedy
from .tabular_config import TabularConfig

if TYPE_CHECKING:
    from descant.runs.checkpoints import Checkpoint
    from descant.runs.tracking import Tracker

ROUND = 100  # steps of the vector environment between two records


@dataclasses.dataclass
class Pending:
    """A step of every row whose target awaits what comes next: the action taken there, for sarsa."""

    place: Ints  # [N] rows of the table
    action: Ints
    reward: Floats
    terminated: Bools
    valid: Bools


class Tabular(Agent):
    """Learns a value for each pair of observation and action, step by step.

    A subclass says what a step's value is drawn to, in `targets`. All rows of the environment share the table; their
    steps are learned from one after the other.
    """

    Config: ClassVar[type[Any]] = TabularConfig

    def __init__(self, env: Environment | None, config: Any, spaces: Any = None) -> None:
        super().__init__(env, config, spaces)
        self.lookup = Lookup(self.observation_space, config.bins)
        self.q = np.full((64, int(self.action_space.n)), config.initial_value)
        self.visits = np.zeros(self.q.shape, np.int64)
        self.rng = np.random.default_rng(config.seed)
        self.explore = self._exploration(0.0)
        self.collector = None if env is None else Collector(env)
        self._pending: Pending | None = None
        self._running = np.zeros(0 if env is None else env.num_envs)  # return of each row's episode so far
        self._seen: tuple[Ints, Bools] = (np.zeros(0, np.int64), np.zeros((0, 0), bool))

    @abstractmethod
    def targets(
        self, reward: Floats, terminated: Bools, next_q: Floats, next_masks: Bools, next_actions: Ints
    ) -> Floats:
        """What the values of steps are drawn to, float[n]; next_q is float[n, A] of the states after them."""

    def learn(
        self,
        total_timesteps: int,
        callback: Callback | None = None,
        tracker: Tracker | None = None,
        progress_bar: bool = False,
    ) -> Self:
        """Train until `num_timesteps` reaches `total_timesteps`."""
        if self.collector is None:
            raise DescantError("This agent was loaded without an environment: pass env to learn on.")
        with progress(total_timesteps, self.name, self.num_timesteps, progress_bar) as bar:
            while self.num_timesteps < total_timesteps:
                record = self._round(self.collector, total_timesteps)
                if tracker is not None:
                    tracker.log(self.num_timesteps, record)
                bar.update(self.num_timesteps, **{k: record[k] for k in ("return",) if k in record})
                if callback is not None and not callback(self):
                    break
        return self

    def _round(self, collector: Collector, total: int) -> dict[str, float]:
        """Some steps, each learned from once the next is known; what there is to log."""
        found: dict[str, list[float]] = {}
        if self._pending is None:
            collector.reset(seed=int(self.rng.integers(2**31)))
        for _ in range(ROUND):
            if self.num_timesteps >= total:
                break
            done = self.num_timesteps / total
            self.explore = self._exploration(done)
            rate = self.config.learning_rate * (1 - done if self.config.lr_schedule == "linear" else 1)
            for name, values in self._step(collector, rate).items():
                found.setdefault(name, []).extend(values)
        means = {name: float(np.mean(values)) for name, values in found.items()}
        return means | {"states": float(len(self.lookup)), "exploration": self.explore}

    def _step(self, collector: Collector, rate: float) -> dict[str, list[float]]:
        """One step of every row; errors of the values learned, returns and metrics of episodes that ended."""
        collector.begun_at = self.num_timesteps
        rollout = collector.steps(1, self._act)
        place, masks = self._seen
        action, reward, valid = rollout.actions[0], rollout.rewards[0], rollout.valid[0].copy()
        self._running = np.where(rollout.starts[0], 0.0, self._running) + np.where(valid, reward, 0.0)
        ended = (rollout.terminated[0] | rollout.truncated[0]) & valid
        found = {name: values.tolist() for name, values in rollout.metrics.items()}
        found |= {"return": self._running[ended].tolist()} if ended.any() else {}
        errors = [] if self._pending is None else self._learn(self._pending, place, masks, action, rate)
        self.num_timesteps += rollout.steps
        pending = Pending(place, action, reward, rollout.terminated[0], valid)
        if collector.same_step:  # what comes next begins another episode: cut ones are learned from at once
            errors += self._learn_cut(pending, rollout.cut[:, 1], rollout.cut_observations, rate)
        self._pending = pending
        return found | ({"td_error": errors} if errors else {})

    def _learn(self, step: Pending, place: Ints, masks: Bools, actions: Ints, rate: float) -> list[float]:
        """Draw the values of a step's pairs to their targets, row after row; how far off each was."""
        target = self.targets(step.reward, step.terminated, self.q[place], masks, actions)
        errors = []
        by_visits = self.config.lr_schedule == "visits"
        for row in np.flatnonzero(step.valid):
            pair = int(step.place[row]), int(step.action[row])
            self.visits[pair] += 1
            error = target[row] - self.q[pair]
            size = rate / self.visits[pair] ** self.config.lr_power if by_visits else rate
            self.q[pair] += size * error
            errors.append(abs(float(error)))
        return errors

    def _learn_cut(self, step: Pending, rows: Ints, observations: list[Any], rate: float) -> list[float]:
        """Learn from truncated rows of a SAME_STEP environment, by what was seen last in them."""
        errors = []
        for row, observation in zip(rows, observations, strict=True):
            batch = (
                {k: v[None] for k, v in observation.items()}
                if isinstance(observation, dict)
                else observation[None]
            )
            masks = self._allowed(self.masks_for(batch), 1)
            place = self._add(batch)
            action = self._draw(self.q[place], masks)
            one = Pending(*(getattr(step, f.name)[[row]] for f in dataclasses.fields(Pending)))
            errors += self._learn(one, place, masks, action, rate)
            step.valid[row] = False
        return errors

    def _act(self, observation: Any, masks: Bools | None, starts: Bools) -> Ints:
        place = self._add(observation)
        allowed = self._allowed(masks, len(place))
        self._seen = (place, allowed)
        return self._draw(self.q[place], allowed)

    def _draw(self, q: Floats, masks: Bools) -> Ints:
        log_probs = self.policy(q, masks)
        return (log_probs + self.rng.gumbel(size=log_probs.shape)).argmax(axis=1)

    def policy(self, q: Floats, masks: Bools) -> Floats:
        """Log-probabilities float[n, A] of the exploring policy at values float[n, A]."""
        by = epsilon_greedy if self.config.exploration == "epsilon-greedy" else boltzmann
        return by(q, masks, self.explore)

    def _exploration(self, done: float) -> float:
        """Epsilon or temperature when this share of the training is done."""
        config = self.config
        greedy = config.exploration == "epsilon-greedy"
        first, last = (
            (config.epsilon, config.epsilon_final)
            if greedy
            else (config.temperature, config.temperature_final)
        )
        share = min(done / config.exploration_fraction, 1.0) if config.exploration_fraction else 1.0
        return float(first + (last - first) * share)

    def _allowed(self, masks: Bools | None, n: int) -> Bools:
        """The mask; all actions where there is none, or where a state that has ended allows none."""
        if masks is None:
            return np.ones((n, self.q.shape[1]), bool)
        return masks | ~masks.any(axis=1, keepdims=True)

    def _add(self, observation: Any) -> Ints:
        """Rows of the table, which grows where an observation is new."""
        place = self.lookup.add(observation)
        if len(self.lookup) > len(self.q):
            more = max(len(self.lookup) - len(self.q), len(self.q))
            self.q = np.pad(self.q, ((0, more), (0, 0)), constant_values=self.config.initial_value)
            self.visits = np.pad(self.visits, ((0, more), (0, 0)))
        return place

    def values(self, observation: Any) -> Floats:
        """Values of every action, float[n, A]; the initial one where an observation was never seen."""
        place = self.lookup.find(observation)
        return np.where((place < 0)[:, None], self.config.initial_value, self.q[place])

    def log_probs(self, observation: Any, state: Any = None, action_masks: Bools | None = None) -> Floats:
        """Log-probability of every action under the exploring policy: float[n, A], -inf where masked."""
        q = self.values(observation)
        return self.policy(q, self._allowed(action_masks, len(q)))

    def act(
        self, batch: Any, state: Any, episode_start: Any, deterministic: bool, masks: Bools | None
    ) -> tuple[Ints, Any]:
        """Actions int64[n]; `deterministic` takes the best, the first of equals."""
        if not deterministic:
            return super().act(batch, state, episode_start, deterministic, masks)
        q = self.values(batch)
        return np.where(self._allowed(masks, len(q)), q, -np.inf).argmax(axis=1), state

    def parts(self) -> Parts:
        """The table, the generator, where the collector stands, and the step that awaits its target."""
        n = len(self.lookup)
        weights: dict[str, Any] = {
            "observations": self.lookup.to_array(),
            "q": self.q[:n],
            "visits": self.visits[:n],
        }
        state: dict[str, Any] = {"rng": rng_state(self.rng), "explore": self.explore}
        arrays, plain = ({}, {}) if self.collector is None else self.collector.get_state()
        if arrays and self._pending is not None:
            columns = {f.name: getattr(self._pending, f.name) for f in dataclasses.fields(Pending)}
            columns = {k: v.astype(np.uint8) if v.dtype == bool else v for k, v in columns.items()}
            weights |= {f"collector.{k}": v for k, v in arrays.items()}
            weights |= {f"pending.{k}": v for k, v in columns.items()} | {"running": self._running}
            state["collector"] = plain
        return Parts(weights, state)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take back what `parts` gave."""
        arrays = {name: tensor.numpy() for name, tensor in checkpoint.weights.items()}
        self.lookup.from_array(arrays["observations"])
        self.explore = float(checkpoint.state["explore"])
        restore_rng(self.rng, checkpoint.state["rng"])
        n = len(self.lookup)
        self.q = np.full((max(n, 64), int(self.action_space.n)), self.config.initial_value)
        self.visits = np.zeros(self.q.shape, np.int64)
        self.q[:n], self.visits[:n] = arrays["q"], arrays["visits"]
        if self.collector is None or "collector" not in checkpoint.state:
            return  # begins anew in every row
        inner = {k.removeprefix("collector."): v for k, v in arrays.items() if k.startswith("collector.")}
        self.collector.set_state(inner, checkpoint.state["collector"])
        columns = {f.name: arrays[f"pending.{f.name}"].copy() for f in dataclasses.fields(Pending)}
        for name in ("terminated", "valid"):
            columns[name] = columns[name].astype(bool)
        self._pending, self._running = Pending(**columns), arrays["running"].copy()
