"""Train what a suite asks for, by an executor: what is done is skipped, what was cut resumed."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from descant.agent import make_config
from descant.cli import main
from descant.errors import DescantError
from descant.registry import agents
from descant.runs.checkpoints import load_checkpoint
from descant.runs.folders import RunFolder
from descant.runs.metrics import read_metrics

from .board import Board
from .executors import LOCAL, Executor, execute
from .specs import RunSpec
from .work import Done, Job

WORK = f"{__name__}:train_run"
WAIT_SECONDS = 0.5  # between looks at a run that another process is writing
TOLD = 4000  # characters of what a failed run printed


@dataclass(frozen=True)
class Trained:
    """How a run ended: `error` holds the end of its output where it failed."""

    spec: RunSpec
    folder: Path
    error: str | None = None


def train_all(
    specs: Sequence[RunSpec], out: Path, workers: int = 2, executor: Executor = LOCAL
) -> list[Trained]:
    """Train every run that is not done yet. On Ctrl-C, KeyboardInterrupt comes once local workers have saved.

    A run that fails is reported, not dropped, and does not stop the others.
    """
    _writable(out)
    failed: dict[str, str] = {}
    jobs: list[Job] = []
    for spec in specs:
        if not is_done(spec, out):
            try:
                begin_run(spec, out)
                jobs.append(_job(spec, out))
            except DescantError as error:
                failed[spec.folder(out).name] = str(error)
    with (
        contextlib.closing(execute(jobs, out, workers, executor)) as results,
        Board([(label(s), s.entry.total_timesteps) for s in specs]) as board,
    ):
        for done in results:
            if done is not None and (done.error or done.value):
                failed[done.job.title] = _told(done, out)
            for i, spec in enumerate(specs):
                board.update(i, last_step(spec.folder(out)))
    return [Trained(s, s.folder(out), failed.get(s.folder(out).name)) for s in specs]


def train_run(folder: str) -> int:
    """Train a run to its end, printing to its log; the exit status of `descant train`.

    A run that another process is writing, left over from a benchmark that was killed, is waited for.
    """
    run = Path(folder)
    wanted = RunFolder.open(run).config["total_timesteps"]
    while is_taken(run):
        time.sleep(WAIT_SECONDS)
    if has_reached(run, wanted):
        return 0
    with printed_to(run.parents[1] / "logs" / f"{run.name}.txt"):
        try:
            return main(["train", "--resume", folder, "--no-progress"])
        except Exception:
            traceback.print_exc()
            return 1


def is_taken(folder: Path) -> bool:
    """Whether another process is writing the run."""
    try:
        with RunFolder.open(folder).lock():
            return False
    except DescantError:
        return True


@contextlib.contextmanager
def printed_to(log: Path) -> Iterator[None]:
    """Print to a file what the body prints, libraries beneath Python too; warnings are not printed."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(log.open("w", buffering=1, encoding="utf-8"))
        for number in (1, 2):
            before = os.dup(number)
            stack.callback(os.close, before)
            stack.callback(os.dup2, before, number)
            os.dup2(file.fileno(), number)
        stack.enter_context(contextlib.redirect_stdout(file))
        stack.enter_context(contextlib.redirect_stderr(file))
        stack.enter_context(warnings.catch_warnings(action="ignore"))
        yield


def label(spec: RunSpec) -> str:
    """What the progress board calls a run."""
    return f"{spec.entry.agent} seed {spec.seed}"


def is_done(spec: RunSpec, out: Path) -> bool:
    """Whether the run has reached its end. DescantError where its checkpoint is broken."""
    return has_reached(spec.folder(out), spec.entry.total_timesteps)


def has_reached(folder: Path, total_timesteps: int) -> bool:
    """Whether the run in a folder has come so far."""
    if not (folder / "config.json").exists():
        return False
    run = RunFolder.open(folder)
    if not run.has_checkpoint("last"):
        return False
    steps: int = load_checkpoint(run.checkpoint_path("last")).state["num_timesteps"]
    return steps >= total_timesteps


def last_step(folder: Path) -> int:
    """The last step a run has logged, 0 before the first; read from the end of its metrics."""
    try:
        with (folder / "metrics.jsonl").open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(file.tell() - 4096, 0))
            lines = file.read().splitlines()
    except OSError:
        return 0
    for line in reversed(lines):
        try:
            return int(json.loads(line)["step"])
        except (ValueError, KeyError, TypeError):
            continue
    return 0


def seconds_of(folder: Path) -> float:
    """How long a run trained, sessions before a resume included."""
    records = read_metrics(folder / "metrics.jsonl")
    return float(records[-1]["time"]) if records else 0.0


def _writable(out: Path) -> None:
    """Make the folder of logs; DescantError where it can't be."""
    try:
        (out / "logs").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DescantError(f"{out} can't be written ({error.strerror}): choose another --out.") from error


def begin_run(spec: RunSpec, out: Path) -> None:
    """Make the run's folder, where there is none yet. DescantError for an agent or an option there isn't."""
    folder = spec.folder(out)
    if (folder / "config.json").exists():
        return
    config = make_config(agents.get(spec.entry.agent), {**spec.entry.config, "seed": spec.seed})
    RunFolder.create(
        folder,
        {
            "env": spec.env,
            "env_options": spec.env_options,
            "agent": spec.entry.agent,
            "config": dataclasses.asdict(config),
            "total_timesteps": spec.entry.total_timesteps,
        },
    )


def _job(spec: RunSpec, out: Path) -> Job:
    name = spec.folder(out).name
    return Job(name, WORK, {}, shares=str(spec.folder(Path())), files=(f"logs/{name}.txt",))


def _told(done: Done, out: Path) -> str:
    """The end of what a failed run printed, and what became of its worker."""
    try:
        printed = (out / "logs" / f"{done.job.title}.txt").read_text(errors="replace")
    except OSError:
        printed = ""
    return (printed[-TOLD:] + (done.trace or done.error)) or "it was stopped before its end"
