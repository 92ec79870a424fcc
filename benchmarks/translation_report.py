"""The report of `bench translation`: one self-contained HTML file: tables, pictures, translations side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from descant.files import write_atomically

from .pages import drawings, write_page
from .studies import Table
from .translation_tables import CROSS_ENTROPY, Row
from .translation_worlds import KL, MIXED, VINE


def write_report(
    tables: Sequence[Table],
    worlds: Mapping[str, Sequence[Row]],
    pictures: Mapping[str, Sequence[Path]],
    failed: Sequence[str],
    out: Path,
) -> tuple[Path, Path]:
    """Write out/report.html, and out/samples.md with the translations alone; their paths."""
    samples = {name: side_by_side(rows) for name, rows in worlds.items()}
    path = write_page(
        "translation.html",
        out / "report.html",
        tables=tables,
        pictures={name: drawings(files)[0] for name, files in pictures.items()},
        kl=KL,
        samples=samples,
        failed=failed,
    )
    write_atomically(text := out / "samples.md", _markdown(samples).encode())
    return path, text


def side_by_side(rows: Sequence[Row]) -> list[list[tuple[str, str]]]:
    """Ten sources spread over the test split, each with its reference and what the first model's ways make of it on
    their first seed."""
    own = [row for row in rows if row.model == rows[0].model and row.values]
    shown = [
        row
        for row in own
        if row.name in (CROSS_ENTROPY, VINE, MIXED, "vine", "rloo", "mixer") or row.name.endswith("length")
    ]
    if not shown:
        return []
    found = {row.title: row.values[min(row.values)]["samples"] for row in shown}
    return [
        [
            ("source", told[0][0]),
            ("reference", told[0][1]),
            *((title, text) for title, (*_, text) in zip(found, told, strict=True)),
        ]
        for told in zip(*found.values(), strict=True)
    ]


def _markdown(samples: Mapping[str, Any]) -> str:
    lines = []
    for name, found in samples.items():
        lines.append(f"### {name}: ten translations side by side\n")
        for sample in found:
            lines += [f"- {title}: {text}" for title, text in sample] + [""]
    return "\n".join(lines) + "\n"
