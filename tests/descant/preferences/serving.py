"""The page's server as a process of its own, and clients of it over a real network."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from descant.preferences.records import new_uuid


class Server:
    """`descant prefs label` at a free port."""

    def __init__(self, process: subprocess.Popen[str], link: str) -> None:
        self.process, self.link = process, link
        found = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/\?token=(\S+)", link)
        assert found
        self.port, self.token = int(found[1]), found[2]

    def enter(self) -> str:
        """Open the link; the cookie."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("GET", f"/?token={self.token}")
        return (connection.getresponse().getheader("set-cookie") or "").split(";")[0]

    def stop(self) -> None:
        """End it as kill -9 does."""
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def serving(store: Path, *options: str) -> Iterator[Server]:
    """A server of the store."""
    command = [sys.executable, "-m", "descant", "prefs", "label", str(store), "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stderr
        try:
            line = process.stdout.readline()
            assert line, process.stderr.read()
            yield Server(process, line.split()[0])
        finally:
            process.kill()


@contextlib.contextmanager
def serving_here(store: Path, min_seconds: float = 0.0) -> Iterator[str]:
    """The link of a server in a thread of this process, which begins at once."""
    import uvicorn

    from descant.preferences.guards import Sessions
    from descant.preferences.server import Labelling, Settings
    from descant.preferences.serving import hosts_of, listening

    labelling = Labelling(store, Settings(min_seconds))
    with listening("127.0.0.1", 0) as bound:
        port, sessions = bound.getsockname()[1], Sessions()
        app = labelling.app(hosts_of("127.0.0.1", port), sessions, f"descant-{port}")
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off", access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{port}/?token={sessions.token}"
        finally:
            server.should_exit = server.force_exit = True
            thread.join(20)
            labelling.close()


class Annotator:
    """One who judges over one connection, as fast as answers come."""

    def __init__(self, server: Server, cookie: str, name: str) -> None:
        self.name, self.kept = name, [""][:0]
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        origin = f"http://127.0.0.1:{server.port}"
        self._headers = {"cookie": cookie, "origin": origin, "content-type": "application/json"}

    def judge(self, pair: str) -> None:
        """Judge; the UUID is `kept` once the server says so. OSError where it is gone."""
        body: dict[str, Any] = {
            "uuid": new_uuid(), "pair": pair, "annotator": self.name, "choice": "left", "shown": 0, "decided": 1,
            "listening": {"heard": {"left": 9, "right": 9}}, "note": "",
        }  # fmt: skip
        self._connection.request("POST", "/api/judge", json.dumps(body), self._headers)
        answer = self._connection.getresponse()
        content = answer.read()
        assert answer.status == 200, content
        self.kept.append(body["uuid"])
