"""The report of `bench over-optimisation`: one self-contained HTML file with the picture and the tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .pages import drawings, write_page
from .studies import Table


def write_report(tables: Sequence[Table], pictures: Sequence[Path], worlds: int, out: Path) -> Path:
    """Write out/report.html; its path."""
    drawn = drawings(pictures)
    return write_page(
        "over_optimisation.html", out / "report.html", tables=tables, worlds=worlds, pictures=drawn
    )
