"""`descant bench` and `descant report`."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from descant.commands.bounds import at_least
from descant.commands.output import print_json
from descant.errors import DescantError, did_you_mean
from descant.registry import suites

from .studies import Study, as_json, print_table, run_study


@dataclasses.dataclass
class Bench:
    """Run a benchmark: a suite such as quick, a study such as regret, or speed.

    quick trains reinforce and sb3/ppo on generated cantus firmi and puts them between chance and the exact optimum
    on Fux's six, above and below; it leaves a table, report.html, and every counterpoint as MIDI, score and sound.
    speed compares with what others have, as ratios in one run. regret trains agents on Tokens-v0, ten seeds each, and
    says how many nats they stay from the exact KL-regularised optimum. kl-control tunes a prior on a reward, plainly,
    with penalties on weights and with KL control, and shows what is forgotten. rl-tuner tunes a model of folk tunes on
    rules of melody, beside the figures of Jaques et al. 2017. What was stopped goes on when it is
    asked for again. Exit status 1 where a bar is missed or a run failed.

    Example: descant bench quick --out results/quick
    """

    suite: Annotated[str, tyro.conf.Positional] = "quick"
    """speed, or a name that descant list shows, or module:attr."""
    out: Path | None = None
    """Results folder; by default results/SUITE."""
    workers: int = 2
    """Training processes at a time, one thread each."""
    seeds: int | None = None
    """How many seeds a study takes, if not its own number; a suite names its seeds."""
    prior: Path | None = None
    """A finished run of descant pretrain for rl-tuner to tune, in place of one that it trains itself."""
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
        if self.suite == "speed":
            self._options(())
            return self._speed()
        if self.suite not in suites.names() and ":" not in self.suite:
            known = [*suites.names(), "speed"]
            raise DescantError(f"Unknown suite {self.suite!r}.{did_you_mean(self.suite, known)}")
        at_least(1, workers=self.workers, seeds=self.seeds)
        suite = suites.get(self.suite)
        self._options(getattr(suite, "options", ()))
        try:
            code = self._study(suite) if isinstance(suite, Study) else self._suite(suite)
            return self._upload(suite.name, code) if self.wandb_sync else code
        except KeyboardInterrupt:
            print(
                f"stopped; what is done is kept. Go on with: {_again(self, suite.name)}",
                file=sys.stderr,
            )
            return 130

    def _upload(self, name: str, code: int) -> int:
        from descant.runs.wandb_uploads import upload

        out = self.out or Path("results") / name
        print(f"uploaded {len(upload(out))} runs of {out} to Weights & Biases", file=sys.stderr)
        return code

    def _options(self, known: tuple[str, ...]) -> dict[str, Any]:
        """What the user told a study besides its seeds; DescantError for what it does not take."""
        if self.prior is None:
            return {}
        if "prior" not in known:
            raise DescantError(f"{self.suite} takes no --prior: leave it out, or run descant bench rl-tuner.")
        return {"prior": self.prior}

    def _speed(self) -> int:
        from .speed import measure, print_speed

        rows = measure()
        print_json([dataclasses.asdict(row) for row in rows]) if self.json else print_speed(rows)
        return 0 if all(row.met for row in rows) else 1

    def _study(self, study: Study) -> int:
        out = self.out or Path("results") / study.name
        tables = run_study(study, out, self.seeds, self.workers, **self._options(study.options))
        if self.json:
            print_json(as_json(tables))
        else:
            for table in tables:
                print_table(table)
        return 0 if all(table.met and not table.failed for table in tables) else 1

    def _suite(self, suite: Any) -> int:
        from .report import write_report
        from .results import evaluate_suite
        from .runner import train_all
        from .specs import runs_of
        from .wandb_suites import write_suite

        begin = time.monotonic()
        out = self.out or Path("results") / suite.name
        trained = train_all(runs_of(suite), out, self.workers)
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


@dataclasses.dataclass
class Report:
    """Write the HTML report of a results folder anew.

    Example: descant report results/quick
    """

    results: Annotated[Path, tyro.conf.Positional]
    """A folder that descant bench has written."""

    def run(self) -> int:
        """Write report.html."""
        from .report import write_report
        from .results import read_results

        print(write_report(read_results(self.results), self.results))
        return 0


def _again(bench: Bench, name: str) -> str:
    seeds = "" if bench.seeds is None else f" --seeds {bench.seeds}"
    prior = "" if bench.prior is None else f" --prior {bench.prior}"
    return f"descant bench {bench.suite} --out {bench.out or Path('results') / name}{seeds}{prior}"


def print_summary(results: dict[str, Any]) -> None:
    """A table on stdout, a row a run."""
    from rich.console import Console
    from rich.table import Table

    from .report import summary_rows

    table = Table(title=f"{results['suite']}: Fux's six cantus firmi, above and below")
    for column in ("agent", "score", "without error", "warnings", "trained on", "in"):
        table.add_column(column, justify="left" if column == "agent" else "right")
    for row in summary_rows(results):
        table.add_row(*row.values())
    Console().print(table)
