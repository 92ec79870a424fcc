"""What W&B wrote offline, read back: the `.wandb` file of a session, without W&B's own service."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BLOCK = 32768
HEADER = 7  # bytes: checksum, length, kind
ENDS = (1, 4)  # a full record, or the last piece of one


def offline_runs(folder: Path) -> list[Path]:
    """The folders `offline-run-*` of all sessions below a folder, oldest first."""
    files = [file for file in folder.rglob("*.wandb") if file.parent.name.startswith("offline-run-")]
    return [file.parent for file in sorted(files, key=lambda file: file.stat().st_mtime_ns)]


def wandb_records(path: Path) -> Iterator[Any]:
    """The records of a `.wandb` file: LevelDB's log format, blocks of 32 KiB with records split over them."""
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]  # it is made on import

    data, at, whole = path.read_bytes(), HEADER, b""
    while at + HEADER <= len(data):
        if BLOCK - at % BLOCK < HEADER:  # no room for a header: padding
            at += BLOCK - at % BLOCK
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        whole += data[at + HEADER : at + HEADER + length]
        at += HEADER + length
        if kind in ENDS:
            yield Record.FromString(whole)
            whole = b""


def wandb_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Each row of a session's history; what is nested has its keys joined by /."""
    for record in wandb_records(path):
        if record.HasField("history"):
            yield {
                "/".join(item.nested_key) or item.key: json.loads(item.value_json)
                for item in record.history.item
            }
