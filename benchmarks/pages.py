"""Pages of reports: one self-contained HTML file out of a template and what fills it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from descant.files import write_atomically


def write_page(template: str, path: Path, **values: Any) -> Path:
    """Fill a template of benchmarks/templates, all text escaped; where the page lies."""
    import jinja2

    loader = jinja2.PackageLoader("descant.benchmarks")
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    write_atomically(path, environment.get_template(template).render(**values).encode())
    return path


def inline(svg: str) -> str:
    """A drawing without what stands in front of it in a file."""
    return svg[svg.index("<svg") :]


def drawings(pictures: Iterable[Path]) -> list[str]:
    """Those of the pictures that are SVG, to stand in a page."""
    return [inline(path.read_text()) for path in pictures if path.suffix == ".svg"]
