"""The store: what is kept, what is refused, undo and redo, and files that are no stores."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from descant.errors import DescantError
from descant.preferences import connections
from descant.preferences.connections import Unsaved
from descant.preferences.records import Clip, Judgement, Pair, new_uuid
from descant.preferences.schema import MIGRATIONS
from descant.preferences.store import Conflict, Progress, Store, Unknown

from .records import MELODY, filled, judged, melody, pair_of


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with five pairs."""
    return filled(tmp_path / "taste.db")


def test_what_is_added_is_there_after_reopening(tmp_path: Path) -> None:
    clips = [melody(0), melody(1), Clip("text", {"source": "Haus"}, (), "mt", "house", {"run": "r"})]
    pairs = [pair_of(clips[0], clips[1], "b", model_hash="m", created=12.5)]
    pairs.append(pair_of(clips[0], clips[1], "a", repeats=pairs[0].uuid))
    with Store.create(tmp_path / "a.db") as store:
        assert all(store.add_clip(clip) for clip in clips)
        assert not store.add_clip(clips[0])
        assert all(store.add_pair(pair) for pair in pairs)
        assert not store.add_pair(pairs[0])
        kept = store.judge(
            judged(pairs[0], note="<b>nice</b>\n", listening={"left": [1.5]}, shown=1.0, decided=2.0)
        )
    with Store(tmp_path / "a.db") as store:
        assert list(store.clips()) == clips
        assert list(store.pairs()) == pairs
        assert list(store.judgements()) == [kept]
        assert kept.recorded > 1e9
        assert store.find_clip(clips[2].hash) == clips[2]
        assert store.find_clip("0" * 64) is None


def test_writing_is_durable_and_the_schema_versioned(store: Store) -> None:
    def pragma(name: str) -> object:
        return store.connection.execute(f"PRAGMA {name}").fetchone()[0]

    assert pragma("journal_mode") == "wal"
    assert pragma("synchronous") == 2  # FULL
    assert pragma("foreign_keys") == 1
    assert pragma("user_version") == len(MIGRATIONS)


@pytest.mark.parametrize("table", ["clips", "pairs", "judgements"])
@pytest.mark.parametrize("change", ["UPDATE {} SET id = id + 100", "DELETE FROM {}"])
def test_nothing_kept_can_be_changed(store: Store, table: str, change: str) -> None:
    store.judge(judged(next(store.pairs())))
    with pytest.raises(sqlite3.IntegrityError, match="only ever added to"):
        store.connection.execute(change.format(table))


def test_the_hash_names_the_content_and_the_source() -> None:
    assert melody(1).hash != melody(2).hash
    assert melody(1).hash != melody(1, "other").hash
    assert melody(1).content == melody(1, "other").content
    assert melody(1).hash != melody(1, key="D").hash
    assert (
        Clip(MELODY, {"steps": 9, "key": "C"}, (2,), "m", metadata={"x": 1}).hash
        == Clip(MELODY, {"key": "C", "steps": 9}, (2,), "m").hash
    )


def test_undo_and_redo_go_back_and_forth(store: Store) -> None:
    pairs = list(store.pairs())
    for pair, choice in zip(pairs, ["a", "b", "tie"], strict=False):
        store.judge(judged(pair, choice=choice, note=choice))
    assert store.progress("ann") == Progress(3, 5, 3, 1)
    assert store.undo("ann", new_uuid()).pair == pairs[2].uuid
    assert store.undo("ann", new_uuid()).pair == pairs[1].uuid
    assert [j.choice for j in store.standing()] == ["a"]
    assert store.next_pairs("ann", 2) == [pairs[1], pairs[2]]
    again = store.redo("ann", new_uuid())
    assert (again.pair, again.choice, again.note) == (pairs[1].uuid, "b", "b")
    assert [j.choice for j in store.standing()] == ["a", "b"]
    store.judge(judged(pairs[2], choice="skip"))
    with pytest.raises(Unknown, match="nothing to redo"):
        store.redo("ann", new_uuid())
    assert [j.choice for j in store.standing()] == ["a", "b", "skip"]
    assert len(list(store.judgements())) == 7
    assert store.progress("ann").done == 3
    for _ in range(3):
        store.undo("ann", new_uuid())
    with pytest.raises(Unknown, match="nothing to undo"):
        store.undo("ann", new_uuid())
    assert store.progress("ann") == Progress(0, 5, 0, 1)


