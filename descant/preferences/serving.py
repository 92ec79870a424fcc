"""Serving the page to this machine's browser until Ctrl-C."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from descant.errors import DescantError
from descant.preferences.store import Store

LOCAL = ("127.0.0.1", "localhost", "::1")
WILDCARDS = ("", "0.0.0.0", "::", "*")


def serve(path: Path, *, host: str, port: int, expose: bool, min_seconds: float) -> None:
    """Serve the page of the store at `path`; returns on Ctrl-C.

    DescantError where Starlette or uvicorn is missing, another server has the store, it has no pairs, or the port is
    taken; and for a host other than this machine's own without `expose`.
    """
    check_host(host, expose)
    try:
        import uvicorn

        from descant.preferences.guards import Sessions
        from descant.preferences.server import Labelling, Settings
    except ImportError as error:
        raise DescantError(
            f"The page needs Starlette and uvicorn ({error.name} is missing): pip install 'descant[label]'"
        ) from error
    with Store(path) as store:
        store.check()
        if not store.counts()["pairs"]:
            raise DescantError(f"{path} has no pairs to judge: make some with descant prefs pairs {path}.")
    with lock(path), listening(host, port) as bound:
        port = bound.getsockname()[1]
        if host not in LOCAL:
            warn(host, port)
        sessions = Sessions(lambda token: announce(host, port, token, "for another browser"))
        labelling = Labelling(path, Settings(min_seconds))
        config = uvicorn.Config(
            labelling.app(hosts_of(host, port), sessions, f"descant-{port}"),
            access_log=False, log_level="warning", lifespan="off", ws="none", server_header=False,
            proxy_headers=False, limit_concurrency=200, timeout_keep_alive=30, timeout_graceful_shutdown=3,
        )  # fmt: skip
        announce(host, port, sessions.token, "opens the page once, in one browser")
        print(f"{path}: judgements are kept as they are made. Ctrl-C ends the server.", flush=True)
        try:
            with contextlib.suppress(KeyboardInterrupt):
                uvicorn.Server(config).run(sockets=[bound])
        finally:
            labelling.close()


def check_host(host: str, expose: bool) -> None:
    """DescantError for a host that others can reach, unless that is wanted; and for one that is no name to type."""
    if host in WILDCARDS:
        raise DescantError(
            f"--host {host or '(empty)'} is every address: give the one that people will type."
        )
    if host not in LOCAL and not expose:
        raise DescantError(
            f"--host {host} lets other machines in, unencrypted: pass --expose-to-network if that is what you want."
        )


def hosts_of(host: str, port: int) -> frozenset[str]:
    """What the Host header may say."""
    names = {host, *(LOCAL if host in LOCAL else ())}
    return frozenset(f"{bracketed(name)}:{port}".lower() for name in names)


def bracketed(host: str) -> str:
    """A host as it stands in an address."""
    return f"[{host}]" if ":" in host else host


def announce(host: str, port: int, token: str, what: str) -> None:
    """Print a link."""
    print(f"http://{bracketed(host)}:{port}/?token={token}  ({what})", flush=True)


def warn(host: str, port: int) -> None:
    """Say loudly that others can reach the server."""
    lines = (
        f"WARNING: other machines can reach this server at {host}:{port}.",
        "Nothing is encrypted: whoever can read the network sees links, names and notes, and can act as an annotator.",
        "Use it in a network that you trust, for as long as you need it, or tunnel: ssh -L 8000:127.0.0.1:PORT HOST",
    )
    edge = "!" * max(map(len, lines))
    print("\n".join((edge, *lines, edge)), file=sys.stderr, flush=True)


@contextlib.contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket bound to the address; 0 takes a free port. DescantError where it can't be had."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, proto)
    except OSError as error:
        raise DescantError(f"There is no address {host!r} on this machine: {error}.") from error
    with bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind(address)
            bound.listen(128)  # before a link is printed: whoever opens it at once waits, and is not refused
        except OSError as error:
            raise DescantError(
                f"Cannot listen at {host}:{port}: {error.strerror}. Pass another --port; 0 takes a free one."
            ) from error
        yield bound


@contextlib.contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold the store as its one server; DescantError where another does. The kernel frees it on death."""
    # A file beside the store: closing a second handle of the store itself would drop SQLite's own locks.
    beside = path.with_name(path.name + ".lock")
    try:
        file = os.open(beside, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise DescantError(
            f"Cannot lock {path}: {error.strerror}. Check the permissions of its folder."
        ) from error
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder: Any = os.pread(file, 20, 0).decode(errors="replace") or "unknown"
            raise DescantError(
                f"Another server (process {holder}) has {path}: use its page, or stop it with Ctrl-C."
            ) from error
        os.ftruncate(file, 0)
        os.pwrite(file, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(file)
