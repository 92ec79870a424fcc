"""What every tracker can do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, Self


class Tracker(Protocol):
    """Takes numbers by step; `sync` at checkpoints makes them safe, `close` ends the session."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Record the values at environment step `step`; the same step may be logged more than once."""

    def sync(self) -> None:
        """Make what was logged survive a crash, as far as this tracker can."""

    def close(self) -> None:
        """End the session; closing twice is fine."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
