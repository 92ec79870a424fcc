"""Pictures of studies: a figure as SVG and PNG, the same bytes from the same results."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from descant.files import write_atomically


def write_figure(
    made: Callable[[], Any], out: Path, stem: str, dpi: int = 120, font: int = 11
) -> tuple[Path, ...]:
    """Write out/STEM.svg and .png of the figure that `made` gives; `font` its size in points."""
    import matplotlib

    matplotlib.use("Agg")
    files = []
    with matplotlib.rc_context({"svg.hashsalt": "descant", "font.size": font}):
        figure = made()
        for kind in ("svg", "png"):
            buffer = io.BytesIO()
            metadata = {"Date": None} if kind == "svg" else {}  # the same results give the same file
            figure.savefig(buffer, format=kind, dpi=dpi, metadata=metadata)
            write_atomically(path := out / f"{stem}.{kind}", buffer.getvalue())
            files.append(path)
    return tuple(files)
