"""The jobs of `bench translation`: a model learned from references, and one tuned by what its translations are worth.

Each is a run folder below OUT/runs, which goes on where it was stopped; `descant translate` and `evaluate` take it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from descant.commands.train import train
from descant.errors import DescantError
from descant.files import write_atomically
from descant.makers import load_agent
from descant.pretraining import keep_best
from descant.registry import agents, build, tasks
from descant.runs.digests import content_hash
from descant.runs.folders import RunFolder
from descant.text.examples import Examples, examples_of

from .translation_measure import measure
from .translation_worlds import ENV, KL

Settings = dict[str, Any]
FACTS = "facts.json"  # of a finished run: seconds of the processor, steps, parameters
FILES = {"data": "data/train.safetensors", "heldout": "data/valid.safetensors"}
HELD = 256  # validation sentences that are looked at while a prior is trained
PART = 10  # the first and the last tenth of a training, of which equal groups are counted


def pretrained(
    world: Settings, model: str, learned: Settings, prior: str, own: Settings, seed: int, folder: str
) -> dict[str, Any]:
    """Make the prior where it is not there; what is measured of it."""
    facts = prior_in(folder, world, learned, own, seed)
    path = Path(facts.pop("path"))
    return {**measure(_network(path), None, *split_tasks(world), path), **facts, "run": path.name}


def tuned(
    world: Settings,
    model: str,
    learned: Settings,
    method: str,
    kept: bool,
    agent: str,
    own: Settings,
    reward: Any,
    tune: Settings,
    seed: int,
    folder: str,
) -> dict[str, Any]:
    """Tune a prior by one method; what is measured of it beside the prior, and how many groups told nothing."""
    prior: str = prior_in(folder, world, learned, {}, seed)["path"]
    steps: int = own["steps"] if "steps" in own else tune["steps"]
    own = {name: value for name, value in own.items() if name != "steps"}
    config = _fitting(agent, tune["config"]) | own | learned["network"]
    config |= {"recurrent": True, "seed": seed} | ({"kl_coef": KL} if kept else {})
    told = {
        "agent": agent,
        "config": config,
        "reward": reward,
        "steps": steps,
        "of": Path(prior).name,
    }

    def begin(home: Path) -> RunFolder:
        options = world["env"] | {"reward": reward}
        near = {"init": prior} | ({"prior": prior} if kept else {})
        return _new_run(home, agent, options, config | near, steps)

    facts = run_in(folder, told, begin)
    path = Path(facts.pop("path"))
    found = measure(_network(path), _network(Path(prior)), *split_tasks(world), path)
    return {**found, **facts, "run": path.name, "equal": equal_groups(RunFolder.open(path))}


def prior_in(folder: str, world: Settings, learned: Settings, own: Settings, seed: int) -> dict[str, Any]:
    """Facts of a prior, the path of its run among them; `own` of the way in which it is learned."""
    env, passes = world["env"], learned["passes"]
    config = learned["network"] | learned["pretrain"] | own
    config |= {"recurrent": True, "patience": 0, "num_envs": 1, "seed": seed}
    told = {"env": env, "text": world.get("text"), "config": config, "passes": passes}

    def begin(home: Path) -> RunFolder:
        shown, aside = (_examples(env, split) for split in ("train", "val"))
        run = _new_run(home, "bc", env, config, round(passes * shown.steps), FILES)
        shown.save(home / FILES["data"])
        Examples(aside.sources[:HELD], aside.targets[:HELD]).save(home / FILES["heldout"])
        return run

    return run_in(folder, told, begin)


def _examples(env: Settings, split: str) -> Examples:
    task: Any = build(ENV, tasks.get(ENV), env | {"split": split})
    return examples_of(task.pairs, task.max_steps)


def run_in(folder: str, told: Settings, begin: Callable[[Path], RunFolder]) -> dict[str, Any]:
    """Facts of the run that is told so, trained to its end by whichever process comes first; the others wait for it."""
    home = Path(folder).resolve() / content_hash(told)[:12]
    with _alone(home.with_suffix(".lock")):
        if not (home / FACTS).exists():
            _finish(RunFolder.open(home) if (home / "config.json").exists() else begin(home))
    found: dict[str, Any] = json.loads((home / FACTS).read_text())
    return found | {"path": str(home)}  # the folder may have been moved


def _new_run(
    home: Path,
    agent: str,
    options: Settings,
    config: Settings,
    total: int,
    files: dict[str, str] | None = None,
) -> RunFolder:
    content = {"env": ENV, "env_options": options, "agent": agent, "config": config, "total_timesteps": total}
    run = RunFolder.create(home, content | ({"files": files} if files else {}))
    build(ENV, tasks.get(ENV), options).keep_with(home)
    return run


def _finish(run: RunFolder) -> None:
    """Train a run to its end, or go on with one that was stopped; the processor's seconds of all goes are added up."""
    spent, begin = run.path / "seconds.json", time.process_time()
    before = json.loads(spent.read_text()) if spent.exists() else 0.0
    finished = train(run)
    seconds = before + time.process_time() - begin
    write_atomically(spent, json.dumps(seconds).encode())
    if not finished:
        raise DescantError(f"{run.path} was stopped: run the benchmark again to go on.")
    agent: Any = keep_best(run)
    parameters = sum(p.numel() for p in agent.networks["policy"].parameters())
    facts = {"seconds": seconds, "steps": agent.num_timesteps, "parameters": parameters}
    write_atomically(run.path / FACTS, (json.dumps(facts, indent=1) + "\n").encode())


def equal_groups(run: RunFolder) -> list[float]:
    """Share of groups whose returns were all equal, in the first and last tenth; nothing of agents without groups."""
    records = [json.loads(line) for line in run.metrics_path.read_text().splitlines()]
    shares = [float(record["groups_equal"]) for record in records if "groups_equal" in record]
    some = max(len(shares) // PART, 1)
    return [float(np.mean(part)) for part in (shares[:some], shares[-some:]) if part]


def _network(path: Path) -> Any:
    return load_agent(RunFolder.open(path).checkpoint_path("best")).networks["policy"]  # type: ignore[attr-defined]


def _fitting(agent: str, config: Settings) -> Settings:
    """Options that the agent has."""
    known = agents.get(agent).Config.__dataclass_fields__
    return {name: value for name, value in config.items() if name in known}


def split_tasks(world: Settings) -> tuple[Any, Any]:
    """The tasks of the test and of the validation split."""
    options = world["env"] | world["tested"]
    test, val = (build(ENV, tasks.get(ENV), options | {"split": split}) for split in ("test", "val"))
    return test, val


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold a lock, which the kernel frees when its holder dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
