"""The exact optimum by backward induction, as an agent: the truth that the others are measured against."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from descant.agent import Agent, Callback, Environment, Parts
from descant.errors import DescantError
from descant.planning import MAX_EDGES, Plan, enumerate_task, optimum
from descant.shells import make_task
from descant.tasks import Bools, Floats, Task

if TYPE_CHECKING:
    from descant.runs.checkpoints import Checkpoint
    from descant.runs.tracking import Tracker


@dataclasses.dataclass(frozen=True)
class Config:
    """What can be chosen: how large a graph to plan on, and the seed of draws among equals."""

    max_edges: int = MAX_EDGES
    seed: int = 0


class Exact(Agent):
    """Plans on the environment's task and takes an optimal action in every state.

    Where several actions are optimal, the policy is uniform over them; `deterministic` takes the first. Needs an
    enumerable task that draws from few starts: fix the cantus rather than draw from thousands.
    """

    name: ClassVar[str] = "exact"
    Config: ClassVar[type[Any]] = Config
    trains: ClassVar[bool] = False

    def __init__(self, env: Environment | None, config: Any, spaces: Any = None) -> None:
        super().__init__(env, config, spaces)
        self.task = None if env is None else _task_of(env)
        self._plan: Plan | None = None
        self._where: dict[bytes, tuple[int, int]] = {}

    @property
    def plan(self) -> Plan:
        """The solution, computed when first asked for."""
        if self._plan is None:
            if self.task is None:
                raise DescantError("Agent 'exact' plans on a task: pass an environment of descant.")
            self._plan = optimum(enumerate_task(self.task, max_edges=self.config.max_edges))
            for depth, layer in enumerate(self._plan.graph.layers):
                observations = self.task.observe(layer.states)
                for row in range(len(layer)):
                    self._where[_bytes(observations, row)] = (depth, row)
        return self._plan

    def learn(
        self,
        total_timesteps: int,
        callback: Callback | None = None,
        tracker: Tracker | None = None,
        progress_bar: bool = False,
    ) -> Self:
        """Plan. Takes no environment steps."""
        _ = self.plan
        return self

    def log_probs(self, observation: Any, state: Any = None, action_masks: Bools | None = None) -> Floats:
        """Uniform over the optimal actions: float[n, A], -inf elsewhere.

        Raises DescantError for a state that the allowed actions never reach.
        """
        plan = self.plan
        n = len(observation if not isinstance(observation, dict) else next(iter(observation.values())))
        log_probs = np.full((n, int(self.action_space.n)), -np.inf)
        for i in range(n):
            found = self._where.get(_bytes(observation, i))
            if found is None:
                raise DescantError("This state was not planned for: it is reached only by masked actions.")
            depth, row = found
            layer = plan.graph.layers[depth]
            first, last = np.searchsorted(layer.source, [row, row + 1])
            best = layer.action[first:last][plan.best(depth)[first:last]]
            log_probs[i, best] = -np.log(len(best))
        return log_probs

    def parts(self) -> Parts:
        """Nothing: the plan follows from the environment."""
        return Parts({}, {})

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take the task from the checkpoint's environment where none was given."""
        record = checkpoint.manifest.get("env")
        if self.task is None and record is not None:
            self.task = make_task(record["id"], **record["kwargs"])


def _task_of(env: Any) -> Task[Any]:
    task = getattr(env.unwrapped, "task", None)
    if task is None and hasattr(env, "envs"):
        task = getattr(env.envs[0].unwrapped, "task", None)
    if task is None:
        raise DescantError("Agent 'exact' plans on a descant task; this environment has none.")
    found: Task[Any] = task
    return found


def _bytes(observations: Any, row: int) -> bytes:
    if isinstance(observations, dict):
        return b"".join(_bytes(observations[key], row) for key in sorted(observations))
    return np.asarray(observations[row]).tobytes()
