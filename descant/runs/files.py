"""Files that are whole or not there: written aside, fsynced, renamed."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path


def write_file(path: Path, data: bytes) -> None:
    """Write `data` to a new file and wait until the disk has it."""
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def replace_file(path: Path, data: bytes) -> None:
    """Put `data` at `path`: at every moment the file there is the whole old one or the whole new one."""
    temporary = path.with_name(f"{temporary_prefix(path)}{os.getpid()}-{secrets.token_hex(4)}")
    try:
        write_file(temporary, data)
        os.replace(temporary, path)
        sync_folder(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def temporary_prefix(path: Path) -> str:
    """What the name of everything written aside for `path` begins with."""
    return f".{path.name}.tmp-"


def sync_folder(path: Path) -> None:
    """Wait until the disk has the folder's entries: without it a rename may be lost with the power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
