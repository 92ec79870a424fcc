"""Requests to an ASGI application without a network: any header, any chunks of a body."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from descant.preferences.guards import App, Sessions

HOST = "127.0.0.1:8000"
ORIGIN = f"http://{HOST}"
COOKIE = "descant-8000"
FROM_PAGE = {"origin": ORIGIN, "sec-fetch-site": "same-origin", "content-type": "application/json"}


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Client:
    """A browser at a host, with the cookie it got."""

    app: App
    cookie: str = ""
    read: list[int] = field(default_factory=list)  # sizes of the chunks that were asked for

    def ask(
        self,
        method: str,
        path: str,
        headers: dict[str, str] | Sequence[tuple[str, str]] = (),
        chunks: Sequence[bytes] = (b"",),
        query: str = "",
    ) -> Answer:
        """One request; a Host and the cookie are added where `headers` has none."""
        given = list(headers.items()) if isinstance(headers, dict) else list(headers)
        names = {name for name, _ in given}
        given += [(n, v) for n, v in (("host", HOST), ("cookie", self.cookie)) if n not in names and v]
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": path,
            "raw_path": path.encode(), "root_path": "", "scheme": "http", "query_string": query.encode(),
            "headers": [(n.lower().encode(), v.encode("latin-1")) for n, v in given],
            "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8000),
        }  # fmt: skip
        return asyncio.run(self._run(scope, list(chunks)))

    async def _run(self, scope: dict[str, Any], chunks: list[bytes]) -> Answer:
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            body = chunks.pop(0) if chunks else b""
            self.read.append(len(body))
            return {"type": "http.request", "body": body, "more_body": bool(chunks)}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        start = sent[0]
        headers = {name.decode().lower(): value.decode() for name, value in start["headers"]}
        return Answer(start["status"], headers, b"".join(m.get("body", b"") for m in sent[1:]))

    def get(self, path: str, query: str = "", **headers: str) -> Answer:
        """Read."""
        return self.ask("GET", path, {name.replace("_", "-"): v for name, v in headers.items()}, query=query)

    def post(self, path: str, data: Any, headers: dict[str, str] | None = None) -> Answer:
        """Send JSON as the page does, with other headers where they are given."""
        return self.ask("POST", path, FROM_PAGE if headers is None else headers, [json.dumps(data).encode()])


def enter(app: App, sessions: Sessions) -> Client:
    """A client that opened the link."""
    answer = Client(app).get("/", f"token={sessions.token}")
    assert answer.status == 303
    return Client(app, answer.headers["set-cookie"].split(";")[0])
