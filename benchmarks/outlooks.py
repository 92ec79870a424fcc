"""What is left of a benchmark: jobs that have no result yet, and the minutes they take where they were timed."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .jobs import is_kept
from .runner import is_done
from .specs import Suite, runs_of
from .studies import Study
from .suites.full import MINUTES


@dataclass(frozen=True)
class Outlook:
    """`left` of so many `jobs`, and what these take: minutes of one core, None where that is not known."""

    name: str
    jobs: int
    left: int
    minutes: float | None

    def text(self) -> str:
        """In words."""
        time = "not timed" if self.minutes is None else f"{self.minutes:.3g} min of one core"
        return f"{self.left} of {self.jobs} jobs left, {time}"


def outlook(suite: Suite | Study, out: Path, seeds: int | None = None, **options: Any) -> Outlook:
    """What a suite or study will do in a results folder; DescantError where it can't begin.

    Minutes are those of all its jobs with its own seeds, in proportion to the jobs that are left.
    """
    done = (
        _of_study(suite, out, seeds, **options) if isinstance(suite, Study) else _of_suite(suite, out, seeds)
    )
    whole = None if "data" in options else MINUTES.get(suite.name)  # text of one's own is not timed
    usual = suite.seeds if isinstance(suite, Study) else len(suite.seeds)
    left = done.count(False)
    share = left / len(done) * (usual if seeds is None else seeds) / usual
    return Outlook(suite.name, len(done), left, None if whole is None else whole * share)


def _of_study(study: Study, out: Path, seeds: int | None, **options: Any) -> list[bool]:
    return [
        is_kept(job, out) for job in study.jobs(range(study.seeds if seeds is None else seeds), **options)
    ]


def _of_suite(suite: Suite, out: Path, seeds: int | None) -> list[bool]:
    chosen = suite if seeds is None else dataclasses.replace(suite, seeds=tuple(range(seeds)))
    return [is_done(run, out) for run in runs_of(chosen)]
