"""Compressed MusicXML (.mxl): a zip archive whose META-INF/container.xml says which of its files is the score.

No more is ever unpacked than a file of tunes may have: what an archive says of its sizes is not believed.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from xml.etree import ElementTree
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile

from descant.errors import DescantError

CONTAINER = "META-INF/container.xml"
CONTAINER_BYTES = 100_000  # it names a file or two


def score_in(path: Path, most: int) -> bytes:
    """The MusicXML in an archive; DescantError where there is none, it is damaged, or unpacks to over `most` bytes."""
    try:
        with ZipFile(path) as archive:
            return _unpacked(path, archive, _score_name(path, archive), most)
    except DescantError:
        raise
    except (BadZipFile, OSError, EOFError, zlib.error, ValueError, RuntimeError, struct.error) as error:
        raise DescantError(f"{path} is no readable .mxl archive ({error}): export it again.") from error


def _score_name(path: Path, archive: ZipFile) -> str:
    """The first file that the container names: others, if any, are the same in other forms."""
    try:
        container = ElementTree.fromstring(_unpacked(path, archive, CONTAINER, CONTAINER_BYTES))
    except ElementTree.ParseError as error:
        raise DescantError(f"{CONTAINER} in {path} is damaged ({error}): export it again.") from error
    for file in container.iter():
        if _plain(file.tag) == "rootfile":
            return file.get("full-path", "")
    raise DescantError(f"{CONTAINER} in {path} names no score: export it again, or as plain .musicxml.")


def _unpacked(path: Path, archive: ZipFile, name: str, most: int) -> bytes:
    try:
        entry = archive.getinfo(name)
    except KeyError:
        raise DescantError(f"{path} has no {name!r} in it: export it again, or as plain .musicxml.") from None
    if entry.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        raise DescantError(f"{path} is packed in a way that .mxl is not: export it again.")
    with archive.open(entry) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise DescantError(
            f"{name!r} in {path} unpacks to over {most / 1e6:g} MB, more than a file of tunes may have: cut it up."
        )
    return content


def _plain(tag: str) -> str:
    """The name of an element without its namespace."""
    return tag.rpartition("}")[2]
