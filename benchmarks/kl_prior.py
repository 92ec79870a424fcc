"""A prior for counterpoint: a network that has learned, by maximum likelihood, from legal lines drawn uniformly.

Lines are drawn evenly from all strictly legal ones of a cantus firmus, which are counted and not searched: with V(s)
the log of the number of ways to finish from s, an edge s -> s' is taken with probability exp(V(s') - V(s)). So the best
likelihood that any model can reach on such lines is known too: log(number of lines) / notes.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from descant.agent import Agent
from descant.errors import DescantError
from descant.files import write_atomically
from descant.makers import load_agent, make_agent
from descant.planning import Graph, enumerate_task, optimum, soft_optimum, uniform
from descant.registry import tasks
from descant.runs.digests import content_hash
from descant.runs.folders import RunFolder
from descant.runs.tracking import make_tracker
from descant.tasks import Floats, Ints, size, take_rows

ENV = "descant/Counterpoint-v0"
HELD_OUT_SEED = 1  # of the pool that measures, other than the one that is learned from


@dataclasses.dataclass(frozen=True)
class Lines:
    """Legal lines side by side: observations int16[T, N, W], actions and valid [T, N], masks bool[T, N, A]."""

    log_counts: Floats  # of each line's problem: log of how many legal lines it has, float[N]
    observations: Any
    actions: Ints
    valid: Any
    masks: Any

    @property
    def notes(self) -> int:
        """How many notes there are in all."""
        return int(self.valid.sum())

    def save(self, path: Path) -> None:
        """Write them as `bc` reads demonstrations."""
        from safetensors.numpy import save_file

        arrays = {"observations": self.observations, "actions": self.actions}
        arrays |= {"valid": self.valid.astype(np.uint8), "masks": self.masks.astype(np.uint8)}
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)

    def nll(self, agent: Agent) -> float:
        """Negative log-likelihood under an agent, in nats a note."""
        seen, taken, masks = (x[self.valid] for x in (self.observations, self.actions, self.masks))
        log_probs = agent.log_probs(seen, action_masks=masks)
        return -float(log_probs[np.arange(len(taken)), taken].mean())

    def nll_of_chance(self) -> float:
        """The same of a policy that is uniform over the range."""
        return float(np.log(self.masks[self.valid].sum(axis=1)).mean())

    def nll_at_best(self) -> float:
        """The same of the distribution that the lines were drawn from: their entropy a note."""
        return float(self.log_counts.sum() / self.notes)


def count_log(graph: Graph) -> tuple[Floats, tuple[Floats, ...]]:
    """Log of the number of episodes from each start, float[n] (-inf for none), and the log-probability of each layer's
    edges under the uniform distribution over whole episodes."""
    unpaid = [dataclasses.replace(layer, reward=np.zeros(len(layer.action))) for layer in graph.layers]
    plan = soft_optimum(Graph(tuple(unpaid)), [layer.reward for layer in unpaid], 1.0)
    with np.errstate(invalid="ignore"):  # -inf - -inf, where no way leads on
        edges = [np.nan_to_num(plan.log_policy(t), nan=-np.inf) for t in range(len(graph.layers))]
    return plan.values[0], tuple(edges)


def legal_lines(task: Any, starts: Any, n: int, rng: np.random.Generator) -> Lines:
    """`n` lines: a start each, evenly from those that have legal lines, and evenly one of all its legal lines."""
    graph = enumerate_task(task, starts, allowed=task.strict)
    log_counts, log_edges = count_log(graph)
    row = rng.choice(np.flatnonzero(np.isfinite(log_counts)), n)
    counts, valid = log_counts[row], np.ones(n, bool)
    steps: list[tuple[Any, ...]] = []
    for layer, log_edge in zip(graph.layers, log_edges, strict=True):
        here = take_rows(layer.states, np.where(valid, row, 0))
        chances = np.zeros((len(layer), int(task.action_space.n)))
        chances[layer.source, layer.action] = np.exp(log_edge)
        onward = np.full(chances.shape, -1)
        onward[layer.source, layer.action] = layer.target
        heaped = chances.cumsum(axis=1)[np.where(valid, row, 0)]
        action = (heaped > rng.random((n, 1)) * heaped[:, -1:]).argmax(axis=1)
        steps.append((task.observe(here), action, valid, task.action_mask(here)))
        row = np.where(valid, onward[np.where(valid, row, 0), action], -1)
        valid = row >= 0
    return Lines(counts, *(np.stack(column) for column in zip(*steps, strict=True)))


def world_options(world: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Options of the environment that is learned on: `generated` cantus firmi, or one of Fux's to write above."""
    return {"pool": settings["pool"]} if world == "generated" else {"cantus": world, "position": "above"}


