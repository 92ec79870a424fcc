"""Replacing a whole folder: at every moment the old one or the new one can be found, whole."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from .files import sync_folder, temporary_prefix, write_file

_writing: set[str] = set()  # folders that this process is writing now: its own process id says too little


def replace_folder(path: Path, files: Mapping[str, bytes]) -> None:
    """Make `path` a folder of just these files, safe on the disk; OSError leaves what was there before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _clean(path)
    with _folder_aside(path, files) as new:
        _swap(path, new)


def aside(path: Path) -> Path:
    """Where the old folder is while a new one takes its place: the one to read if `path` is missing."""
    return path.with_name(f".{path.name}.old")


def _clean(path: Path) -> None:
    """Remove what replacements that were killed have left beside `path`."""
    if path.exists():  # and where it doesn't, the one aside is the only one
        _remove(aside(path))
    prefix = temporary_prefix(path)
    for folder in list(path.parent.iterdir()):
        if folder.name.startswith(prefix) and folder.name not in _writing and not _is_alive(folder.name):
            _remove(folder)


def _is_alive(name: str) -> bool:
    """Whether another process, a living one, is writing the temporary folder `.NAME.tmp-PID-random`."""
    pid = name.rpartition(".tmp-")[2].partition("-")[0]
    if not pid.isdecimal() or int(pid) == os.getpid():
        return False
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True  # somebody else's process
    return True


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


@contextlib.contextmanager
def _folder_aside(path: Path, files: Mapping[str, bytes]) -> Iterator[Path]:
    """A temporary folder beside `path` with the files; gone afterwards if it was not renamed."""
    folder = path.with_name(f"{temporary_prefix(path)}{os.getpid()}-{secrets.token_hex(4)}")
    _writing.add(folder.name)
    try:
        folder.mkdir()
        for name, data in files.items():
            write_file(folder / name, data)
        sync_folder(folder)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _writing.discard(folder.name)


def _swap(path: Path, new: Path) -> None:
    """Rename the old folder aside and the new one in."""
    old = aside(path)
    if path.exists():
        os.replace(path, old)
    try:
        os.replace(new, path)
    except OSError:
        if old.exists():
            os.replace(old, path)
        raise
    sync_folder(path.parent)
    _remove(old)
