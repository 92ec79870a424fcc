"""What tests of refused commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

Refused = Callable[..., str]


def snapshot(folder: Path) -> dict[str, bytes | None]:
    """Every path below a folder but runs' locks, and what files hold."""
    found = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.name != ".lock"}
    return {name: path.read_bytes() if path.is_file() else None for name, path in found.items()}
