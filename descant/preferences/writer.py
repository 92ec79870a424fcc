"""One thread that writes to a store: what comes in together is committed together, and only then acknowledged.

A commit waits for the disk. Many annotators at once share that wait, so that none of them waits in a queue of commits.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from descant.preferences.connections import Unsaved
from descant.preferences.store import Store

T = TypeVar("T")
MOST = 256  # pieces of work in one commit
Work = tuple[Callable[[Store], Any], "Future[Any]"]


class Writer:
    """Runs work on a store of its own, in order; a piece that fails is undone alone. Close it when done."""

    def __init__(self, path: Path) -> None:
        self._store = Store(path)
        self._waiting: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="preferences-writer", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[Store], T]) -> Future[T]:
        """The result of `work(store)`, once it is on the disk; its exception where it failed or could not be kept."""
        future: Future[T] = Future()
        self._waiting.put((work, future))
        return future

    def close(self) -> None:
        """Finish what was submitted and close the store."""
        self._waiting.put(None)
        self._thread.join()
        self._store.close()

    def _run(self) -> None:
        while True:
            batch, last = self._take()
            if batch:
                self._commit(batch)
            if last:
                return

    def _take(self) -> tuple[list[Work], bool]:
        """Wait for work, then take all that is there; whether it is the last."""
        batch: list[Work] = []
        item = self._waiting.get()
        while item is not None:
            batch.append(item)
            if len(batch) == MOST or self._waiting.empty():
                return batch, False
            item = self._waiting.get()
        return batch, True

    def _commit(self, batch: list[Work]) -> None:
        done: list[tuple[Future[Any], Any, Exception | None]] = []
        try:
            with self._store.transaction():
                for work, future in batch:
                    done.append((future, *self._attempt(work)))
        except Exception as error:  # nothing of the batch was kept
            for _, future in batch:
                future.set_exception(error)
            return
        for future, result, failure in done:
            future.set_exception(failure) if failure else future.set_result(result)

    def _attempt(self, work: Callable[[Store], Any]) -> tuple[Any, Exception | None]:
        try:
            with self._store.transaction():
                return work(self._store), None
        except Unsaved:
            raise
        except Exception as error:
            return None, error
