"""`descant bench` and `descant report`."""

from __future__ import annotations

import dataclasses
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from descant.commands.bounds import at_least
from descant.commands.output import print_json
from descant.errors import DescantError, did_you_mean
from descant.registry import suites

from . import raw
from .executors import Executor, check_executor
from .specs import Plan, Suite
from .studies import Study, Table, as_json, print_table, run_study, write_tables
from .suite_files import is_file, load_suite

if TYPE_CHECKING:
    from .outlooks import Outlook

TAKES = {"prior": "rl-tuner", "data": "translation", "imitation": "speed"}  # which study an option is of


@dataclasses.dataclass
class Bench:
    """Run a benchmark: a suite such as quick, a study such as regret, speed, or all of them (full).

    Begin with quick, some minutes: it trains reinforce and sb3/ppo on generated cantus firmi and puts them between
    chance and the exact optimum on Fux's six, above and below; it leaves a table, report.html, and every counterpoint
    as MIDI, score and sound. The studies measure one thing each, over several seeds, and leave tables.

    How well agents learn: classic (how soon they reach a bar, beside Stable-Baselines3's), counterpoint (Fux's twelve
    problems), regret (nats to the exact KL-regularised optimum), imitation (what a teacher is worth). What tuning does
    to a model: kl-control (what is forgotten, and what holds it back), rl-tuner (folk tunes on rules of melody, beside
    Jaques et al. 2017), translation (BLEU: gained, forgotten, cheated). Preferences: preferences (reward models),
    over-optimisation (where they mislead), rlhf (from comparisons to a policy). speed compares steps a second with
    what others have.

    What was stopped goes on when it is asked for again, and what is done is not run again. A W&B sweep is written by
    descant bench sweep. Exit status 1 where a bar is missed or a run failed, 2 where something is wrong with what was
    asked, 130 after Ctrl-C.

    Example: descant bench quick --out results/quick

    Example: descant bench full --dry-run

    Example: descant bench mine.yaml --only 'sb3/*' --dry-run
    """

    suite: Annotated[str, tyro.conf.Positional] = "quick"
    """A name that descant list shows, a YAML or Python file with a suite of yours, or module:attr."""
    out: Path | None = None
    """Results folder; by default results/SUITE."""
    workers: int = 2
    """Runs at a time, one thread each."""
    executor: str = "local"
    """Where runs are made: local (processes), ray or slurm (docs/suites.md)."""
    address: str | None = None
    """The Ray cluster: HOST:PORT or auto. Without it, Ray is started here."""
    seeds: int | None = None
    """How many seeds, from 0, if not the suite's own."""
    only: str | None = None
    """A suite's agents to run, by name or pattern, with commas between: reinforce,sb3/*."""
    dry_run: bool = False
    """Print what would be run and how long it takes, and run none (a suite is rehearsed: each agent for seconds)."""
    prior: Path | None = None
    """A finished run of descant pretrain for rl-tuner and rlhf to tune, in place of one that they train themselves."""
    data: Path | None = None
    """A folder with train|val|test.{xx,yy}, a second world for translation beside the grammar."""
    imitation: Path | None = None
    """The python of an environment with imitation, beside which speed then puts the fitting of reward models."""
    json: bool = False
    """Print JSON."""
    wandb_sync: bool = False
    """Write each run of a suite for Weights & Biases, and upload all offline runs below the results folder."""

    @classmethod
    def parser(cls, arguments: Sequence[str]) -> Any:
        """This command, or the one that writes a sweep."""
        from .sweeps import Sweep

        return Sweep if arguments[:1] and arguments[0] == "sweep" else cls

    def run(self) -> int:
        """Run the suite."""
        if self.suite not in suites.names() and ":" not in self.suite and not is_file(self.suite):
            raise DescantError(f"Unknown suite {self.suite!r}.{did_you_mean(self.suite, suites.names())}")
        at_least(1, workers=self.workers, seeds=self.seeds)
        executor = Executor(self.executor, self.address)
        check_executor(executor)
        suite = load_suite(self.suite) if is_file(self.suite) else suites.get(self.suite)
        self._options(getattr(suite, "options", ()))
        if isinstance(suite, Plan):
            return self._plan(suite)
        try:
            code = self._study(suite, executor) if isinstance(suite, Study) else self._suite(suite, executor)
            return self._upload(suite.name, code) if self.wandb_sync else code
        except KeyboardInterrupt:
            print(
                f"stopped; what is done is kept. Go on with: {_again(self, suite.name)}",
                file=sys.stderr,
            )
            return 130

    def _plan(self, plan: Plan) -> int:
        """Run the parts, each in a folder of its own; one that can't be run does not stop the others."""
        if self.json or self.only:
            raise DescantError(f"{plan.name} takes no --json and no --only: run its parts one by one.")
        if self.dry_run:
            return self._times(plan)
        codes = {}
        for name in plan.parts:
            out = (self.out or Path("results") / plan.name) / name
            print(f"== {name}: {out}", flush=True)
            try:
                codes[name] = dataclasses.replace(self, suite=name, out=out).run()
            except DescantError as error:
                codes[name] = 2
                print(f"{name} can't be run: {error}", file=sys.stderr)
            if codes[name] == 130:
                print(f"stopped; go on with: {_again(self, plan.name)}", file=sys.stderr)
                return 130
        words = {0: "fine", 1: "a bar was missed or a run failed", 2: "could not be run"}
        for name, code in codes.items():
            print(f"{name:<20} {words[code]}")
        return int(any(codes.values()))

    def _times(self, plan: Plan) -> int:
        """Print what is left of each part, and how long the whole will take."""
        known = []
        for name in plan.parts:
            try:
                part = self._outlook(name, (self.out or Path("results") / plan.name) / name)
            except DescantError as error:
                print(f"{name:<20} can't be run: {error}")
                continue
            known += [part.minutes] if part.minutes is not None else []
            print(f"{name:<20} {part.text()}")
        print(
            f"{len(plan.parts)} parts; the {len(known)} that were timed take about "
            f"{sum(known) / self.workers:.0f} min with {self.workers} workers"
        )
        return 0

    def _outlook(self, name: str, out: Path) -> Outlook:
        from .outlooks import outlook

        return outlook(suites.get(name), out, self.seeds)

    def _upload(self, name: str, code: int) -> int:
        from descant.runs.wandb_uploads import upload

        out = self.out or Path("results") / name
        print(f"uploaded {len(upload(out))} runs of {out} to Weights & Biases", file=sys.stderr)
        return code

    def _options(self, known: tuple[str, ...]) -> dict[str, Any]:
        """What the user told a study besides its seeds; DescantError for what it does not take."""
        told = {name: getattr(self, name) for name in TAKES if getattr(self, name) is not None}
        for name in told.keys() - set(known):
            raise DescantError(
                f"{self.suite} takes no --{name}: leave it out, or run descant bench {TAKES[name]}."
            )
        return told

    def _study(self, study: Study, executor: Executor) -> int:
        if self.only:
            raise DescantError(f"{study.name} is a study, which takes no --only: leave it out.")
        out, options = self.out or Path("results") / study.name, self._options(study.options)
        if self.dry_run:
            from .outlooks import outlook

            left = outlook(study, out, self.seeds, **options)
            print_json(dataclasses.asdict(left)) if self.json else print(f"{study.name}: {left.text()}")
            return 0
        tables = run_study(study, out, self.seeds, self.workers, executor, **options)
        return _told(tables, self.json)

    def _suite(self, suite: Suite, executor: Executor) -> int:
        from .checks import check, only
        from .report import write_report
        from .results import evaluate_suite
        from .runner import train_all
        from .specs import runs_of
        from .wandb_suites import write_suite

        begin = time.monotonic()
        out = self.out or Path("results") / suite.name
        if self.seeds is not None:
            suite = dataclasses.replace(suite, seeds=tuple(range(self.seeds)))
        check(suite)
        if self.only:
            suite = dataclasses.replace(suite, entries=only(suite, self.only))
        if self.dry_run:
            return self._matrix(suite, out)
        trained = train_all(runs_of(suite), out, self.workers, executor)
        results = evaluate_suite(suite, trained, out)
        report = write_report(results, out)
        if self.wandb_sync:
            write_suite(results, out)
        failed = [t for t in trained if t.error]
        if self.json:
            print_json(results)
        else:
            print_summary(results)
            print(
                f"{time.monotonic() - begin:.0f} s\n\nopen   {report}\nscores {out / 'scores'}  (MIDI, SVG, WAV)"
            )
            for t in failed:
                print(f"failed: {t.folder}: {t.error}")
        return 1 if failed else 0

    def _matrix(self, suite: Suite, out: Path) -> int:
        from .estimates import matrix

        print(f"rehearsing {suite.name}: some seconds an agent, then tests and a report", file=sys.stderr)
        rows, total = matrix(suite, out, self.workers)
        if self.json:
            print_json({"suite": suite.name, "runs": rows, "seconds": total})
            return int(any(row["error"] for row in rows))
        for row in rows:
            left = "fails" if row["error"] else f"{row['seconds']:.0f} s" if row["left"] else "done"
            print(
                f"{row['agent']:<20} seed {row['seed']:<4} {row['steps']:>12,} steps  {left:>8}  {row['folder']}"
            )
        print(f"{len(rows)} runs, about {total:.0f} s with {self.workers} workers, tests and report included")
        failed = {row["agent"]: row["error"] for row in rows if row["error"]}
        for agent, error in failed.items():
            print(f"failed: {agent}: {error}")
        return 1 if failed else 0


