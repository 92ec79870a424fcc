"""How far a run is: a bar for a person, a line now and then for a log; and a way to stop it politely."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from .interrupts import Interrupt, interruptible

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["Interrupt", "Reporter", "interruptible", "progress"]

SECONDS_PER_LINE = 10.0
SECONDS_PER_FRAME = 0.1


class Reporter(Protocol):
    """What `progress` yields."""

    def update(self, step: int, **values: float) -> None:
        """Say that `step` of the total steps are done, and what the latest values are."""


@contextlib.contextmanager
def progress(
    total: int, description: str, start: int = 0, enabled: bool = True, unit: str = "steps"
) -> Iterator[Reporter]:
    """Report on stderr how far the steps (or another unit) from `start` to `total` are: a bar, or a line every 10 s."""
    if not enabled:
        yield _Silence()
    elif _is_screen():
        with _bar(total, description, start, unit) as bar:
            yield bar
    else:
        lines = _Lines(total, description, start, unit)
        try:
            yield lines
        finally:
            lines.end()


class _Silence:
    def update(self, step: int, **values: float) -> None:
        """Say nothing."""


class _Lines:
    """Plain lines for a log file: the first after ten seconds, the last at the end."""

    def __init__(self, total: int, description: str, start: int, unit: str) -> None:
        self._total, self._description, self._start, self._step = total, description, start, start
        self._unit = unit
        self._values: dict[str, float] = {}
        self._began = self._printed = time.monotonic()
        self._shown: int | None = None

    def update(self, step: int, **values: float) -> None:
        self._step = step
        self._values |= values
        if time.monotonic() - self._printed >= SECONDS_PER_LINE:
            self.print()

    def end(self) -> None:
        if self._step != self._shown:
            self.print()

    def print(self) -> None:
        self._printed = time.monotonic()
        self._shown = self._step
        speed = (self._step - self._start) / max(self._printed - self._began, 1e-9)
        parts = [
            _share(self._step, self._total),
            f"{speed:,.0f} {self._unit}/s",
            _left(self._total - self._step, speed),
        ]
        line = f"{self._description}: {', '.join(part for part in [*parts, _text(self._values)] if part)}"
        print(line, file=sys.stderr, flush=True)


class _Bar:
    """A bar that is redrawn by `update` alone: no thread, so that a process with a bar may fork."""

    def __init__(self, bar: Progress, total: int, description: str, start: int, unit: str) -> None:
        self._bar, self._start, self._unit = bar, start, unit
        self._task = bar.add_task(description, total=total, completed=start, values="", speed="")
        self._values: dict[str, float] = {}
        self._began = time.monotonic()
        self._drawn = 0.0

    def update(self, step: int, **values: float) -> None:
        self._values |= values
        now = time.monotonic()
        speed = f"{(step - self._start) / max(now - self._began, 1e-9):,.0f} {self._unit}/s"
        self._bar.update(self._task, completed=step, values=_text(self._values), speed=speed)
        if now - self._drawn >= SECONDS_PER_FRAME:
            self._drawn = now
            self._bar.refresh()


@contextlib.contextmanager
def _bar(total: int, description: str, start: int, unit: str) -> Iterator[_Bar]:
    from rich import progress as columns
    from rich.console import Console

    bar = columns.Progress(
        columns.TextColumn("{task.description}", markup=False),
        columns.BarColumn(),
        columns.TaskProgressColumn(),
        columns.TextColumn("{task.fields[speed]}", markup=False),
        columns.TimeRemainingColumn(),
        columns.TextColumn("{task.fields[values]}", markup=False),
        console=Console(file=sys.stderr),
        auto_refresh=False,
        redirect_stdout=sys.stdout.isatty(),  # never a pipe: a program reads it
    )
    with bar:
        yield _Bar(bar, total, description, start, unit)


def _is_screen() -> bool:
    """Whether stderr is a terminal that can redraw a line."""
    import os

    return sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")


def _share(step: int, total: int) -> str:
    return f"{step:,}/{total:,} ({100 * step / total:.0f} %)" if total else f"{step:,}"


def _left(steps: int, speed: float) -> str:
    if steps <= 0 or speed <= 0:
        return ""
    minutes, seconds = divmod(round(steps / speed), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02} left"


def _text(values: dict[str, float]) -> str:
    """The last four, whole numbers in full."""
    last = list(values.items())[-4:]
    return ", ".join(
        f"{name} {value:,}" if type(value) is int else f"{name} {value:.3g}" for name, value in last
    )
