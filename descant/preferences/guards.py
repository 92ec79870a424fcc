"""Who may talk to the page's server: one browser a link, from its own pages, in small pieces of JSON.

The server answers whoever can reach it, and any web page that a user has open can make that user's browser send it
requests. Each rule here closes one way: see docs/preferences.md.
"""

from __future__ import annotations

import asyncio
import hmac
import http.cookies
import secrets
import urllib.parse
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

MOST_BODY = 16 * 1024  # bytes
SLOWEST_BODY = 10.0  # seconds
MOST_SESSIONS = 1_000
SAFE = ("GET", "HEAD")
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cache-control": "no-store",
}

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


class Denied(Exception):
    """A request that is refused, with its status and a line that says why."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status
        self.why = why


class Sessions:
    """One link at a time that opens the page once, and the browsers that were let in by one."""

    def __init__(self, on_used: Callable[[str], None] = lambda token: None) -> None:
        self.token = secrets.token_urlsafe(32)
        self._sessions: list[str] = []
        self._on_used = on_used

    def redeem(self, token: str) -> str | None:
        """A new session for the token of the link, which is then void and replaced; None for another."""
        if not same(token, self.token):
            return None
        self.token = secrets.token_urlsafe(32)
        session = secrets.token_urlsafe(32)
        self._sessions = [*self._sessions[-MOST_SESSIONS + 1 :], session]
        self._on_used(self.token)
        return session

    def knows(self, session: str) -> bool:
        """Whether a browser was let in. Every session is compared, so that time tells nothing."""
        return sum(same(session, known) for known in self._sessions) > 0


def same(given: str, secret: str) -> bool:
    """Whether two secrets are equal, in a time that does not depend on where they differ."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), secret.encode())


class Guard:
    """ASGI middleware: every request passes the rules, every answer gets `HEADERS`.

    `hosts` are what the Host header may say, such as "127.0.0.1:8000"; `cookie` the name of the session's cookie.
    """

    def __init__(self, app: App, hosts: frozenset[str], sessions: Sessions, cookie: str) -> None:
        self.app, self.hosts, self.sessions, self.cookie = app, hosts, sessions, cookie

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Pass on, or refuse."""
        if scope["type"] != "http":
            return
        headers = _headers(scope)
        guarded = with_headers(send)
        try:
            check_host(headers, self.hosts)
            check_method(scope["method"])
            if session := self._enters(scope, headers):
                await _redirect(guarded, f"{self.cookie}={session}; HttpOnly; SameSite=Strict; Path=/")
                return
            if not self.sessions.knows(cookie_of(headers, self.cookie)):
                raise Denied(
                    403, "Open the link that descant prefs label printed; each opens one browser, once."
                )
            check_site(headers)
            if scope["method"] not in SAFE:
                check_origin(headers, self.hosts)
                check_json(headers)
                receive = replayed(await read_body(headers, receive))
            await self.app(scope, receive, guarded)
        except Denied as denied:
            await _answer(guarded, denied.status, denied.why)

    def _enters(self, scope: MutableMapping[str, Any], headers: dict[str, list[str]]) -> str | None:
        """The session of a request that comes with the token of the link; Denied where that is used or wrong.

        A browser that is in already stays in, with whatever link: people click the same one again.
        """
        query = urllib.parse.parse_qs(scope["query_string"].decode("latin-1"))
        if scope["path"] != "/" or scope["method"] != "GET" or "token" not in query:
            return None
        session = self.sessions.redeem(query["token"][0])
        if session is None and self.sessions.knows(own := cookie_of(headers, self.cookie)):
            return own
        if session is None:
            raise Denied(403, "This link was used already, or is wrong: take the last one that was printed.")
        return session


def _headers(scope: MutableMapping[str, Any]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        found.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return found


def check_host(headers: dict[str, list[str]], hosts: frozenset[str]) -> None:
    """Another name that leads here was made to lead here (DNS rebinding)."""
    given = headers.get("host", [])
    if len(given) != 1 or given[0].lower() not in hosts:
        raise Denied(421, "This server does not answer to that name.")


def check_method(method: str) -> None:
    """Reading and POST are all there is; OPTIONS, with which other origins would ask for leave, is not."""
    if method not in (*SAFE, "POST"):
        raise Denied(405, "This server takes GET, HEAD and POST.")


def check_site(headers: dict[str, list[str]]) -> None:
    """Browsers say whether a request comes from a page of ours: one that comes from elsewhere is refused."""
    if any(site not in ("same-origin", "none") for site in headers.get("sec-fetch-site", [])):
        raise Denied(403, "This came from another site.")


def check_origin(headers: dict[str, list[str]], hosts: frozenset[str]) -> None:
    """What changes something says that it comes from a page of ours: by Origin, or by Sec-Fetch-Site."""
    origins, sites = headers.get("origin", []), headers.get("sec-fetch-site", [])
    if any(origin.lower() not in {f"http://{host}" for host in hosts} for origin in origins):
        raise Denied(403, "This came from another origin.")
    if not origins and sites != ["same-origin"]:
        raise Denied(403, "This does not say where it came from.")


def check_json(headers: dict[str, list[str]]) -> None:
    """A form of another site can't send this type without asking first."""
    given = headers.get("content-type", [])
    if len(given) != 1 or given[0].split(";")[0].strip().lower() != "application/json":
        raise Denied(415, "Send application/json.")


async def read_body(headers: dict[str, list[str]], receive: Receive) -> bytes:
    """The body, no more of it than is allowed and no slower."""
    length = headers.get("content-length", ["0"])[0]
    if not length.isdigit() or int(length) > MOST_BODY:
        raise Denied(413, f"Send at most {MOST_BODY:,} bytes.")
    body = b""
    try:
        async with asyncio.timeout(SLOWEST_BODY):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Denied(400, "The body broke off.")
                body += bytes(message.get("body", b""))
                if len(body) > MOST_BODY:
                    raise Denied(413, f"Send at most {MOST_BODY:,} bytes.")
                if not message.get("more_body", False):
                    return body
    except TimeoutError:
        raise Denied(408, "The body took too long.") from None


def replayed(body: bytes) -> Receive:
    """A `receive` that gives a body that was read already."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        return messages.pop() if messages else {"type": "http.disconnect"}

    return receive


def cookie_of(headers: dict[str, list[str]], name: str) -> str:
    """The value of a cookie, "" without one."""
    jar = http.cookies.SimpleCookie()
    try:
        jar.load("; ".join(headers.get("cookie", [])))
    except http.cookies.CookieError:
        return ""
    return jar[name].value if name in jar else ""


def with_headers(send: Send) -> Send:
    """A `send` that adds `HEADERS` to every answer that has not its own."""

    async def guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            own = {name for name, _ in message["headers"]}
            extra = [(n.encode(), v.encode()) for n, v in HEADERS.items() if n.encode() not in own]
            message = {**message, "headers": [*message["headers"], *extra]}
        await send(message)

    return guarded


async def _answer(send: Send, status: int, text: str) -> None:
    body = text.encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _redirect(send: Send, cookie: str) -> None:
    headers = [(b"location", b"/"), (b"set-cookie", cookie.encode()), (b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 303, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