def measured_on(world: str, settings: dict[str, Any]) -> tuple[Any, Any]:
    """The task and the starts that policies are measured on: the one there is, or `held_out` generated ones.

    Those are of cantus firmi that are not learned from, spread over a second pool, and of either side in turn.
    """
    if world != "generated":
        task = tasks.get(ENV)(**world_options(world, settings))
        return task, task.starts()
    learned = {p.cantus for p in tasks.get(ENV)(pool=settings["pool"]).problems.problems}
    task = tasks.get(ENV)(pool=settings["pool"], pool_seed=HELD_OUT_SEED)
    problems = task.problems.problems
    new = [i for i in range(0, len(problems), 2) if problems[i].cantus not in learned]
    if len(new) < settings["held_out"]:
        raise DescantError(
            f"Only {len(new)} cantus firmi are left to measure on: lower held_out, or take a larger pool."
        )
    spread = [new[round(k)] for k in np.linspace(0, len(new) - 1, settings["held_out"])]
    return task, take_rows(task.starts(), np.array([i + k % 2 for k, i in enumerate(spread)]))


def anchors(task: Any, starts: Any) -> list[list[float]]:
    """Return of chance and of the optimum from each start; start by start, to spare memory."""
    found = []
    for k in range(size(starts)):
        graph = enumerate_task(task, take_rows(starts, [k]))
        found.append((uniform(graph).values[0][0], optimum(graph).values[0][0]))
    return [[float(value) for value in column] for column in zip(*found, strict=True)]


def measured_lines(world: str, settings: dict[str, Any]) -> Lines:
    """Legal lines from the starts that policies are measured on."""
    task, starts = measured_on(world, settings)
    return legal_lines(task, starts, settings["held_out_lines"], np.random.default_rng([settings["seed"], 1]))


def make_prior(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Train the prior in `folder` as a run, with the lines it learned from beside it; what there is to say of it."""
    env = gymnasium.make_vec(ENV, num_envs=1, **world_options("generated", settings))
    task = env.unwrapped.task  # type: ignore[attr-defined]
    lines = legal_lines(task, task.starts(), settings["lines"], np.random.default_rng([settings["seed"], 0]))
    folder.mkdir(parents=True)
    lines.save(folder / "lines.safetensors")
    own = {k: settings[k] for k in ("hidden", "batch_size", "learning_rate", "patience", "seed")}
    agent = make_agent("bc", env, **own, data=str(folder / "lines.safetensors"))
    run = RunFolder.create(folder / "run", {"agent": "bc", "env": ENV, "settings": settings})
    with make_tracker(run) as tracker:
        agent.learn(settings["epochs"] * lines.notes, tracker=tracker)
    agent.save(run.checkpoint_path())
    shown = measured_lines("generated", settings)
    return {
        "epochs": agent.iteration,  # type: ignore[attr-defined]
        "notes": lines.notes,
        "nll": shown.nll(agent),
        "nll_of_chance": shown.nll_of_chance(),
        "nll_at_best": shown.nll_at_best(),
        "anchors": {world: anchors(*measured_on(world, settings)) for world in settings["worlds"]},
    }


def prior_in(folder: str | Path, settings: dict[str, Any]) -> dict[str, Any]:
    """What `make_prior` says, made by whichever process comes first and read by all others.

    A lock, which the kernel frees when its holder dies, keeps two from making it at once; what a killed one left half
    made is thrown away.
    """
    home = Path(folder).resolve() / content_hash(settings)[:12]
    facts = home / "facts.json"
    with _locked(home.with_suffix(".lock")):
        if not facts.exists():
            shutil.rmtree(home, ignore_errors=True)
            said = make_prior(home, settings)
            write_atomically(facts, (json.dumps(said, indent=1) + "\n").encode())
    found: dict[str, Any] = json.loads(facts.read_text())
    return found | {"path": str(home / "run")}  # the folder may have been moved


def load_prior(said: dict[str, Any]) -> Agent:
    """The agent of a prior's run."""
    return load_agent(said["path"])


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
