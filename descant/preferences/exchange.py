"""A store as JSON lines or as CSV, out and in, without loss: exported, imported and exported again it is the same.

What can't be read on the way in is skipped and counted, by line. Importing the same twice adds nothing.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import itertools
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from descant.errors import DescantError
from descant.preferences.connections import SQLITE, Unsaved
from descant.preferences.records import Clip, Judgement, Pair, as_dict, from_json, shown, to_json
from descant.preferences.store import Store
from descant.runs.progress import Reporter, progress

FORMAT = 1
KINDS: dict[str, type[Any]] = {"clip": Clip, "pair": Pair, "judgement": Judgement}
FILES = {"clip": "clips.csv", "pair": "pairs.csv", "judgement": "judgements.csv"}
JSON_FIELDS = ("arguments", "tokens", "metadata", "listening")
TIMES = ("created", "shown", "decided", "recorded")
LONGEST_LINE = 1 << 20  # bytes
BATCH = 1_000  # lines kept at once: short enough for others to write in between
MANY = 20_000  # lines from which on an import says how far it is
TOLD = 10  # broken lines that a report quotes
FORMULA = "=+-@\t\r'"  # a cell that begins so is a formula to a spreadsheet, so it gets an apostrophe

Line = tuple[str, str, Any]  # where it stands, kind of record, fields or what is wrong with them


@dataclass
class Report:
    """What an import did: records added and already there by kind, and the lines that were skipped."""

    added: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    there: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    skipped: int = 0
    reasons: list[str] = field(default_factory=list)  # of the first that were skipped

    @property
    def lines(self) -> int:
        """How many lines were read."""
        return sum(self.added.values()) + sum(self.there.values()) + self.skipped

    def skip(self, place: str, reason: str) -> None:
        """Count a line that could not be taken."""
        self.skipped += 1
        if len(self.reasons) < TOLD:
            self.reasons.append(f"{place}: {reason}")


# Out.


def export_jsonl(store: Store, path: Path) -> dict[str, int]:
    """Write the store as JSON lines, whole or not at all; how many records of each kind."""
    with store.transaction(write=False), _written(path) as file:
        print(to_json({"type": "store", "format": FORMAT}), file=file)
        counts = dict.fromkeys(KINDS, 0)
        for kind, record in _records(store):
            counts[kind] += 1
            print(to_json({"type": kind} | _fields(record)), file=file)
    return counts


def export_csv(store: Store, folder: Path) -> dict[str, int]:
    """Write clips.csv, pairs.csv and judgements.csv into a folder; how many records of each kind."""
    counts = dict.fromkeys(KINDS, 0)
    with store.transaction(write=False), contextlib.ExitStack() as stack:
        files = {kind: stack.enter_context(_written(folder / name)) for kind, name in FILES.items()}
        writers = {kind: csv.writer(file, lineterminator="\n") for kind, file in files.items()}
        for kind, writer in writers.items():
            writer.writerow(_columns(kind))
        for kind, record in _records(store):
            counts[kind] += 1
            fields = _fields(record)
            writers[kind].writerow([_cell(fields[name]) for name in _columns(kind)])
    return counts


def _records(store: Store) -> Iterator[tuple[str, Clip | Pair | Judgement]]:
    # Each kind after those that it points at.
    for clip in store.clips():
        yield "clip", clip
    for pair in store.pairs():
        yield "pair", pair
    for judgement in store.judgements():
        yield "judgement", judgement


def _fields(record: Clip | Pair | Judgement) -> dict[str, Any]:
    fields = as_dict(record)
    return fields | {"hash": record.hash} if isinstance(record, Clip) else fields


def _columns(kind: str) -> list[str]:
    names = [f.name for f in dataclasses.fields(KINDS[kind])]
    return ["hash", *names] if kind == "clip" else names


def _cell(value: Any) -> str:
    """A field as a cell: nothing for None, an apostrophe before what a spreadsheet would run or take for nothing."""
    if value is None:
        return ""
    if isinstance(value, str):
        return f"'{value}" if not value or value[0] in FORMULA else value
    return repr(value) if isinstance(value, float) else to_json(value)


@contextlib.contextmanager
def _written(path: Path) -> Iterator[IO[str]]:
    """A text file that replaces `path` once it is whole and on the disk."""
    target = Path(os.path.realpath(path))
    aside = target.parent / f".descant-{secrets.token_hex(8)}.tmp"
    try:
        if target.exists() and not target.is_file():
            raise IsADirectoryError(None, "it is a folder or a device, not a file")
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(aside, "x", encoding="utf-8", newline="") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, target)
    except (OSError, ValueError) as error:
        if isinstance(error, DescantError):
            raise
        reason = getattr(error, "strerror", None) or str(error)
        raise DescantError(f"Cannot write {os.fspath(path)!r}: {reason}. Give another path.") from error
    finally:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)


# In.


def check_source(path: Path) -> None:
    """DescantError for what can't be imported; to be asked before a store is open: `path` may be that store itself."""
    if not path.exists():
        raise DescantError(f"Cannot read {os.fspath(path)!r}: there is nothing there. Check the path.")
    if path.is_dir():
        _check_folder(path)
        return
    with _opened(path) as file:
        if file.read(len(SQLITE)) == SQLITE:
            raise DescantError(
                f"{path} is a database: descant prefs export {path} --out FILE, and import that."
            )


