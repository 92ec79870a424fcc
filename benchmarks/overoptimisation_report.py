"""The report of `bench over-optimisation`: one self-contained HTML file with the picture and the tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from descant.files import write_atomically

from .studies import Table


def write_report(tables: Sequence[Table], pictures: Sequence[Path], worlds: int, out: Path) -> Path:
    """Write out/report.html; its path."""
    import jinja2

    loader = jinja2.PackageLoader("descant.benchmarks")
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    drawn = [path.read_text() for path in pictures if path.suffix == ".svg"]
    page = environment.get_template("over_optimisation.html").render(
        tables=tables, worlds=worlds, pictures=[svg[svg.index("<svg") :] for svg in drawn]
    )
    write_atomically(path := out / "report.html", page.encode())
    return path