def test_what_was_undone_before_another_judgement_is_not_redone(store: Store) -> None:
    first, second, *_ = store.pairs()
    store.judge(judged(first))
    store.judge(judged(second))
    store.undo("ann", new_uuid())
    store.undo("ann", new_uuid())
    store.judge(judged(first, choice="b"))
    assert store.redoable("ann") is None
    with pytest.raises(Unknown):
        store.redo("ann", new_uuid())
    assert store.next_pairs("ann") == [second]


def test_annotators_do_not_touch_each_other(store: Store) -> None:
    first = next(store.pairs())
    store.judge(judged(first, "ann"))
    store.judge(judged(first, "bob", "b"))
    with pytest.raises(Unknown):
        store.undo("cleo", new_uuid())
    store.undo("ann", new_uuid())
    assert [(j.annotator, j.choice) for j in store.standing()] == [("bob", "b")]
    assert store.progress("ann") == Progress(0, 5, 1, 2)


def test_the_same_once_more_changes_nothing(store: Store) -> None:
    vote = judged(next(store.pairs()))
    assert store.judge(vote) == store.judge(vote)
    back = new_uuid()
    assert store.undo("ann", back) == store.undo("ann", back)
    forth = new_uuid()
    assert store.redo("ann", forth) == store.redo("ann", forth)
    assert len(list(store.judgements())) == 3


def test_what_contradicts_is_refused(store: Store) -> None:
    first, second, *_ = store.pairs()
    vote = store.judge(judged(first))
    with pytest.raises(Conflict, match="judged this pair already"):
        store.judge(judged(first, choice="b"))
    with pytest.raises(Conflict, match="another judgement's"):
        store.judge(judged(second, uuid=vote.uuid))
    with pytest.raises(Conflict, match="another judgement's"):
        store.undo("ann", vote.uuid)
    with pytest.raises(Unknown, match="no pair"):
        store.judge(Judgement(new_uuid(), "ann", "a"))
    with pytest.raises(Conflict):  # a second beginning of the chain
        store.add_judgement(judged(first, choice="b"))
    with pytest.raises(Conflict):  # supersedes another pair's
        store.add_judgement(judged(second, choice=None, action="undo", supersedes=vote.uuid))
    with pytest.raises(Conflict):  # a judgement over one that stands
        store.add_judgement(judged(first, supersedes=vote.uuid))
    store.undo("ann", new_uuid())
    with pytest.raises(Conflict):  # what was superseded is superseded once more
        store.add_judgement(judged(first, choice=None, action="undo", supersedes=vote.uuid))
    assert len(list(store.judgements())) == 2


def test_pairs_must_fit_the_store(store: Store) -> None:
    first = next(store.pairs())
    with pytest.raises(Unknown, match="no clip"):
        store.add_pair(Pair("0" * 64, first.b, "a", "random"))
    with pytest.raises(Unknown, match="is not in the store"):
        store.add_pair(Pair(first.a, first.b, "a", "random", repeats=new_uuid()))
    with pytest.raises(Conflict, match="sides swapped"):
        store.add_pair(Pair(first.a, first.b, first.left, "random", repeats=first.uuid))
    with pytest.raises(Conflict, match="another pair's"):
        store.add_pair(Pair(first.a, first.b, "b", "random", uuid=first.uuid))
    assert store.counts() == {"clips": 6, "pairs": 5, "judgements": 0}


@pytest.mark.parametrize(
    "fields",
    [
        {"choice": "c"}, {"choice": None}, {"choice": "a", "action": "undo"}, {"choice": "a", "action": "redo"},
        {"choice": "a", "action": "change"}, {"annotator": ""}, {"annotator": " ann"}, {"annotator": "a\nb"},
        {"annotator": "a" * 81}, {"annotator": 7}, {"note": "x" * 2001}, {"note": "\x00"}, {"note": "\ud800"},
        {"note": None}, {"shown": -1.0}, {"shown": float("nan")}, {"decided": 1e12}, {"decided": "now"},
        {"recorded": True}, {"uuid": "1"}, {"uuid": new_uuid().upper()}, {"pair": "1"}, {"supersedes": 3},
        {"listening": []}, {"listening": {"x": float("inf")}}, {"listening": {"x": "y" * 70_000}},
        {"listening": {1: 2}}, {"listening": {"x": object()}},
    ],
)  # fmt: skip
def test_a_judgement_that_can_not_be_is_refused(fields: dict[str, object]) -> None:
    right: dict[str, object] = {"pair": new_uuid(), "annotator": "ann", "choice": "a"}
    Judgement(**right)  # type: ignore[arg-type]
    with pytest.raises(DescantError):
        Judgement(**right | fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "fields",
    [
        {"tokens": (-1,)}, {"tokens": (True,)}, {"tokens": [1]}, {"tokens": (1.0,)}, {"tokens": (1,) * 10_001},
        {"source": ""}, {"text": "x" * 20_001}, {"arguments": None}, {"metadata": {"x": {"y": float("nan")}}},
    ],
)  # fmt: skip
def test_a_clip_that_can_not_be_is_refused(fields: dict[str, object]) -> None:
    right: dict[str, object] = {"environment": "e", "arguments": {}, "tokens": (1,), "source": "s"}
    Clip(**right)  # type: ignore[arg-type]
    with pytest.raises(DescantError):
        Clip(**right | fields)  # type: ignore[arg-type]