def import_any(store: Store, path: Path, progress_bar: bool = False) -> Report:
    """Add what a file of JSON lines, or a folder of CSV files, holds; DescantError where it is neither."""
    lines, total = (_read_csv if path.is_dir() else _read_jsonl)(path), _count_lines(path)
    with progress(total, "import", enabled=progress_bar and total >= MANY, unit="lines") as bar:
        return import_lines(store, lines, bar)


def import_lines(store: Store, lines: Iterable[Line], bar: Reporter | None = None) -> Report:
    """Add records to the store, a batch at a time; those that can't be taken are counted with their reason."""
    report = Report()
    add: dict[str, Callable[[Any], bool]] = {
        "clip": store.add_clip,
        "pair": store.add_pair,
        "judgement": store.add_judgement,
    }
    for batch in _batches(iter(lines)):
        with store.transaction():
            for place, kind, fields in batch:
                try:
                    new = add[kind](_record(kind, fields))
                except Unsaved:
                    raise
                except DescantError as error:
                    report.skip(place, str(error))
                else:
                    (report.added if new else report.there)[kind] += 1
        if bar is not None:
            bar.update(report.lines, skipped=report.skipped)
    return report


def _batches(lines: Iterator[Line]) -> Iterator[list[Line]]:
    while batch := list(itertools.islice(lines, BATCH)):
        yield batch


def _record(kind: str, fields: Any) -> Clip | Pair | Judgement:
    """A record from its fields; DescantError where one is missing, unknown or wrong."""
    if isinstance(fields, DescantError):
        raise fields
    known = dataclasses.fields(KINDS[kind])
    wanted = fields.pop("hash", None) if kind == "clip" else None
    if unknown := sorted(set(fields) - {f.name for f in known}):
        raise DescantError(f"a {kind} has no {shown(unknown[0])}")
    # What names a record can't be made up on the way in: the same line would become another record each time.
    required = {f.name for f in known if f.default is f.default_factory} | (
        {"uuid"} if kind != "clip" else set()
    )
    if missing := sorted(required - set(fields)):
        raise DescantError(f"this {kind} has no {missing[0]}")
    if kind == "clip":
        if not isinstance(fields["tokens"], list):
            raise DescantError("tokens must be a list of whole numbers")
        fields["tokens"] = tuple(fields["tokens"])
    record: Clip | Pair | Judgement = KINDS[kind](**fields)
    if wanted is not None and isinstance(record, Clip) and record.hash != wanted:
        raise DescantError(f"its content has the hash {record.hash[:12]}..., not {shown(wanted)}")
    return record


