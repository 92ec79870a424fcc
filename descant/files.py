"""Writing files so that nobody sees half of one, or half of several that belong together."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

from descant.errors import DescantError


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Write `content` to `path` in one step, making its folder where needed.

    A file that was there stays untouched until the new one is complete. DescantError names a path that
    can't be written.
    """
    try:
        _write_and_replace(Path(os.path.realpath(path)), content)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise DescantError(f"Cannot write {os.fspath(path)!r}: {reason}. Give another path.") from error


def _write_and_replace(target: Path, content: bytes) -> None:
    # Replacing /dev/null or a pipe would destroy it, and a folder can't be replaced.
    if target.exists() and not target.is_file():
        raise IsADirectoryError(None, "it is a folder or a device, not a file")
    target.parent.mkdir(parents=True, exist_ok=True)
    # mkstemp would leave the file readable by its owner alone; open() honours the umask.
    temporary = target.parent / f".descant-{secrets.token_hex(8)}.tmp"
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def write_together(folder: str | os.PathLike[str], files: Mapping[str, bytes]) -> list[Path]:
    """Write files by name into `folder`, all of them or none; their paths.

    All are written aside first. A folder that isn't there then appears whole; in one that is there, files of these
    names are replaced in one go and others stay. DescantError names a folder that can't be written.
    """
    try:
        _write_aside_and_move(Path(os.path.realpath(folder)), files)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DescantError(
            f"Cannot write to {os.fspath(folder)!r}: {reason}. Give another folder."
        ) from error
    return [Path(folder) / name for name in files]


def _write_aside_and_move(target: Path, files: Mapping[str, bytes]) -> None:
    there = target.exists()
    if there and not target.is_dir():
        raise NotADirectoryError(None, "it is a file, not a folder")
    for name in files:
        if (target / name).is_dir():
            raise IsADirectoryError(None, f"{name} is a folder there")
    # Inside of a folder that is there: it may be a file system of its own, between which nothing can be moved.
    around = target if there else target.parent
    around.mkdir(parents=True, exist_ok=True)
    aside = around / f".descant-{secrets.token_hex(8)}.tmp"
    try:
        aside.mkdir()
        for name, content in files.items():
            with open(aside / name, "xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        if there:
            for name in files:
                os.replace(aside / name, target / name)
        else:
            os.rename(aside, target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
