"""Progress of several runs at once: a bar each on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

LINE_SECONDS = 10.0


class Board:
    """Shows (label, total) of each run on stderr; `update` says how far one has come."""

    def __init__(self, runs: Sequence[tuple[str, int]]) -> None:
        self.runs = list(runs)
        self._steps = [0] * len(runs)
        self._last = 0.0
        self._screen = sys.stderr.isatty()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._bars: list[TaskID] = []

    def __enter__(self) -> Self:
        if self._screen:
            self._progress.start()
            self._bars = [self._progress.add_task(name, total=total) for name, total in self.runs]
        return self

    def update(self, run: int, step: int) -> None:
        """Show that a run has come to `step`."""
        self._steps[run] = min(step, self.runs[run][1])
        if self._screen:
            self._progress.update(self._bars[run], completed=self._steps[run])
        elif time.monotonic() - self._last >= LINE_SECONDS:
            self._print()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._screen:
            self._progress.stop()
        elif self.runs:
            self._print()

    def _print(self) -> None:
        self._last = time.monotonic()
        shares = [f"{n} {s / t:.0%}" for (n, t), s in zip(self.runs, self._steps, strict=True)]
        print(", ".join(shares), file=sys.stderr, flush=True)
