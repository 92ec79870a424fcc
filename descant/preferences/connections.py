"""Opening the SQLite file of a store: made whole, told from other files, brought up to date, errors in words."""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from descant.errors import DescantError
from descant.preferences.schema import APPLICATION_ID, MIGRATIONS
from descant.version import __version__

SQLITE = b"SQLite format 3\x00"  # what each of its databases begins with (sqlite.org/fileformat.html)

WAIT = 30.0  # seconds that a writer waits for another


class Unsaved(DescantError):
    """What was to be kept is not: the disk is full, or the store is damaged, locked or read-only."""


def create(path: Path) -> None:
    """A new empty store; it appears whole. DescantError where something is there, or it can't be made."""
    path = Path(os.path.abspath(path))
    if path.exists():
        raise DescantError(f"{path} is there already: add to it, or give another name.")
    refuse_log(path)
    aside = path.with_name(f".descant-{secrets.token_hex(8)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with in_words(path), contextlib.closing(sqlite3.connect(aside, isolation_level=None)) as connection:
            migrate(connection)
        with open(aside, "rb") as file:
            os.fsync(file.fileno())
        os.link(aside, path)  # unlike a rename it never replaces what appeared meanwhile
    except OSError as error:
        raise DescantError(f"Cannot make the store {path}: {error.strerror}. Give another path.") from error
    finally:
        aside.unlink(missing_ok=True)


def refuse_log(path: Path) -> None:
    """DescantError where the log of a store that is gone lies there: SQLite would read it into the new one."""
    log = path.with_name(path.name + "-wal")
    if log.exists() and log.stat().st_size:
        raise DescantError(
            f"{log} is left of a store that is gone, and may hold judgements: put that store back beside it, or move "
            "it away, or give another name."
        )


def connect(path: Path, read_only: bool = False) -> sqlite3.Connection:
    """A connection to the store at `path`; DescantError where there is none, it is damaged, foreign or newer."""
    refuse_others(path)
    mode = "ro" if read_only else "rw"
    address = f"{address_of(path)}?mode={mode}"
    with in_words(path):
        connection = sqlite3.connect(
            address, uri=True, timeout=WAIT, isolation_level=None, check_same_thread=False
        )
        try:
            prepare(connection, path, read_only)
        except BaseException:
            connection.close()
            raise
    return connection


def prepare(connection: sqlite3.Connection, path: Path, read_only: bool) -> None:
    """Settings of a connection; an older schema is brought up to date."""
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA trusted_schema = OFF")
    version = version_of(connection)
    if version > len(MIGRATIONS):
        raise DescantError(
            f"{path} is a store of version {version}, this descant {__version__} reads up to {len(MIGRATIONS)}: "
            "upgrade descant."
        )
    if read_only:
        if version < len(MIGRATIONS):
            raise DescantError(
                f"{path} is a store of an older version: open it once with descant prefs pairs."
            )
        return
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    migrate(connection)


def refuse_others(path: Path) -> None:
    """DescantError for what is no store, before anything is written to it.

    It is read through SQLite alone: to open and close the file by other means would drop the locks that this process
    holds on it, and another process could then take the log away from under an open store (POSIX's rule for locks).
    """
    if not path.exists():
        raise DescantError(f"There is no store {path}: make one with descant prefs new {path}.")
    if path.is_dir():
        raise DescantError(f"{path} is a folder, no store of preferences: give a file.")
    with in_words(path):
        try:
            application = application_of(path)
        except sqlite3.DatabaseError as error:
            if "not a database" not in str(error):
                raise
            raise DescantError(
                f"{path} is no store of preferences, or it is damaged: give one, or restore it."
            ) from error
    if application != APPLICATION_ID:
        raise DescantError(f"{path} is a database of another program, no store of preferences.")


def application_of(path: Path) -> int:
    """The number by which programs mark their databases."""
    with contextlib.closing(sqlite3.connect(f"{address_of(path)}?mode=ro", uri=True, timeout=WAIT)) as found:
        return int(found.execute("PRAGMA application_id").fetchone()[0])


def address_of(path: Path) -> str:
    """The path as a URI."""
    return Path(os.path.abspath(path)).as_uri()


def version_of(connection: sqlite3.Connection) -> int:
    """The version of the schema, 0 for an empty database."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the schema up to date in one transaction."""
    if version_of(connection) == len(MIGRATIONS):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        for script in MIGRATIONS[
            version_of(connection) :
        ]:  # asked again: another process may have been faster
            for statement in statements(script):
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def statements(script: str) -> Iterator[str]:
    """The statements of a script one by one: `executescript` would commit on its own."""
    statement = ""
    for part in script.split(";")[:-1]:
        statement += part + ";"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


@contextlib.contextmanager
def in_words(path: Path) -> Iterator[None]:
    """SQLite's errors as DescantErrors that say what to do."""
    try:
        yield
    except sqlite3.IntegrityError:
        raise
    except sqlite3.OperationalError as error:
        if "decode" in str(error):  # text that is no text any more
            raise damaged(path, str(error).partition(" with text")[0]) from error
        raise Unsaved(f"{path}: {error}. {_remedy(str(error))}") from error
    except sqlite3.DatabaseError as error:
        raise damaged(path, str(error)) from error


def damaged(path: Path, what: str) -> Unsaved:
    """What to do with a store in which something is not as it was written."""
    return Unsaved(
        f"{path} is damaged ({what}): copy it away with its -wal file, then restore it from an export, or save "
        f"what is left with: sqlite3 {path} .recover"
    )


def _remedy(message: str) -> str:
    if "full" in message:
        return "Nothing of this was kept: make room on the disk and try again."
    if "locked" in message or "busy" in message:
        return "Another program is writing to it: try again when it is done."
    if "readonly" in message:
        return "It can't be written to: change its permissions, or copy it."
    return "Check that the file and its folder can be read and written, and that the disk has room."


def check(connection: sqlite3.Connection, path: Path) -> None:
    """DescantError where any page of the store is damaged; takes a second or so for a gigabyte."""
    with in_words(path):
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise sqlite3.DatabaseError(str(found).splitlines()[-1])