def test_deep_nesting_is_refused_and_not_followed() -> None:
    deep: dict[str, object] = {}
    for _ in range(5_000):
        deep = {"x": deep}
    with pytest.raises(DescantError, match="levels"):
        Clip("e", deep, (), "s")


# Files that are no stores.


def test_a_missing_store_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(DescantError, match="make one with descant prefs new"):
        Store(tmp_path / "gone.db")
    assert not list(tmp_path.iterdir())


def test_what_is_there_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_text("mine")
    with pytest.raises(DescantError, match="there already"):
        Store.create(tmp_path / "a.db")
    assert [path.name for path in tmp_path.iterdir()] == ["a.db"]


@pytest.mark.parametrize("content", [b"", b"mine" * 30, b"SQLite format 3\0" + b"\0" * 84])
def test_a_file_of_something_else_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.db").write_bytes(content)
    with pytest.raises(DescantError, match=r"no store of preferences"):
        Store(tmp_path / "a.db")
    with pytest.raises(DescantError, match="is a folder"):
        Store(tmp_path)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.db", content)]


def test_a_database_of_another_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "a.db")
    other.execute("CREATE TABLE clips (id)")
    other.commit()
    other.close()
    before = (tmp_path / "a.db").read_bytes()
    with pytest.raises(DescantError, match="another program"):
        Store(tmp_path / "a.db")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.db", before)]


def test_a_newer_store_is_refused(store: Store) -> None:
    store.connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    store.close()
    with pytest.raises(DescantError, match=r"upgrade descant"):
        Store(store.path)


def test_an_older_store_is_migrated_and_keeps_all(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = store.judge(judged(next(store.pairs())))
    store.close()
    later = "CREATE TABLE more (id INTEGER); INSERT INTO more VALUES (7);"
    monkeypatch.setattr(connections, "MIGRATIONS", (*MIGRATIONS, later))
    with pytest.raises(DescantError, match="older version"):
        Store(store.path, read_only=True)
    with Store(store.path) as reopened:
        assert list(reopened.judgements()) == [kept]
        assert reopened.connection.execute("SELECT id FROM more").fetchall() == [(7,)]
        assert reopened.connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS) + 1,)


