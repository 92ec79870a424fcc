"""A worker of the local executor: takes jobs as lines from stdin, tells how they ended as lines on stdout."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from pathlib import Path

from .work import answer, call, ordered


def main(out: Path, pinned: bool = False) -> int:
    """Work until there are no more orders."""
    core = pin() if pinned else None
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):  # stopped, or the benchmark has gone
        serve(out)
    if core is not None:
        os.close(core)
    return 0


def serve(out: Path) -> None:
    """Carry out one order after another. What jobs print goes to stderr, what they read is empty."""
    with (
        os.fdopen(os.dup(0), encoding="utf-8") as orders,
        os.fdopen(os.dup(1), "w", encoding="utf-8") as says,
    ):
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        os.dup2(2, 1)
        for line in orders:
            says.write(answer(call(ordered(line), out)) + "\n")
            says.flush()


def pin() -> int | None:
    """Keep to a core that no other worker of this user has; the file whose lock says so, None without one.

    The lock is the kernel's, which frees it with the process, however that ends.
    """
    if not hasattr(os, "sched_setaffinity"):
        return None
    import fcntl

    folder = Path(tempfile.gettempdir()) / f"descant-cores-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        for core in sorted(os.sched_getaffinity(0)):
            file = os.open(folder / str(core), os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(file)
                continue
            os.sched_setaffinity(0, {core})
            return file
    except OSError:  # not allowed here: any core will do
        pass
    return None


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), "pinned" in sys.argv[2:]))
