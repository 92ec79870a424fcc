"""How long a suite will take: it is rehearsed, each agent for some seconds, and its runs are laid out on the workers.

A rehearsal does all that the suite will do, in a folder that is thrown away: as many workers are started, agents are
trained side by side, saved, tested, and the report is written. What is measured once is multiplied where it recurs.
"""

from __future__ import annotations

import heapq
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from descant.commands.train import train
from descant.runs.folders import RunFolder

from .executors import execute
from .report import write_report
from .results import evaluate_entry, write_results
from .runner import Trained, begin_run, is_done, last_step, printed_to
from .specs import Entry, RunSpec, Suite, names_of, runs_of
from .work import Done, Job

TRIAL_SECONDS = 4.0
START = "import descant.benchmarks.command, descant.cli, torch"

Mark = tuple[float, int]  # when, in seconds, and the steps that an agent had made


@dataclass(frozen=True)
class Pace:
    """What runs of a kind cost: `once` seconds in each worker, `fixed` in each run with its first `begun` steps.

    `error` says why the trial failed.
    """

    once: float = 0.0
    fixed: float = 0.0
    begun: int = 0
    rate: float = float("inf")
    error: str = ""

    def seconds(self, steps: int) -> float:
        """What a run of so many steps takes in a worker that has had one of the kind."""
        return self.fixed + max(steps - self.begun, 0) / self.rate


@dataclass(frozen=True)
class Rehearsal:
    """A pace for each kind of run, and seconds: until workers work, for all tests, for the report."""

    paces: dict[str, Pace]
    start: float
    tests: float
    report: float


def matrix(suite: Suite, out: Path, workers: int) -> tuple[list[dict[str, Any]], float]:
    """Each run with its steps and estimated seconds left, and the seconds of the whole, tests and report included."""
    specs = runs_of(suite)
    left = [0 if is_done(s, out) else s.entry.total_timesteps - last_step(s.folder(out)) for s in specs]
    with tempfile.TemporaryDirectory() as stage:
        found = rehearse(suite, [bool(steps) for steps in left], out, Path(stage), workers)
    rows, runs = [], []
    for spec, steps in zip(specs, left, strict=True):
        pace = found.paces.get(kind_of(spec), Pace())
        seconds = pace.seconds(steps) if steps else 0.0
        runs += [(kind_of(spec), seconds)] if steps else []
        rows.append({"agent": spec.entry.agent, "seed": spec.seed, "folder": str(spec.folder(out)),
                     "steps": spec.entry.total_timesteps, "left": steps, "seconds": seconds,
                     "error": pace.error if steps else ""})  # fmt: skip
    once = {kind: pace.once for kind, pace in found.paces.items()}
    return rows, found.start + makespan(runs, once, workers) + found.tests + found.report


def kind_of(spec: RunSpec) -> str:
    """What runs that differ in their seeds alone have in common."""
    return repr(spec.entry)


def makespan(runs: Sequence[tuple[str, float]], once: dict[str, float], workers: int) -> float:
    """When the last run ends if each (kind, seconds), in order, begins at the first worker that is free.

    A worker takes `once` longer for the first run of a kind.
    """
    ends: list[tuple[float, int]] = [(0.0, i) for i in range(workers)]
    seen: set[tuple[int, str]] = set()
    for kind, seconds in runs:
        end, worker = ends[0]
        more = 0.0 if (worker, kind) in seen else once.get(kind, 0.0)
        seen.add((worker, kind))
        heapq.heapreplace(ends, (end + more + seconds, worker))
    return max(ends)[0]


def rehearse(suite: Suite, wanted: Sequence[bool], out: Path, stage: Path, workers: int) -> Rehearsal:
    """Try the runs of a suite that are wanted, then test and report what was tried, or was done before."""
    specs = runs_of(suite)
    trials = chosen([s for s, is_wanted in zip(specs, wanted, strict=True) if is_wanted], workers)
    tried, start = _try(trials, stage, workers)
    paces: dict[str, Pace] = {}
    trained: dict[str, Trained] = {}
    for spec, done in zip(trials, tried, strict=True):
        paces.setdefault(kind_of(spec), _pace(done))
        trained.setdefault(kind_of(spec), Trained(spec, spec.folder(stage), done.error or None))
    for spec in specs:
        if kind_of(spec) not in trained:
            shutil.copytree(spec.folder(out), spec.folder(stage))
            trained[kind_of(spec)] = Trained(spec, spec.folder(stage))
    tests, entries = _test_seconds(suite, list(trained.values()), stage)
    report = _seconds(lambda: write_report(write_results(suite, entries, stage), stage))[0]
    return Rehearsal(paces, start, tests, report)


