"""Writing files so that nobody sees half of one."""

from __future__ import annotations

import os
import secrets
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