def _with_suites(told: str) -> str:
    """The description of a command with the names of all suites, plug-ins' too, before its examples."""
    before, example, after = told.partition("    Example:")
    return f"{before}    Suites: {', '.join(suites.names())}.\n\n{example}{after}"


Bench.__doc__ = _with_suites(Bench.__doc__ or "")


@dataclasses.dataclass
class Report:
    """Write a results folder's report anew, print a study's tables from its raw data, or compare two folders.

    compare A B prints a row an agent. It got worse where its mean score fell with p < 0.05 (permutations of runs,
    Holm's correction), where more of its runs failed, or, for an agent that learns nothing, where its score fell at
    all. Exit status 1 where one got worse, 2 for folders that are not comparable.

    Example: descant report results/quick

    Example: descant report docs/results/raw/imitation.jsonl.gz

    Example: descant report compare results/before results/after
    """

    results: Annotated[tuple[str, ...], tyro.conf.Positional]
    """A folder that descant bench has written, or a study's raw data; or: compare A B."""
    tolerance: float | None = None
    """compare: a fall of the score to count as worse where there are too few seeds for a test."""
    json: bool = False
    """A study's tables and compare: print JSON."""

    def run(self) -> int:
        """Write report.html, or print tables."""
        if self.results[:1] == ("compare",):
            return self._compare(*map(Path, self.results[1:]))
        if len(self.results) != 1:
            raise DescantError("Give one results folder, or: descant report compare A B.")
        if self.tolerance is not None:
            raise DescantError("--tolerance is for descant report compare A B.")
        folder = Path(self.results[0])
        if folder.is_file():
            return self._study(folder, None)
        if (folder / "jobs").is_dir():
            return self._study(folder / raw.NAME, folder)
        if self.json:
            raise DescantError("--json is for a study's raw data and for descant report compare A B.")
        from .report import write_report
        from .results import read_results

        print(write_report(read_results(folder), folder))
        return 0

    def _study(self, file: Path, out: Path | None) -> int:
        """The tables of a study's raw data, written to `out` where there is one."""
        name, done = raw.read_jobs(file)
        with tempfile.TemporaryDirectory() as nowhere:
            tables = write_tables(suites.get(name), done, out or Path(nowhere))
        kept = tables if out else [dataclasses.replace(table, files=()) for table in tables]
        return _told(kept, self.json)

    def _compare(self, *folders: Path) -> int:
        from .comparison import compare

        if len(folders) != 2:
            raise DescantError("Give two results folders: descant report compare A B.")
        if self.tolerance is not None and not self.tolerance >= 0:
            raise DescantError(f"--tolerance must be 0 or more, not {self.tolerance}.")
        table = compare(*folders, self.tolerance)
        print_json({"met": table.met, "agents": table.data}) if self.json else print_table(table)
        return 0 if table.met else 1


