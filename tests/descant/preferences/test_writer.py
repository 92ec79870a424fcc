"""The writer: together in one commit, apart in failure."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from descant.preferences.connections import Unsaved
from descant.preferences.records import new_uuid
from descant.preferences.store import Conflict, Store
from descant.preferences.writer import Writer

from .records import filled, judged


@pytest.fixture
def path(tmp_path: Path) -> Path:
    filled(tmp_path / "taste.db").close()
    return tmp_path / "taste.db"


def test_what_waits_together_is_committed_together_and_fails_alone(path: Path) -> None:
    writer = Writer(path)
    with Store(path) as store:
        pairs = list(store.pairs())
    commits: list[str] = []
    writer._store.connection.set_trace_callback(lambda sql: commits.append(sql) if sql == "COMMIT" else None)
    going, gone = threading.Event(), threading.Event()

    def hold(_: Store) -> None:
        going.set()
        gone.wait(10)

    first = writer.submit(hold)
    going.wait(10)
    votes = [judged(pair) for pair in pairs]
    futures: list[Any] = [writer.submit(lambda s, v=vote: s.judge(v)) for vote in votes]  # type: ignore[misc]
    futures.insert(2, writer.submit(lambda s: s.judge(judged(pairs[0], choice="b"))))
    futures.insert(3, writer.submit(lambda s: s.undo("nobody", new_uuid())))
    gone.set()
    first.result(10)
    assert isinstance(futures.pop(2).exception(10), Conflict)
    assert futures.pop(2).exception(10) is not None
    assert [future.result(10).pair for future in futures] == [pair.uuid for pair in pairs]
    assert len(commits) == 2  # the first alone, all others together
    writer.close()
    with Store(path) as store:
        assert len(list(store.judgements())) == 5


def test_a_commit_that_fails_acknowledges_nothing(path: Path) -> None:
    writer = Writer(path)
    with Store(path) as store:
        pair = next(store.pairs())
    page_count = writer._store.connection.execute("PRAGMA page_count").fetchone()[0]
    writer._store.connection.execute(f"PRAGMA max_page_count = {page_count}")
    futures = [
        writer.submit(lambda s, n=n: s.judge(judged(pair, f"a{n}", note="x" * 2000)))  # type: ignore[misc]
        for n in range(40)
    ]
    answers = [future.exception(20) for future in futures]
    writer.close()
    with Store(path) as store:
        kept = {judgement.annotator for judgement in store.judgements()}
    assert kept == {f"a{n}" for n, error in enumerate(answers) if error is None}
    assert len(kept) < 40


def together(writer: Writer, works: list[Any]) -> list[BaseException | None]:
    """Submit work that is to be one batch; what each failed with."""
    going, gone = threading.Event(), threading.Event()

    def hold(_: Store) -> None:
        going.set()
        gone.wait(10)

    writer.submit(hold)
    going.wait(10)
    futures = [writer.submit(work) for work in works]
    gone.set()
    return [future.exception(10) for future in futures]


@pytest.mark.parametrize(("error", "kept"), [(RuntimeError, 2), (Unsaved, 0)])
def test_work_that_fails_halfway_leaves_nothing(path: Path, error: type[Exception], kept: int) -> None:
    writer = Writer(path)
    with Store(path) as store:
        first, second, third, *_ = store.pairs()

    def fails(s: Store) -> None:
        s.judge(judged(second))
        raise error("halfway")

    found = together(writer, [lambda s: s.judge(judged(first)), fails, lambda s: s.judge(judged(third))])
    writer.close()
    # What can't be kept takes its whole batch with it; any other failure itself alone.
    assert [isinstance(e, error) for e in found] == ([False, True, False] if kept else [True] * 3)
    with Store(path) as store:
        assert [j.pair for j in store.judgements()] == [first.uuid, third.uuid][:kept]


def test_closing_finishes_what_was_submitted(path: Path) -> None:
    writer = Writer(path)
    with Store(path) as store:
        pairs = list(store.pairs())
    futures = [writer.submit(lambda s, p=pair: s.judge(judged(p))) for pair in pairs]  # type: ignore[misc]
    writer.close()
    assert all(future.done() and future.exception() is None for future in futures)
