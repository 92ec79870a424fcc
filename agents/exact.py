"""The exact optimum by backward induction, as an agent: the truth that the others are measured against."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from descant.agent import Agent, Callback, Environment, Parts
from descant.errors import DescantError
from descant.lookups import Lookup
from descant.planning import MAX_EDGES, TIE, Layer, Plan, enumerate_task, optimum
from descant.shells import make_task
from descant.tasks import Bools, Floats, Ints, Task, take_rows

if TYPE_CHECKING:
    from descant.runs.checkpoints import Checkpoint
    from descant.runs.tracking import Tracker


@dataclasses.dataclass(frozen=True)
class Config:
    """What can be chosen: how large a graph to plan on, and the seed of draws among equals."""

    max_edges: int = MAX_EDGES
    """A task with a larger graph is refused."""
    seed: int = 0
    """Of draws among actions that are equally good."""


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
        self._lookup = Lookup(self.observation_space)
        self._where: dict[int, tuple[int, int]] = {}  # depth and row by index of the observation

    @property
    def plan(self) -> Plan:
        """The solution, computed when first asked for."""
        if self._plan is None:
            if self.task is None:
                raise DescantError("Agent 'exact' plans on a task: pass an environment of descant.")
            self._plan = optimum(enumerate_task(self.task, max_edges=self.config.max_edges))
            for depth, layer in enumerate(self._plan.graph.layers):
                for row, place in enumerate(self._lookup.add(self.task.observe(layer.states)).tolist()):
                    seen = self._where.setdefault(place, (depth, row))
                    if seen != (depth, row) and not np.array_equal(self._best(*seen), self._best(depth, row)):
                        raise DescantError(
                            f"Agent 'exact' can't act on {self.task.name}: states that look alike want other actions."
                        )
                if (layer.target < 0).any():
                    self._lookup.add(self.task.observe(_ends(self.task, layer)))
        return self._plan

    def _best(self, depth: int, row: int) -> Ints:
        """The optimal actions of one state."""
        assert self._plan is not None
        layer = self._plan.graph.layers[depth]
        edges = slice(*np.searchsorted(layer.source, [row, row + 1]))
        values = self._plan.edge_values[depth][edges]
        return layer.action[edges][values >= self._plan.values[depth][row] - TIE]

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
        """Uniform over the optimal actions: float[n, A], -inf elsewhere; over all where an episode has ended.

        Raises DescantError for a state that the allowed actions never reach.
        """
        _ = self.plan
        places = self._lookup.find(observation).tolist()
        log_probs = np.full((len(places), int(self.action_space.n)), -np.inf)
        for i, place in enumerate(places):
            if place < 0:
                raise DescantError("This state was not planned for: it is reached only by masked actions.")
            # Rows that have ended and await their reset are asked for an action too: any will do.
            best = self._best(*self._where[place]) if place in self._where else slice(None)
            log_probs[i, best] = -np.log(log_probs[i, best].size)
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


def _ends(task: Task[Any], layer: Layer) -> Any:
    """The states in which episodes end after this layer."""
    edges = np.flatnonzero(layer.target < 0)
    rng = np.random.default_rng(0)  # enumerable tasks draw nothing
    return task.step(take_rows(layer.states, layer.source[edges]), layer.action[edges], rng)[0]