def test_a_migration_that_fails_leaves_the_store_as_it_was(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.close()
    monkeypatch.setattr(
        connections, "MIGRATIONS", (*MIGRATIONS, "CREATE TABLE more (id); CREATE TABLE clips (id);")
    )
    with pytest.raises(Unsaved):
        Store(store.path)
    monkeypatch.undo()
    with Store(store.path) as reopened:
        assert reopened.counts()["pairs"] == 5


def read_all(path: Path) -> None:
    """Check a store and read its pairs."""
    with Store(path) as store:
        store.check()
        list(store.pairs())


def test_a_damaged_store_says_so_and_is_left_alone(store: Store) -> None:
    store.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    store.close()
    whole = store.path.read_bytes()
    middle = len(whole) // 2
    store.path.write_bytes(whole[:4096] + os.urandom(middle) + whole[4096 + middle :])
    with pytest.raises(Unsaved, match="damaged"):
        read_all(store.path)
    store.path.write_bytes(whole[: len(whole) // 3])
    with pytest.raises(Unsaved, match="damaged"):
        read_all(store.path)


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("clips", "arguments", b'{"key": "\xff"}'), ("clips", "tokens", b"[1, "), ("clips", "tokens", b"7"),
        ("pairs", "strategy", b"\xe9"), ("pairs", "strategy", b"a\x01b"), ("judgements", "listening", b"[]"),
    ],
)  # fmt: skip
def test_a_record_that_is_not_as_it_was_written_is_damage(
    store: Store, table: str, column: str, value: bytes
) -> None:
    store.judge(judged(next(store.pairs())))
    store.connection.execute(f"DROP TRIGGER {table}_no_update")
    store.connection.execute(f"UPDATE {table} SET {column} = CAST(? AS TEXT) WHERE id = 1", (value,))
    with pytest.raises(Unsaved, match=r"taste\.db is damaged .*restore it from an export"):
        list(getattr(store, table)())


def test_the_log_of_a_store_that_is_gone_does_not_spoil_another(store: Store, tmp_path: Path) -> None:
    log = tmp_path / "new.db-wal"
    shutil.copy(tmp_path / "taste.db-wal", log)  # as a kill and a removal of the store alone leave it
    before = log.read_bytes()
    with pytest.raises(DescantError, match=r"new\.db-wal is left of a store that is gone"):
        Store.create(tmp_path / "new.db")
    assert log.read_bytes() == before
    assert not (tmp_path / "new.db").exists()
    log.write_bytes(b"")  # holds nothing
    Store.create(tmp_path / "new.db").close()


def test_a_whole_store_passes_the_check(store: Store) -> None:
    store.check()


def judge_much(store: Store, pair: Pair) -> None:
    """A hundred long judgements of one pair."""
    for _ in range(100):
        store.judge(judged(pair, new_uuid(), note="long " * 400))


def test_a_full_disk_loses_only_what_was_refused(store: Store) -> None:
    first, second, *_ = store.pairs()
    kept = store.judge(judged(first))
    pages = store.connection.execute("PRAGMA page_count").fetchone()[0]
    store.connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(Unsaved, match="make room on the disk"):
        judge_much(store, second)
    before = list(store.judgements())
    assert before[0] == kept
    store.connection.execute("PRAGMA max_page_count = 1000000")
    store.judge(judged(second))
    with Store(store.path) as reopened:
        assert len(list(reopened.judgements())) == len(before) + 1


def test_a_read_only_store_says_so(store: Store) -> None:
    with Store(store.path, read_only=True) as reader:
        pair = next(reader.pairs())
        with pytest.raises(Unsaved, match="can't be written"):
            reader.judge(judged(pair))


def test_a_locked_store_says_so(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "WAIT", 0.05)
    with Store(store.path) as other, store.transaction(), pytest.raises(Unsaved, match="writing to it"):
        other.judge(judged(next(other.pairs())))


def broken_off(store: Store, pair: Pair) -> None:
    """A transaction that judges and then fails."""
    with store.transaction():
        store.judge(judged(pair))
        raise RuntimeError


def test_a_part_may_fail_alone(store: Store) -> None:
    first, second, *_ = store.pairs()
    with store.transaction():
        store.judge(judged(first))
        with pytest.raises(RuntimeError):
            broken_off(store, second)
    assert [j.pair for j in store.judgements()] == [first.uuid]
    with pytest.raises(RuntimeError):
        broken_off(store, second)
    assert len(list(store.judgements())) == 1


KILLED = """
import sys
sys.path[:0] = {path!r}
from descant.preferences.records import Judgement, new_uuid
from descant.preferences.store import Store
store = Store({store!r})
pairs = list(store.pairs())
for number in range(100_000):
    kept = store.judge(Judgement(pairs[number % 5].uuid, "annotator %d" % (number // 5), "a"))
    print(kept.uuid, flush=True)
"""


def test_every_acknowledged_judgement_survives_a_kill(store: Store) -> None:
    store.close()
    code = KILLED.format(path=sys.path, store=str(store.path))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        acknowledged = [process.stdout.readline().strip() for _ in range(20)]
        process.kill()
        acknowledged += [line.strip() for line in process.stdout if line.endswith("\n")]
    with Store(store.path) as reopened:
        reopened.check()
        rows = [j.uuid for j in reopened.judgements()]
    assert rows[: len(acknowledged)] == acknowledged
    assert len(rows) - len(acknowledged) <= 1  # one may have been kept and not yet said


def test_a_store_opened_twice_keeps_its_log_while_others_come_and_go(store: Store) -> None:
    store.judge(judged(next(store.pairs())))
    Store(store.path).close()  # in this process: must not drop the locks of the other
    code = f"from descant.preferences.store import Store; Store({str(store.path)!r}).close()"
    subprocess.run([sys.executable, "-c", f"import sys; sys.path[:0] = {sys.path!r}; {code}"], check=True)
    assert store.path.with_name("taste.db-wal").exists()  # the last one to close takes it away


def test_a_copy_of_the_file_and_its_log_is_the_store(store: Store, tmp_path: Path) -> None:
    store.judge(judged(next(store.pairs())))
    store.connection.execute("PRAGMA wal_autocheckpoint = 0")
    (tmp_path / "copy").mkdir()
    for path in tmp_path.glob("taste.db*"):
        shutil.copy(path, tmp_path / "copy" / path.name)
    with Store(tmp_path / "copy" / "taste.db") as copied:
        assert copied.counts()["judgements"] == 1
