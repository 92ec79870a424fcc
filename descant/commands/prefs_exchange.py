"""`descant prefs export` and `descant prefs import`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from descant.commands.output import print_json
from descant.errors import DescantError
from descant.preferences.exchange import check_source, export_csv, export_jsonl, import_any
from descant.preferences.store import Store


@dataclasses.dataclass
class Export:
    """Write a store as JSON lines, or as a folder of CSV files, without loss.

    Example: descant prefs export taste.db --out taste.jsonl
    """

    store: Annotated[Path, tyro.conf.Positional]
    """A store that descant prefs new made."""
    out: Path
    """The file to write, or the folder for CSV."""
    format: Literal["jsonl", "csv"] = "jsonl"
    """One file of JSON lines, or clips.csv, pairs.csv and judgements.csv."""
    json: bool = False
    """Print JSON."""

    def run(self) -> int:
        """Write; say how much."""
        if self.out.exists() and self.store.exists() and self.out.samefile(self.store):
            raise DescantError(
                f"--out is the store itself, which would be lost: give another path than {self.out}."
            )
        with Store(self.store) as store:
            counts = (export_csv if self.format == "csv" else export_jsonl)(store, self.out)
        if self.json:
            print_json({"out": str(self.out), **{f"{kind}s": number for kind, number in counts.items()}})
        else:
            print(f"{_told(counts)} to {self.out}")
        return 0


@dataclasses.dataclass
class Import:
    """Add to a store what an export holds, from JSON lines or a folder of CSV files.

    The store is made where there is none. What is there already is not added again, so that a second try does no
    harm. Exit status 1 where lines were skipped.

    Example: descant prefs import taste.db others.jsonl
    """

    store: Annotated[Path, tyro.conf.Positional]
    """The store to add to."""
    source: Annotated[Path, tyro.conf.Positional]
    """A file of JSON lines, or a folder with clips.csv, pairs.csv and judgements.csv."""
    progress: bool = True
    """Show a progress bar."""
    json: bool = False
    """Print JSON."""

    def run(self) -> int:
        """Read; say what was added, was there, and was skipped and why."""
        check_source(self.source)  # before a store is made for nothing
        with Store(self.store) if self.store.exists() else Store.create(self.store) as store:
            report = import_any(store, self.source, self.progress)
        if self.json:
            print_json(dataclasses.asdict(report))
        else:
            print(f"added {_told(report.added)}; there already: {_told(report.there)}")
            for reason in report.reasons:
                print(f"  {reason}")
            if report.skipped:
                print(f"skipped {report.skipped} lines")
        return 1 if report.skipped else 0


def _told(counts: dict[str, int]) -> str:
    return ", ".join(f"{number} {kind}s" for kind, number in counts.items())
