"""`descant train`."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from descant.commands.annotators import annotators_of
from descant.commands.bounds import at_least
from descant.errors import DescantError
from descant.registry import agents, tasks
from descant.runs.folders import RunFolder

CHECKPOINT_SECONDS = 20.0
DEFAULT_STEPS = 3_000_000


@dataclasses.dataclass
class Train:
    """Train an agent on an environment; all that happens is kept in a run folder.

    Ctrl-C saves and stops; --resume goes on exactly where a run stopped, even one that was killed.
    Options of the agent are --config.NAME (see: descant train --agent NAME --help), of the environment --set
    NAME=VALUE. Started by torchrun, several processes train one policy together (docs/parallel.md).

    Example: descant train descant/Counterpoint-v0 --agent reinforce --total-timesteps 3000000 --out runs/first
    """

    env: Annotated[str, tyro.conf.Positional] = "descant/Counterpoint-v0"
    """The environment: one of descant's (see: descant list), or any Gymnasium id."""
    agent: str = "reinforce"
    """The agent (see: descant list)."""
    total_timesteps: int | None = None
    """Environment steps in all, those before a resume included (3,000,000; with --resume, the run's own)."""
    seed: int | None = None
    """Short for --config.seed."""
    device: Literal["cpu", "cuda"] | None = None
    """Short for --config.device: where networks act and learn; with --resume, where to go on."""
    out: Path | None = None
    """The run folder to make; by default runs/ENVIRONMENT-AGENT-SEED."""
    resume: Path | None = None
    """A run folder to go on with; environment, agent and settings come from it."""
    set: tuple[str, ...] = ()
    """Options of the environment as NAME=VALUE: --set cantus=fux mask=rules."""
    track: tuple[str, ...] = ()
    """Mirrors of metrics.jsonl: wandb, tensorboard."""
    progress: bool = True
    """Show a progress bar."""
    config: Any = None
    """Options of the agent."""

    @classmethod
    def parser(cls, arguments: Sequence[str]) -> Any:
        """This command with the options of the agent that the arguments name, typed and documented."""
        config = agents.get(_named(arguments, "--agent") or "reinforce").Config
        fields = [(f.name, f.type, _with_default(f)) for f in dataclasses.fields(cls) if f.name != "config"]
        fields.append(("config", config, dataclasses.field(default_factory=config)))
        shape = dataclasses.make_dataclass("Train", fields, bases=(cls,), namespace={"__doc__": cls.__doc__})
        shape.__module__ = cls.__module__
        return shape

    def run(self) -> int:
        """Train to the end, or to the first Ctrl-C."""
        from descant import parallel

        at_least(1, total_timesteps=self.total_timesteps)
        begun = None if self.resume is None else RunFolder.open(self.resume)
        with parallel.joined(self._device(begun)) as here:
            run = begun or RunFolder.open(Path(parallel.told(lambda: str(self._new_run().path))))
            finished = train(run, tuple(self.track), self.progress, self.total_timesteps, device=self.device)
        where = run.checkpoint_path("last")
        if finished and here.rank == 0:
            several, names = annotators_of(run.path)
            whose = f" --annotator {names[0]}" if several and names else ""
            print(f"done: {where}\nnow: descant evaluate {run.path}{whose}")
        elif here.rank == 0:
            print(f"stopped; go on with: descant train --resume {run.path}", file=sys.stderr)
        return 0 if finished else 130

    def _device(self, begun: RunFolder | None) -> str:
        """Where networks will be."""
        own = getattr(self.config, "device", "cpu") if begun is None else device_of(begun)
        return self.device or own

    def _new_run(self) -> RunFolder:
        from descant.agent import make_config
        from descant.parallel import refuse
        from descant.runs.tracking import check_backends

        options = parse_options(self.set)
        kind = agents.get(self.agent)
        if not kind.trains:
            raise DescantError(
                f"Agent {self.agent!r} has nothing to learn: use descant evaluate {self.agent}."
            )
        config = dataclasses.asdict(self.config if self.config is not None else kind.Config())
        if self.seed is not None:
            config["seed"] = self.seed
        if self.device is not None:
            config["device"] = self.device
        # What can't work is refused before a folder is made.
        made = make_config(kind, config)
        refuse(kind, getattr(made, "num_envs", 1))
        with contextlib.closing(make_env(self.env, getattr(made, "num_envs", 1), options)) as env:
            kind(env, made)
            task: Any = getattr(env.unwrapped, "task", None)
        check_backends(self.track)
        stem = self.env.split("/")[-1].split("-v")[0].lower()
        default = Path("runs") / f"{stem}-{self.agent.replace('/', '-')}-{config.get('seed', 0)}{of_sweep()}"
        run = RunFolder.create(
            self.out or default,
            {
                "env": self.env,
                "env_options": options,
                "agent": self.agent,
                "config": config,
                "total_timesteps": self.total_timesteps or DEFAULT_STEPS,
            },
        )
        keep = getattr(task, "keep_with", None)
        if keep is not None:
            keep(run.path)
        return run


