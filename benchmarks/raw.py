"""Raw data: every number of a benchmark as lines of JSON in one compressed file; a study's tables are made from it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from descant.errors import DescantError
from descant.files import write_atomically

from .work import Done, Job

NAME = "raw.jsonl.gz"
FORMAT = 1
OF_JOB = ("title", "work", "arguments")
OF_DONE = ("value", "seconds", "error", "trace")


def write_lines(path: Path, lines: Iterable[dict[str, Any]]) -> Path:
    """Write them compressed; the same lines give the same file."""
    text = "".join(json.dumps(line) + "\n" for line in lines)
    write_atomically(path, gzip.compress(text.encode(), mtime=0))
    return path


def write_jobs(study: str, done: Sequence[Done], path: Path) -> Path:
    """Write a study's jobs, in order: what each was asked and what it found."""
    told = [
        {name: getattr(d.job, name) for name in OF_JOB} | {name: getattr(d, name) for name in OF_DONE}
        for d in done
    ]
    return write_lines(
        path, [{"kind": "study", "study": study, "format": FORMAT}, *({"kind": "job", **job} for job in told)]
    )


def read_jobs(path: Path) -> tuple[str, list[Done]]:
    """The name of the study and how its jobs ended; DescantError for a file that does not hold that."""
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            head, *jobs = map(json.loads, file)
        if head["kind"] != "study" or head["format"] != FORMAT:
            raise ValueError(f"it holds a {head['kind']} of format {head['format']}")
        return head["study"], [
            Done(Job(*(job[name] for name in OF_JOB)), *(job[name] for name in OF_DONE)) for job in jobs
        ]
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        raise DescantError(
            f"{path} can't be read ({reason}): give the {NAME} that descant bench STUDY has left."
        ) from error
