"""Files as bytes, for machines that share no disk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from descant.errors import DescantError
from descant.files import write_atomically

LOCK = ".lock"
LAST = "manifest.json"  # what makes a checkpoint whole

Parcel = dict[str, bytes]


def pack(root: Path, names: Iterable[str]) -> Parcel:
    """The files, and all files of the folders, of these names below `root`, where there are such."""
    found: Parcel = {}
    for name in names:
        place = root / name
        files = [place] if place.is_file() else sorted(p for p in place.rglob("*") if p.is_file())
        found |= {f.relative_to(root).as_posix(): f.read_bytes() for f in files if f.name != LOCK}
    return found


def unpack(parcel: Mapping[str, bytes], root: Path) -> None:
    """Write a parcel below `root`, each file whole, the manifests of checkpoints last.

    Who is stopped in between leaves a checkpoint without its manifest, which counts as none. DescantError for a name
    that leads elsewhere, or a disk that is full.
    """
    for name in parcel:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise DescantError(f"A worker sent the file {name!r}, which does not lie in the results folder.")
    for name in parcel:
        if name.endswith(LAST):
            (root / name).unlink(missing_ok=True)
    for name in sorted(parcel, key=lambda name: name.endswith(LAST)):
        write_atomically(root / name, parcel[name])


def news(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> Parcel:
    """What is new or other in the second parcel."""
    return {name: content for name, content in after.items() if before.get(name) != content}
