"""A measurement of `bench speed`, and tables of many."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """One measurement: a value, its unit, and the bar it should clear (None where there is none).

    The value is None where what it is measured beside is not installed; `sides` are what a ratio was made of, ours
    first.
    """

    name: str
    value: float | None
    unit: str
    bar: float | None = None
    at_most: bool = False
    detail: str = ""
    sides: tuple[float, ...] = ()

    @property
    def met(self) -> bool:
        """Whether the bar is cleared, or there is none, or no value."""
        if self.bar is None or self.value is None:
            return True
        return self.value <= self.bar if self.at_most else self.value >= self.bar

    @property
    def shown(self) -> tuple[str, str, str, str]:
        """What was measured, the value, the bar, the detail."""
        bar = "" if self.bar is None else f"at {'most' if self.at_most else 'least'} {self.bar:g}"
        value = "-" if self.value is None else f"{self.value:,.{digits(self.value)}f} {self.unit}"
        return self.name, value, bar if self.met else f"{bar}  MISSED", self.detail


COLUMNS = ("what", "value", "bar", "detail")


def digits(value: float) -> int:
    """Decimals that make three figures or more."""
    return next((n for n in range(5) if abs(value) >= 10.0 ** (2 - n)), 5)


def as_data(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Rows as JSON."""
    return [dataclasses.asdict(row) for row in rows]


def from_data(data: Sequence[dict[str, Any]]) -> list[Row]:
    """The rows of such JSON."""
    return [Row(**row | {"sides": tuple(row["sides"])}) for row in data]
