"""metrics.jsonl, the truth about a run: one record a line, appended; dashboards mirror it."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import DescantError
from .files import replace_file

RESERVED = ("step", "time")
_ADVICE = "Free some space, then go on with --resume"


class MetricsFile:
    """Append-only JSON lines `{"step": int, "time": seconds, name: value, ...}`.

    `time` counts from the run's beginning and goes on where the last record of an earlier session stopped.
    JSON has no NaN: a value that isn't finite is written as `null`. Each line is written at once, so a killed
    process loses none; `sync` fsyncs, so a machine that loses power keeps what came before. Opening drops a
    torn last line.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Open or begin the file; DescantError where it can't be written or an earlier line is broken."""
        self.path = path
        self._clock = clock
        records = read_metrics(path) if path.exists() else []
        self.count = len(records)
        if not _ends_with_newline(path):
            _rewrite(path, records)
        self._open(records)

    def append(self, step: int, values: Mapping[str, float]) -> dict[str, float | None]:
        """Write one record; returns the values as written, so that mirrors show the same numbers."""
        written = plain_values(values)
        seconds = round(self._clock() - self._began, 3)
        line = json.dumps({"step": int(step), "time": seconds, **written}, allow_nan=False)
        try:
            self._write(f"{line}\n".encode())
        except OSError as error:
            raise DescantError(
                f"cannot write {self.path}: {error}. Free some space, then --resume"
            ) from error
        self.count += 1
        return written

    def truncate(self, step: int) -> None:
        """Drop the records after `step`, as if the run had stopped there; rewrites the rest atomically."""
        self._file.close()
        records = [record for record in read_metrics(self.path) if record["step"] <= step]
        if len(records) < self.count:
            _rewrite(self.path, records)
        self.count = len(records)
        self._open(records)

    def sync(self) -> None:
        """Wait until the disk has every record."""
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise DescantError(
                f"cannot write {self.path}: {error}. Free some space, then --resume"
            ) from error

    def close(self) -> None:
        """Close the file; closing twice is fine."""
        self._file.close()

    def _write(self, line: bytes) -> None:
        """All of the line or, where the disk is full, nothing of it."""
        size = os.fstat(self._file.fileno()).st_size
        try:
            if self._file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file.fileno(), size)
            raise

    def _open(self, records: list[dict[str, Any]]) -> None:
        try:
            self._file = self.path.open("ab", buffering=0)  # a line is in the kernel when it is written
        except OSError as error:
            raise DescantError(f"cannot write {self.path}: {error}. Choose another --out") from error
        self._began = self._clock() - (records[-1]["time"] if records else 0.0)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The records in order. A last line without its newline is torn and left out unless it is whole.

    DescantError names the line where any other one is broken, and where there is no file.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DescantError(f"cannot read the metrics {path}: {error}. Give the folder of a run") from error
    return list(_records(path, data))


def plain_values(values: Mapping[str, float]) -> dict[str, float | None]:
    """Values as JSON has them: int, float, None where not finite; DescantError for a reserved name."""
    for name in RESERVED:
        if name in values:
            raise DescantError(f"a metric can't be named {name!r}, which every record has: rename the metric")
    return {name: _plain(name, value) for name, value in values.items()}


def _plain(name: str, value: Any) -> float | None:
    """One number, also from NumPy's and torch's scalars."""
    number = value.item() if hasattr(value, "item") else value
    if not isinstance(number, (int, float)):
        raise DescantError(f"the metric {name!r} must be a number, not a {type(number).__name__}: convert it")
    if isinstance(number, int):
        return int(number)
    return float(number) if math.isfinite(number) else None


def _records(path: Path, data: bytes) -> Iterator[dict[str, Any]]:
    lines = data.split(b"\n")
    for number, line in enumerate(lines, start=1):
        is_tail = number == len(lines)  # what follows the last newline: nothing, or a line that was cut off
        if is_tail and not line:
            return
        record = _parse(line)
        if record is not None:
            yield record
        elif not is_tail:
            raise DescantError(
                f"{path}, line {number} is not a record of metrics: the file was damaged or edited. "
                "Mend or delete that line"
            )


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line.decode())
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and _is_record(record) else None


def _is_record(record: dict[str, Any]) -> bool:
    return type(record.get("step")) is int and type(record.get("time")) in (int, float)


def _ends_with_newline(path: Path) -> bool:
    """Whether the next line may be appended: an absent and an empty file are fine too."""
    if not path.exists() or not path.stat().st_size:
        return True
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def _rewrite(path: Path, records: list[dict[str, Any]]) -> None:
    try:
        replace_file(path, "".join(json.dumps(record) + "\n" for record in records).encode())
    except OSError as error:
        raise DescantError(f"cannot rewrite {path}: {error}. {_ADVICE}") from error