def chosen(specs: Sequence[RunSpec], workers: int) -> list[RunSpec]:
    """The first run of each kind, and as many more as keep all workers at work, as they will be."""
    first: dict[str, RunSpec] = {}
    more = [spec for spec in specs if first.setdefault(kind_of(spec), spec) is not spec]
    return [*first.values(), *more[: -len(first) % workers]]


def try_run(seconds: float, folder: str) -> list[Any]:
    """Work of a job: two short sessions of a run, each its seconds, first mark and last mark.

    The first ends at its first update, and pays for what a worker imports and warms up.
    """
    run = Path(folder)
    cold = shutil.copytree(run, run.with_name(f"{run.name}-cold"))
    with printed_to(run.parents[1] / "logs" / f"{run.name}.txt"):
        return [_session(cold, 0.0), _session(run, seconds)]


def _session(folder: Path, seconds: float) -> tuple[float, Mark, Mark]:
    """Train a run for so long after its first update, and save it."""
    run, marks = RunFolder.open(folder), []
    warm_up = run.config["config"].get("learning_starts", 0)  # steps without updates, which are faster

    def look(agent: Any) -> bool:
        if agent.num_timesteps > warm_up:
            marks.append((time.perf_counter(), agent.num_timesteps))
        return not marks or marks[-1][0] - marks[0][0] < seconds

    took, _ = _seconds(lambda: train(run, look=look))
    marks = marks or [(0.0, run.config["total_timesteps"])]
    return took, marks[0], marks[-1]


def _try(specs: Sequence[RunSpec], stage: Path, workers: int) -> tuple[list[Done], float]:
    """How the trial of each run ended, and the seconds that it takes beside them to start and end workers."""
    jobs = []
    for spec in specs:
        begin_run(spec, stage)
        folder = spec.folder(Path())
        jobs.append(Job(folder.name, f"{__name__}:try_run", {"seconds": TRIAL_SECONDS}, shares=str(folder)))
    took, found = _seconds(lambda: {d.job.title: d for d in execute(jobs, stage, workers) if d is not None})
    done = [found[job.title] for job in jobs]
    trained = [("", d.seconds if d.error else sum(session[0] for session in d.value)) for d in done]
    command = _seconds(lambda: subprocess.run([sys.executable, "-c", START], check=True))[0]
    return done, command + took - makespan(trained, {}, workers)


def _pace(done: Done) -> Pace:
    """What a trial tells of runs of its kind."""
    if done.error:
        return Pace(error=done.error)
    (cold, _, _), (warm, (begin, begun), (end, steps)) = done.value
    fixed = warm - (end - begin)
    rate = (steps - begun) / (end - begin) if end > begin else float("inf")
    return Pace(max(cold - fixed, 0.0), fixed, begun, rate)


def _test_seconds(suite: Suite, trained: list[Trained], stage: Path) -> tuple[float, list[dict[str, Any]]]:
    """What testing all runs takes, and the entries of such results; what only the first test pays is counted once."""

    def test(name: str, entry: Entry) -> tuple[float, dict[str, Any]]:
        return _seconds(lambda: evaluate_entry(suite, name, entry, trained, stage))

    (first, _), (again, _) = (test("random", Entry("random")) for _ in range(2))
    total, entries = max(first - again, 0.0), []
    for name, entry in zip(names_of(suite), suite.entries, strict=True):
        seconds, found = test(name, entry)
        seeds = suite.seeds if entry.total_timesteps else (None,)
        total += seconds * len(seeds)
        entries.append(found | {"runs": [found["runs"][0] | {"seed": seed} for seed in seeds]})
    return total, entries


def _seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """How long it takes, and what comes of it."""
    begin = time.perf_counter()
    found = work()
    return time.perf_counter() - begin, found
