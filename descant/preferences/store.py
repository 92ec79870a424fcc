"""The store of preferences: clips, pairs and judgements in one SQLite file that is only ever added to."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from descant.errors import DescantError
from descant.preferences import connections
from descant.preferences.records import (
    Clip,
    Judgement,
    Pair,
    check_annotator,
    check_uuid,
    from_json,
    shown,
    to_json,
)


class Conflict(DescantError):
    """What is to be kept contradicts what is kept already."""


class Unknown(DescantError):
    """A pair, a clip or a judgement that the store does not have."""


@dataclass(frozen=True)
class Progress:
    """How many of the pairs an annotator has judged, how many there are, and what all have judged together."""

    done: int
    pairs: int
    judgements: int
    annotators: int


class Store:
    """A store at `path`; `with Store(path) as store:` closes it. Not for several threads at once.

    WAL, synchronous=FULL: what a method that writes has returned from is on the disk. DescantError where there is no
    store, it is damaged, another program's, or of a newer version.
    """

    def __init__(self, path: str | Path, read_only: bool = False) -> None:
        self.path = Path(path)
        self.connection = connections.connect(self.path, read_only)
        self._depth = 0

    @classmethod
    def create(cls, path: str | Path) -> Store:
        """A new empty store; DescantError where something is there."""
        connections.create(Path(path))
        return cls(path)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self.connection.close()

    def check(self) -> None:
        """DescantError where the file is damaged anywhere."""
        connections.check(self.connection, self.path)

    @contextlib.contextmanager
    def transaction(self, write: bool = True) -> Iterator[None]:
        """All that is done inside is kept, or none of it; one inside another is a part that may fail alone."""
        begin, end, back = (
            (f"SAVEPOINT part{self._depth}", f"RELEASE part{self._depth}", f"ROLLBACK TO part{self._depth}")
            if self._depth
            else ("BEGIN IMMEDIATE" if write else "BEGIN", "COMMIT", "ROLLBACK")
        )
        with connections.in_words(self.path):
            self.connection.execute(begin)
            self._depth += 1
            try:
                yield
                self.connection.execute(end)
            except BaseException:
                if self.connection.in_transaction:  # a full disk may have ended it
                    self.connection.execute(back)
                    if self._depth > 1:
                        self.connection.execute(end)
                raise
            finally:
                self._depth -= 1

    # Adding.

    def add_clip(self, clip: Clip) -> bool:
        """Keep a clip; False where its content is there from the same source, which stays as it is."""
        row = (clip.hash, clip.environment, to_json(dict(clip.arguments)), to_json(list(clip.tokens)))
        rest = (clip.source, clip.text, to_json(dict(clip.metadata)))
        sql = "INSERT INTO clips (hash, environment, arguments, tokens, source, text, metadata) VALUES (?,?,?,?,?,?,?)"
        with self.transaction():
            done = self.connection.execute(f"{sql} ON CONFLICT (hash) DO NOTHING", (*row, *rest))
        return done.rowcount == 1

    def add_pair(self, pair: Pair) -> bool:
        """Keep a pair; False where it is there.

        Unknown where a clip of it, or the pair it repeats, is not; Conflict where it contradicts what is kept.
        """
        with self.transaction():
            if (there := self.find_pair(pair.uuid)) is not None:
                if there != pair:
                    raise Conflict(f"The UUID {pair.uuid} is another pair's.")
                return False
            clips = (self._id("clips", "hash", pair.a), self._id("clips", "hash", pair.b))
            repeats = None if pair.repeats is None else self._repeated(pair)
            values = (pair.uuid, *clips, pair.left, repeats, pair.strategy, pair.model_hash, pair.created)
            sql = (
                "INSERT INTO pairs (uuid, a, b, left, repeats, strategy, model_hash, created) "
                "VALUES (?,?,?,?,?,?,?,?)"
            )
            self.connection.execute(sql, values)
        return True

    def _repeated(self, pair: Pair) -> int:
        first = self.find_pair(pair.repeats or "")
        if first is None:
            raise Unknown(f"The pair {pair.repeats} that is to be repeated is not in the store.")
        if first.sides != pair.sides[::-1] or first.a != pair.a:
            raise Conflict("A repeated pair must show the clips of the first with their sides swapped.")
        return self._id("pairs", "uuid", first.uuid)

    def add_judgement(self, judgement: Judgement) -> bool:
        """Keep a judgement as it stands; False where it is there.

        Unknown where its pair or what it supersedes is not, Conflict where it contradicts what is kept.
        """
        with self.transaction():
            if (there := self.find_judgement(judgement.uuid)) is not None:
                if there != judgement:
                    raise Conflict(f"The UUID {judgement.uuid} is another judgement's.")
                return False
            self._insert(judgement)
        return True

    def _insert(self, j: Judgement) -> None:
        pair = self._id("pairs", "uuid", j.pair)
        supersedes = None if j.supersedes is None else self._id("judgements", "uuid", j.supersedes)
        values = (j.uuid, pair, j.annotator, j.action, j.choice, supersedes, j.shown, j.decided, j.recorded)
        sql = (
            "INSERT INTO judgements (uuid, pair, annotator, action, choice, supersedes, shown, decided, recorded, "
            "listening, note) VALUES (?,?,?,?,?,?,?,?,?,?,?)"
        )
        try:
            self.connection.execute(sql, (*values, to_json(dict(j.listening)), j.note))
        except sqlite3.IntegrityError as error:
            raise Conflict(
                f"{j.annotator} has judged this pair otherwise already, or what is to be superseded is not the last "
                f"judgement of it ({error})."
            ) from error

    def _id(self, table: str, column: str, value: str) -> int:
        row = self.connection.execute(f"SELECT id FROM {table} WHERE {column} = ?", (value,)).fetchone()
        if row is None:
            raise Unknown(f"The store has no {table.removesuffix('s')} {shown(value)}.")
        return int(row[0])

    # What an annotator does.

    def judge(self, judgement: Judgement) -> Judgement:
        """Keep an annotator's judgement of a pair not judged yet, or judged and undone; as it was recorded.

        The same once more, by its UUID, changes nothing. Conflict where the pair has another judgement.
        """
        with self.transaction():
            if (there := self.find_judgement(judgement.uuid)) is not None:
                if (there.pair, there.annotator, there.choice) != (
                    judgement.pair,
                    judgement.annotator,
                    judgement.choice,
                ):
                    raise Conflict(f"The UUID {judgement.uuid} is another judgement's.")
                return there
            last = self._last_of(judgement.pair, judgement.annotator)
            if last is not None and last.choice is not None:
                raise Conflict(f"{judgement.annotator} has judged this pair already: undo that first.")
            kept = replace(judgement, supersedes=last.uuid if last else None, recorded=time.time())
            self._insert(kept)
        return kept

    def undo(self, annotator: str, uuid: str) -> Judgement:
        """Take back the annotator's latest judgement that stands; Unknown where there is none."""
        return self._change("undo", annotator, uuid)

    def redo(self, annotator: str, uuid: str) -> Judgement:
        """Restore what was undone last, unless something was judged since; Unknown where there is nothing."""
        return self._change("redo", annotator, uuid)

    def _change(self, action: str, annotator: str, uuid: str) -> Judgement:
        check_annotator(annotator)
        check_uuid("uuid", uuid)
        with self.transaction():
            if (there := self.find_judgement(uuid)) is not None:
                if (there.annotator, there.action) != (annotator, action):
                    raise Conflict(f"The UUID {uuid} is another judgement's.")
                return there
            last = self.undoable(annotator) if action == "undo" else self.redoable(annotator)
            if last is None:
                raise Unknown(f"{annotator} has nothing to {action}.")
            now = time.time()
            if action == "undo":
                kept = Judgement(last.pair, annotator, None, uuid, "undo", last.uuid, now, now)
            else:
                before = self.find_judgement(last.supersedes or "")
                assert before is not None  # an undo always takes something back
                kept = replace(before, uuid=uuid, action="redo", supersedes=last.uuid)
            kept = replace(kept, recorded=now)
            self._insert(kept)
        return kept

    def _last_of(self, pair: str, annotator: str) -> Judgement | None:
        """The end of the chain of a pair and an annotator."""
        number = self._id("pairs", "uuid", pair)
        found = self._judgements(
            "WHERE j.pair = ? AND j.annotator = ? ORDER BY j.id DESC LIMIT 1", number, annotator
        )
        return next(found, None)

    def undoable(self, annotator: str) -> Judgement | None:
        """The judgement that `undo` would take back."""
        return self._latest(annotator, "IS NOT NULL", "0")

    def redoable(self, annotator: str) -> Judgement | None:
        """The undo that `redo` would take back."""
        since = "SELECT coalesce(max(id), 0) FROM judgements WHERE annotator = ?1 AND action = 'judge'"
        return self._latest(annotator, "IS NULL", since)

    def _latest(self, annotator: str, choice: str, since: str) -> Judgement | None:
        where = (
            f"WHERE j.annotator = ?1 AND j.choice {choice} AND j.id > ({since}) "
            "AND NOT EXISTS (SELECT 1 FROM judgements k WHERE k.supersedes = j.id) ORDER BY j.id DESC LIMIT 1"
        )
        return next(self._judgements(where, annotator), None)

    # Asking.

    def find_clip(self, hash: str) -> Clip | None:
        """The clip of that hash."""
        return next(self._clips("WHERE hash = ?", hash), None)

    def find_pair(self, uuid: str) -> Pair | None:
        """The pair of that UUID."""
        return next(self._pairs("WHERE p.uuid = ?", uuid), None)

    def find_judgement(self, uuid: str) -> Judgement | None:
        """The judgement of that UUID, superseded or not."""
        return next(self._judgements("WHERE j.uuid = ?", uuid), None)

    def clips(self) -> Iterator[Clip]:
        """All clips, in the order in which they came."""
        return self._clips("ORDER BY id")

    def pairs(self) -> Iterator[Pair]:
        """All pairs, in the order in which they are shown."""
        return self._pairs("ORDER BY p.id")

    def judgements(self) -> Iterator[Judgement]:
        """All rows, superseded ones and undos too, in the order in which they came."""
        return self._judgements("ORDER BY j.id")

    def standing(self) -> Iterator[Judgement]:
        """The judgements that stand: neither undone nor superseded, in the order in which they came."""
        return self._judgements("ORDER BY j.id", table="standing")

    def counts(self) -> dict[str, int]:
        """How many clips, pairs, and judgements that stand."""
        rows = {name: self._one(f"SELECT count(*) FROM {name}") for name in ("clips", "pairs")}
        return {**rows, "judgements": self._one(f"SELECT {STANDING} FROM judgements")}

    def next_pairs(self, annotator: str, limit: int = 1) -> list[Pair]:
        """The first pairs that the annotator has no standing judgement of."""
        where = (
            "WHERE NOT EXISTS (SELECT 1 FROM standing s WHERE s.pair = p.id AND s.annotator = ?) "
            "ORDER BY p.id LIMIT ?"
        )
        return list(self._pairs(where, annotator, limit))

    def done(self, annotator: str) -> int:
        """How many pairs the annotator has judged."""
        return self._one(f"SELECT {STANDING} FROM judgements WHERE annotator = ?", annotator)

    def progress(self, annotator: str) -> Progress:
        """How far the annotator is, and all."""
        done = self.done(annotator)
        annotators = self._one("SELECT count(DISTINCT annotator) FROM judgements")
        counted = self.counts()
        return Progress(done, counted["pairs"], counted["judgements"], annotators)

    def _one(self, sql: str, *values: Any) -> int:
        with connections.in_words(self.path):
            return int(self.connection.execute(sql, values).fetchone()[0])

    def _rows(self, sql: str, values: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
        with connections.in_words(self.path):
            yield from self.connection.execute(sql, values)

    def _clips(self, where: str, *values: Any) -> Iterator[Clip]:
        sql = f"SELECT environment, arguments, tokens, source, text, metadata FROM clips {where}"
        for environment, arguments, tokens, source, text, metadata in self._rows(sql, values):
            with self._as_written():
                clip = Clip(
                    environment,
                    from_json(arguments),
                    tuple(from_json(tokens)),
                    source,
                    text,
                    from_json(metadata),
                )
            yield clip

    def _pairs(self, where: str, *values: Any) -> Iterator[Pair]:
        sql = (
            "SELECT a.hash, b.hash, p.left, p.strategy, p.uuid, r.uuid, p.model_hash, p.created FROM pairs p "
            f"JOIN clips a ON a.id = p.a JOIN clips b ON b.id = p.b LEFT JOIN pairs r ON r.id = p.repeats {where}"
        )
        for row in self._rows(sql, values):
            with self._as_written():
                pair = Pair(*row)
            yield pair

    def _judgements(self, where: str, *values: Any, table: str = "judgements") -> Iterator[Judgement]:
        sql = (
            "SELECT p.uuid, j.annotator, j.choice, j.uuid, j.action, s.uuid, j.shown, j.decided, j.recorded, "
            f"j.listening, j.note FROM {table} j JOIN pairs p ON p.id = j.pair "
            f"LEFT JOIN judgements s ON s.id = j.supersedes {where}"
        )
        for row in self._rows(sql, values):
            *plain, listening, note = row
            with self._as_written():
                judgement = Judgement(*plain, **{"listening": from_json(listening), "note": note})
            yield judgement

    @contextlib.contextmanager
    def _as_written(self) -> Iterator[None]:
        """All was checked before it was kept: what is wrong now has been damaged since."""
        try:
            yield
        except (DescantError, TypeError) as error:
            raise connections.damaged(self.path, str(error)) from error


# An undo takes one back, a redo or a new judgement adds one.
STANDING = "coalesce(sum(CASE action WHEN 'undo' THEN -1 ELSE 1 END), 0)"
