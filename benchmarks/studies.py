"""A study: a benchmark that is jobs over seeds and a table of what they found, with a bar for each row."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import indent
from typing import Any

from descant.files import write_atomically

from . import raw
from .executors import LOCAL, Executor
from .jobs import Done, Job, run_jobs
from .statistics import between as between  # studies take these from here
from .statistics import caution
from .statistics import give_or_take as give_or_take
from .statistics import interval as interval


@dataclass(frozen=True)
class Table:
    """What a study found: `rows` of equal length under `columns`, ready to print, and the raw `data` as JSON.

    `met` is False where a bar is missed or a seed failed; `failed` names what failed; `files` were written; `note` is
    what must be said of its numbers.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    data: Any
    met: bool = True
    failed: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Study:
    """`jobs(seeds)` says what to run, `tables(done, out)` what came of it; pictures are left in `out`.

    `options` names what else `jobs` can be told, which the user may leave out. Jobs that are timed run `alone`.
    """

    name: str
    jobs: Callable[..., list[Job]]
    tables: Callable[[list[Done], Path], list[Table]]
    seeds: int = 10
    options: tuple[str, ...] = ()
    alone: bool = False


def run_study(
    study: Study,
    out: Path,
    seeds: int | None = None,
    workers: int = 2,
    executor: Executor = LOCAL,
    **options: Any,
) -> list[Table]:
    """Run what is not done yet; the tables, also written to out/NAME.md and out/NAME.json, with raw.jsonl.gz."""
    jobs = study.jobs(range(study.seeds if seeds is None else seeds), **options)
    done = run_jobs(jobs, out, 1 if study.alone else workers, executor)
    raw.write_jobs(study.name, done, out / raw.NAME)
    return write_tables(study, done, out)


def write_tables(study: Study, done: list[Done], out: Path) -> list[Table]:
    """What a study found, written to out/NAME.md and out/NAME.json."""
    tables = _cautioned(study.tables(done, out), done)
    write_atomically(out / f"{study.name}.md", "\n\n".join(map(markdown, tables)).encode() + b"\n")
    write_atomically(out / f"{study.name}.json", (json.dumps(as_json(tables), indent=1) + "\n").encode())
    return tables


def _cautioned(tables: list[Table], done: Sequence[Done]) -> list[Table]:
    """The tables, the last with what must be said of intervals from so many seeds."""
    seeds = {d.job.arguments["seed"] for d in done if "seed" in d.job.arguments}
    if not seeds or not tables:
        return tables
    return [*tables[:-1], replace(tables[-1], note=caution(len(seeds)))]


def errors_of(done: Sequence[Done]) -> tuple[str, ...]:
    """What each job that failed says: a line, and the traceback below it."""
    return tuple(f"{d.job.title}: {d.error}\n{d.trace}".rstrip() for d in done if d.error)


def as_json(tables: Sequence[Table]) -> list[dict[str, Any]]:
    """Title, data, whether bars were met, failures and files of each table."""
    return [
        {
            "title": table.title,
            "data": table.data,
            "met": table.met,
            "failed": table.failed,
            "files": [str(file) for file in table.files],
            "note": table.note,
        }
        for table in tables
    ]


def markdown(table: Table) -> str:
    """The table as Markdown, its failures below it."""
    lines = [f"### {table.title}", "", _line(table.columns), _line(["---"] * len(table.columns))]
    lines += [_line(row) for row in table.rows]
    if table.failed:
        lines += ["", *(f"- failed: {_below(failure)}" for failure in table.failed)]
    if table.note:
        lines += ["", table.note]
    return "\n".join(lines)


def print_table(table: Table) -> None:
    """The table on stdout, what failed, and where its files lie."""
    from rich.console import Console
    from rich.table import Table as Screen

    screen = Screen(title=table.title)
    for i, column in enumerate(table.columns):
        screen.add_column(column, justify="right" if i else "left")
    for row in table.rows:
        screen.add_row(*row)
    Console().print(screen)
    for failure in table.failed:
        print(f"failed: {failure}")
    for file in table.files:
        print(file)
    if table.note:
        print(table.note)


def _below(failure: str) -> str:
    """A failure as an item of a list, its traceback as code in it."""
    line, _, trace = failure.partition("\n")
    return line + (f"\n\n{indent(trace, ' ' * 6)}" if trace else "")


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
