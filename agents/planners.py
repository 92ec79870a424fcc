"""What agents that plan on a model share: they compute a table of log-probabilities once, and look it up."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from descant.agent import Agent, Callback, Environment, Parts
from descant.errors import DescantError
from descant.lookups import Lookup
from descant.models import Model
from descant.planning import TIE
from descant.shells import make_task
from descant.tasks import Bools, Floats, Ints, Task, join_rows, take_rows

if TYPE_CHECKING:
    from descant.runs.checkpoints import Checkpoint
    from descant.runs.tracking import Tracker


@dataclasses.dataclass(frozen=True)
class Solution:
    """What planning finds of S states; `source` and `action` int[e] are the pairs that may end an episode."""

    states: Any
    log_policy: Floats  # [S, A]
    values: Floats  # [S]
    source: Ints
    action: Ints


class Planner(Agent):
    """An agent that solves the environment's task without stepping it.

    A subclass does so in `plan`. States that look alike act alike (the last one's way).
    """

    def __init__(self, env: Environment | None, config: Any, spaces: Any = None) -> None:
        super().__init__(env, config, spaces)
        self.task: Task[Any] | None = None if env is None else task_of(env, self.name)
        self.lookup = Lookup(self.observation_space)
        self.log_policy: Floats | None = None  # [S, A]
        self.values: Floats = np.zeros(0)  # [S]

    @abstractmethod
    def plan(self, task: Task[Any]) -> Solution:
        """All states of the task, how to act in them, and what they are worth."""

    def table(self) -> Floats:
        """The log-probabilities, float[S, A], computed when first asked for."""
        if self.log_policy is None:
            if self.task is None:
                raise DescantError(
                    f"Agent {self.name!r} plans on a task: pass an environment of descant, or learn before you save."
                )
            found = self.plan(self.task)
            # Ended rows that await their reset are asked for an action too: any will do.
            self.lookup.add(_ends(self.task, found))
            place = self.lookup.add(self.task.observe(found.states))
            actions = found.log_policy.shape[1]
            self.log_policy = np.full((len(self.lookup), actions), -np.log(actions))
            self.values = np.zeros(len(self.lookup))
            self.log_policy[place], self.values[place] = found.log_policy, found.values
        return self.log_policy

    def learn(
        self,
        total_timesteps: int,
        callback: Callback | None = None,
        tracker: Tracker | None = None,
        progress_bar: bool = False,
    ) -> Self:
        """Plan. Takes no environment steps; `num_timesteps` says that there is no more to do."""
        self.table()
        self.num_timesteps = max(self.num_timesteps, total_timesteps)
        if tracker is not None:
            tracker.log(self.num_timesteps, {"states": float(len(self.lookup)), "value": self.start_value()})
        if callback is not None:
            callback(self)
        return self

    def start_value(self) -> float:
        """The mean value of the states that a reset draws; the whole table's where the task is not at hand."""
        self.table()
        if self.task is None:
            return float(self.values.mean())
        return float(self.values[self.lookup.find(self.task.observe(self.task.starts()))].mean())

    def log_probs(self, observation: Any, state: Any = None, action_masks: Bools | None = None) -> Floats:
        """Log-probability of every action: float[n, A], -inf where masked.

        Raises DescantError for a state that the allowed actions never reach.
        """
        table = self.table()
        rows = self.lookup.find(observation)
        if (rows < 0).any():
            raise DescantError(
                f"Agent {self.name!r} did not plan for this state: it is reached only by masked actions, or belongs "
                "to another task than the one planned on."
            )
        log_probs: Floats = table[rows]
        return log_probs

    def parts(self) -> Parts:
        """The table, if it was computed."""
        if self.log_policy is None:
            return Parts({}, {})
        arrays = {
            "observations": self.lookup.to_array(),
            "log_policy": self.log_policy,
            "values": self.values,
        }
        return Parts(arrays, {})

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take back the table, and the task from the checkpoint's environment where none was given."""
        weights = checkpoint.weights
        if "log_policy" in weights:
            self.lookup.from_array(weights["observations"].numpy())
            self.log_policy = weights["log_policy"].numpy()
            self.values = weights["values"].numpy()
        record = checkpoint.manifest.get("env")
        if self.task is None and record is not None and record["id"].startswith("descant/"):
            self.task = make_task(record["id"], **record["kwargs"])


def task_of(env: Any, agent: str) -> Task[Any]:
    """The task that an environment is made of; DescantError where it has none."""
    for inner in _inside(env):
        task = getattr(inner, "task", None)
        if isinstance(task, Task):
            return task
    raise DescantError(f"Agent {agent!r} plans on a descant task; this environment has none.")


def _inside(env: Any) -> Iterator[Any]:
    """The vector environment, and its first single one where it is made of such."""
    yield env.unwrapped
    if hasattr(env.unwrapped, "envs"):
        yield env.unwrapped.envs[0].unwrapped


def _ends(task: Task[Any], found: Solution) -> Any:
    """Observations of the states in which episodes end."""
    outcomes = task.branches(take_rows(found.states, found.source), found.action)
    return task.observe(join_rows([take_rows(after, ended) for _, after, _, ended in outcomes]))


def acting(model: Model, pair_values: Floats, values: Floats) -> Solution:
    """The greedy policy on a model."""
    pairs = model.terminated.any(axis=1)
    return Solution(
        model.states, greedy(model, pair_values), values, model.source[pairs], model.action[pairs]
    )


def greedy(model: Model, pair_values: Floats) -> Floats:
    """Uniform over the best actions of each state, within `TIE`: log-probabilities float[S, A] from float[E]."""
    table = model.table(pair_values)
    best = table >= table.max(axis=1, keepdims=True) - TIE
    return np.where(best, -np.log(best.sum(axis=1, keepdims=True)), -np.inf)