def _told(tables: list[Table], as_data: bool) -> int:
    """Print what a study found; the exit status."""
    if as_data:
        print_json(as_json(tables))
    else:
        for table in tables:
            print_table(table)
    return 0 if all(table.met and not table.failed for table in tables) else 1


def _again(bench: Bench, name: str) -> str:
    seeds = "" if bench.seeds is None else f" --seeds {bench.seeds}"
    prior = "" if bench.prior is None else f" --prior {bench.prior}"
    prior += "" if bench.imitation is None else f" --imitation {bench.imitation}"
    prior += "" if bench.data is None else f" --data {bench.data}"
    prior += "" if bench.only is None else f" --only '{bench.only}'"
    prior += "" if bench.executor == "local" else f" --executor {bench.executor}"
    prior += "" if bench.address is None else f" --address {bench.address}"
    return f"descant bench {bench.suite} --out {bench.out or Path('results') / name}{seeds}{prior}"


def print_summary(results: dict[str, Any]) -> None:
    """A table on stdout, a row an agent, and what its seeds are worth."""
    from rich.console import Console
    from rich.table import Table

    from .summaries import limits, summary_rows

    rows = summary_rows(results)
    table = Table(title=f"{results['suite']}: {results['env']}")
    for column in rows[0]:
        table.add_column(column, justify="left" if column == "agent" else "right")
    for row in rows:
        table.add_row(*row.values())
    Console().print(table)
    print(limits(results)[0])
