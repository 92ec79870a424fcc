"""Stopping politely: the first Ctrl-C asks the loop to save and leave, the second one insists."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

_NOTE = b"\nStopping: saving first. Press Ctrl-C again to stop at once.\n"


class Interrupt:
    """A flag that a signal sets: a loop reads `requested` between two steps."""

    def __init__(self) -> None:
        self.requested = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not self.requested:
            self.requested = True
            with contextlib.suppress(OSError):
                os.write(2, _NOTE)  # print is not safe in a signal handler


@contextlib.contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Catch SIGINT and SIGTERM in the body; outside the main thread the flag just stays false."""
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    # A signal that the parent had us ignore (nohup, a shell's background job) stays ignored.
    ours = {number: old for number, old in before.items() if old not in (signal.SIG_IGN, None)}
    try:
        for number in ours:
            signal.signal(number, interrupt._handle)
        yield interrupt
    finally:
        for number, old in ours.items():
            signal.signal(number, old)