def _read_jsonl(path: Path) -> Iterator[Line]:
    with _opened(path) as file:
        for number in itertools.count(1):
            line = file.readline(LONGEST_LINE + 1)
            if not line:
                return
            place = f"line {number}"
            if len(line) > LONGEST_LINE:
                while line and not line.endswith(b"\n"):
                    line = file.readline(LONGEST_LINE)
                yield place, "clip", DescantError(f"longer than {LONGEST_LINE:,} bytes")
            elif line.strip():
                try:
                    kind, fields = _parsed(line)
                except DescantError as error:
                    yield place, "clip", error
                else:
                    if kind != "store":
                        yield place, kind, fields


def _parsed(line: bytes) -> tuple[str, dict[str, Any]]:
    data = from_json(line)
    if not isinstance(data, dict):
        raise DescantError("not a JSON object")
    kind = data.pop("type", None)
    if kind == "store" and data.get("format") != FORMAT:
        raise Unsaved(f"This is an export of format {data.get('format')}, not {FORMAT}: upgrade descant.")
    if kind != "store" and kind not in KINDS:
        raise DescantError(f"no type of record: {shown(kind)}")
    return kind, data


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    try:
        with open(path, "rb") as file:
            yield file
    except (OSError, ValueError) as error:
        if isinstance(error, DescantError):
            raise
        reason = getattr(error, "strerror", None) or str(error)
        raise DescantError(f"Cannot read {os.fspath(path)!r}: {reason}. Check the path.") from error


def _count_lines(path: Path) -> int:
    """About how many lines there are to read; 0 where they can't be read, which reading them tells."""
    files = [path / name for name in FILES.values()] if path.is_dir() else [path]
    total = 0
    for name in files:
        with contextlib.suppress(OSError, ValueError), open(name, "rb") as file:
            while part := file.read(1 << 20):
                total += part.count(b"\n")
    return total


def _check_folder(folder: Path) -> None:
    if not any((folder / name).is_file() for name in FILES.values()):
        raise DescantError(
            f"{folder} has none of {', '.join(FILES.values())}: give a folder of an export as CSV."
        )


def _read_csv(folder: Path) -> Iterator[Line]:
    _check_folder(folder)
    for kind, name in FILES.items():
        if (folder / name).is_file():
            with _opened(folder / name) as file:
                yield from _read_table(file, kind, name)


def _read_table(file: IO[bytes], kind: str, name: str) -> Iterator[Line]:
    # What is no UTF-8 becomes lone surrogates, which no record takes: a broken line, not a broken file. Spreadsheets
    # begin what they save as UTF-8 with a mark (-sig).
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
    rows = csv.reader(text, strict=True)
    columns = _header(rows, name)
    while True:
        place = f"{name} line {rows.line_num + 1}"
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield place, kind, DescantError(f"not CSV: {error}")
            continue
        if not cells:
            continue
        if len(cells) != len(columns):
            yield place, kind, DescantError(f"{len(cells)} cells in place of {len(columns)}")
            continue
        try:
            yield place, kind, {c: _value(c, cell) for c, cell in zip(columns, cells, strict=True)}
        except DescantError as error:
            yield place, kind, error


def _header(rows: Iterator[list[str]], name: str) -> list[str]:
    try:
        return next(rows)
    except (StopIteration, csv.Error) as error:
        raise DescantError(f"{name} has no header: export it again.") from error


def _value(column: str, cell: str) -> Any:
    """A cell as the field it was."""
    if column in JSON_FIELDS:
        return from_json(cell)
    if column in TIMES:
        try:
            return float(cell)
        except ValueError:
            raise DescantError(f"{column} is no number: {shown(cell)}") from None
    if cell == "":
        return "" if column == "note" else None
    return cell.removeprefix("'")