def train(
    run: RunFolder,
    track: Sequence[str] = (),
    progress_bar: bool = False,
    total: int | None = None,
    prepare: Callable[[Any], None] | None = None,
    look: Callable[[Any], bool] | None = None,
    device: str | None = None,
) -> bool:
    """Train a run from its last checkpoint (or the beginning); whether it reached its end.

    `total` overrides the run's own number of environment steps, to train on beyond it. `prepare` is given the agent
    before it learns; `look` wherever it may stop, and says whether to go on. Networks are on `device`, by default where
    the run left them; DescantError where that is not there. Of several ranks (`descant.parallel.joined`) the first
    writes.
    """
    from descant import parallel
    from descant.agent import make_config
    from descant.runs.interrupts import interruptible
    from descant.runs.tracking import make_tracker

    wanted = run.config
    if lacking := sorted({"env", "env_options", "agent", "config", "total_timesteps"} - wanted.keys()):
        raise DescantError(f"The config.json of {run.path} has no {lacking[0]!r}: train can't go on with it.")
    total = wanted["total_timesteps"] if total is None else total
    kind = agents.get(wanted["agent"])
    own = own_files(run) | ({} if device is None else {"device": device})
    config = make_config(kind, wanted["config"] | own)
    parallel.refuse(kind, getattr(config, "num_envs", 1))
    env = make_env(wanted["env"], getattr(config, "num_envs", 1), wanted["env_options"])
    writes = parallel.is_first()
    with run.lock() if writes else contextlib.nullcontext(), interruptible() as interrupt:
        last = run.checkpoint_path("last")
        resumed = _last_checkpoint(run, own)
        agent = kind.from_checkpoint(resumed, env) if resumed else kind(env, config)
        if prepare is not None:
            prepare(agent)
        backends = ("jsonl", *track)
        with contextlib.ExitStack() as opened:
            tracker = (
                opened.enter_context(make_tracker(run, backends, agent.num_timesteps)) if writes else None
            )
            saved = time.monotonic()

            def callback(agent: Any) -> bool:
                nonlocal saved
                stopping = parallel.any_of(interrupt.requested)
                if tracker is not None and (time.monotonic() - saved >= CHECKPOINT_SECONDS or stopping):
                    tracker.sync()
                    agent.save(last)
                    saved = time.monotonic()
                return not stopping and (look is None or look(agent))

            agent.learn(total, callback=callback, tracker=tracker, progress_bar=progress_bar and writes)
            if tracker is not None:
                tracker.sync()
                agent.save(last)
    env.close()
    return bool(agent.num_timesteps >= total or getattr(agent, "finished", False))


def _last_checkpoint(run: RunFolder, own: Mapping[str, Any]) -> Any:
    """Where the run stopped, its configuration with what is the run's `own` now; None where it has not begun."""
    from descant.devices import check_device
    from descant.runs.checkpoints import load_checkpoint

    last = run.checkpoint_path("last")
    if not last.exists() and not run.has_checkpoint("last"):
        return None
    resumed = load_checkpoint(last)
    resumed.manifest["config"] |= own  # which says where they were when it was saved
    check_device(resumed.manifest["config"].get("device", "cpu"))
    return resumed


def device_of(run: RunFolder) -> str:
    """Where the networks of a run were put when it was made."""
    config = run.config.get("config")
    return str(config.get("device", "cpu")) if isinstance(config, dict) else "cpu"


def of_sweep() -> str:
    """The end of a run folder's name in a W&B sweep, whose runs may differ in more than their seeds."""
    return f"-{os.environ['WANDB_RUN_ID']}" if {"WANDB_SWEEP_ID", "WANDB_RUN_ID"} <= os.environ.keys() else ""


def own_files(run: RunFolder) -> dict[str, str]:
    """Options of the agent that are files in the run's folder, which may move: `files` names them from there."""
    named: dict[str, str] = run.config.get("files", {})
    return {option: str(run.path / name) for option, name in named.items()}


def make_env(env_id: str, num_envs: int, options: dict[str, Any]) -> Any:
    """A vector environment by id; DescantError for an id or an option it does not have."""
    import gymnasium

    from descant.errors import did_you_mean

    if env_id not in gymnasium.registry and env_id.startswith("descant/"):
        raise DescantError(f"Unknown environment {env_id!r}.{did_you_mean(env_id, tasks.names())}")
    for name in {"num_envs", "task"} & options.keys():
        raise DescantError(f"{name!r} is no option of an environment; their number is --config.num-envs.")
    try:
        return gymnasium.make_vec(env_id, num_envs=num_envs, **options)
    except (gymnasium.error.Error, ImportError) as error:
        raise DescantError(f"Gymnasium can't make {env_id!r}: {error}") from error
    except TypeError as error:
        raise DescantError(
            f"{env_id} does not take these options ({error}): see its documentation."
        ) from error


def parse_options(pairs: Sequence[str]) -> dict[str, Any]:
    """NAME=VALUE pairs; values are JSON where they can be, else text."""
    import json

    options: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals):
            raise DescantError(f"{pair!r} is no option: write NAME=VALUE, such as cantus=dorian.")
        try:
            options[name.replace("-", "_")] = json.loads(value)
        except json.JSONDecodeError:
            options[name.replace("-", "_")] = value
    return options


def _named(arguments: Sequence[str], flag: str) -> str | None:
    """The value of a flag, written `--flag value` or `--flag=value`."""
    for i, argument in enumerate(arguments):
        if argument == flag and i + 1 < len(arguments):
            return arguments[i + 1]
        if argument.startswith(flag + "="):
            return argument.partition("=")[2]
    return None


def _with_default(f: dataclasses.Field[Any]) -> Any:
    return dataclasses.field(default=f.default)
