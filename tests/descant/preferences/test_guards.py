"""Each rule of security, by a request that it alone refuses."""

from __future__ import annotations

import asyncio
import hmac
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette")

from descant.preferences import guards
from descant.preferences.guards import MOST_BODY, Denied, Sessions, read_body
from descant.preferences.records import new_uuid
from descant.preferences.server import PAGE, Labelling, Settings

from .asgi import COOKIE, FROM_PAGE, HOST, ORIGIN, Client, enter
from .records import filled

HOSTS = frozenset({HOST, "localhost:8000"})


@pytest.fixture
def labelling(tmp_path: Path) -> Iterator[Labelling]:
    """A server's inside, on a store of five pairs."""
    filled(tmp_path / "taste.db").close()
    made = Labelling(tmp_path / "taste.db", Settings(min_seconds=0))
    yield made
    made.close()


@pytest.fixture
def links() -> list[str]:
    """The links that were printed since the first."""
    return []


@pytest.fixture
def sessions(links: list[str]) -> Sessions:
    return Sessions(links.append)


@pytest.fixture
def app(labelling: Labelling, sessions: Sessions) -> guards.App:
    return labelling.app(HOSTS, sessions, COOKIE)


@pytest.fixture
def client(app: guards.App, sessions: Sessions) -> Client:
    return enter(app, sessions)


def undo() -> dict[str, str]:
    """What a POST that changes nothing here sends: 404 says that it passed every rule."""
    return {"uuid": new_uuid(), "annotator": "ann"}


PASSED = 404


def test_the_page_s_own_requests_pass(client: Client) -> None:
    assert client.get("/").status == 200
    assert client.get("/api/state", "annotator=ann").status == 200
    assert client.post("/api/undo", undo()).status == PASSED


def test_nothing_is_had_without_the_session(app: guards.App, client: Client) -> None:
    for path in ("/", "/page.js", "/api/state", "/clips/" + "0" * 64 + "/sound.wav", "/gone"):
        for cookie in ("", f"{COOKIE}=", f"{COOKIE}={'x' * 43}", "other=1", "\x7f"):
            assert Client(app, cookie).get(path, "annotator=ann").status == 403
    assert Client(app).post("/api/undo", undo()).status == 403
    assert client.get("/", cookie=client.cookie.replace("8000", "8001")).status == 403
    assert client.get("/", cookie=client.cookie + "x").status == 403


def test_a_link_opens_the_page_once(app: guards.App, sessions: Sessions, links: list[str]) -> None:
    first = sessions.token
    answer = Client(app).get("/", f"token={first}")
    assert (answer.status, answer.headers["location"]) == (303, "/")
    assert links == [sessions.token]
    assert sessions.token != first
    for used in (first, "", "x", first[:-1]):
        refused = Client(app).get("/", f"token={used}")
        assert refused.status == 403
        assert "set-cookie" not in refused.headers
    assert Client(app).get("/", f"token={sessions.token}").status == 303
    assert len(first) >= 43  # 256 bits


def test_a_browser_that_is_in_may_open_a_used_link_again(
    app: guards.App, sessions: Sessions, links: list[str]
) -> None:
    used = sessions.token
    client = enter(app, sessions)
    again = client.get("/", f"token={used}")
    assert (again.status, again.headers["location"]) == (303, "/")
    assert again.headers["set-cookie"].split(";")[0] == client.cookie
    assert len(links) == 1  # no other session was made


def test_the_cookie_is_kept_from_scripts_and_other_sites(app: guards.App, sessions: Sessions) -> None:
    cookie = Client(app).get("/", f"token={sessions.token}").headers["set-cookie"]
    assert re.fullmatch(rf"{COOKIE}=[\w-]{{43}}; HttpOnly; SameSite=Strict; Path=/", cookie)


def test_a_token_is_no_session_and_no_api_takes_it(app: guards.App, sessions: Sessions) -> None:
    assert Client(app, f"{COOKIE}={sessions.token}").get("/").status == 403
    assert Client(app).get("/api/state", f"annotator=ann&token={sessions.token}").status == 403
    assert Client(app).ask("POST", "/", FROM_PAGE, query=f"token={sessions.token}").status == 403


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1", "127.0.0.1:8001", "evil.example:8000", HOST + ".evil", ""]
)
def test_other_names_of_this_server_are_refused(client: Client, host: str) -> None:
    assert client.get("/", host=host).status == 421


def test_the_host_is_said_once(client: Client) -> None:
    assert client.ask("GET", "/", [("host", HOST), ("host", "evil.example")]).status == 421
    assert client.get("/", host="LOCALHOST:8000").status == 200


def without(*names: str) -> dict[str, str]:
    return {name: value for name, value in FROM_PAGE.items() if name not in names}


@pytest.mark.parametrize(
    "headers",
    [
        FROM_PAGE | {"origin": "http://evil.example"},
        FROM_PAGE | {"origin": "null"},
        FROM_PAGE | {"origin": "https://127.0.0.1:8000"},
        FROM_PAGE | {"origin": "http://127.0.0.1:8001"},
        FROM_PAGE | {"sec-fetch-site": "cross-site"},
        FROM_PAGE | {"sec-fetch-site": "same-site"},
        without("origin", "sec-fetch-site"),
        without("origin") | {"sec-fetch-site": "none"},
    ],
)
def test_a_post_from_elsewhere_is_refused(client: Client, headers: dict[str, str]) -> None:
    assert client.post("/api/undo", undo(), headers).status == 403


@pytest.mark.parametrize("headers", [without("origin"), without("sec-fetch-site")])
def test_either_header_says_where_a_post_comes_from(client: Client, headers: dict[str, str]) -> None:
    assert client.post("/api/undo", undo(), headers).status == PASSED


def test_reading_for_another_site_is_refused(client: Client) -> None:
    assert client.get("/api/state", "annotator=a", sec_fetch_site="cross-site").status == 403
    assert client.get("/page.js", sec_fetch_site="same-site").status == 403
    assert client.get("/page.js", sec_fetch_site="same-origin").status == 200


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "application/jsonx"],
)
def test_what_a_form_can_send_is_refused(client: Client, kind: str) -> None:
    assert client.post("/api/undo", undo(), FROM_PAGE | {"content-type": kind}).status == 415
    assert client.post("/api/undo", undo(), without("content-type")).status == 415


def test_no_other_origin_is_given_leave(client: Client) -> None:
    asked = {"origin": "http://evil.example", "access-control-request-method": "POST"}
    for method in ("OPTIONS", "PUT", "DELETE", "PATCH", "TRACE"):
        assert client.ask(method, "/api/undo", asked).status == 405
    for answer in (client.ask("OPTIONS", "/", asked), client.get("/", origin="http://evil.example")):
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_long_body_is_refused_before_it_is_read_whole(client: Client) -> None:
    chunks = [b" " * 1024] * 64
    assert client.ask("POST", "/api/undo", FROM_PAGE, chunks).status == 413
    assert sum(client.read) <= MOST_BODY + 1024
    client.read.clear()
    long = FROM_PAGE | {"content-length": str(MOST_BODY + 1)}
    assert client.ask("POST", "/api/undo", long, [b"x"]).status == 413
    assert client.read == []
    assert client.ask("POST", "/api/undo", FROM_PAGE | {"content-length": "-1"}, [b"x"]).status == 413
    # As long as it may be: it is read, and is no JSON.
    assert client.ask("POST", "/api/undo", FROM_PAGE, [b"x" * MOST_BODY]).status == 422


def test_a_body_that_never_ends_or_breaks_off_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guards, "SLOWEST_BODY", 0.02)

    async def never() -> dict[str, Any]:
        await asyncio.sleep(9)
        return {}

    async def gone() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    for receive, status in ((never, 408), (gone, 400)):
        with pytest.raises(Denied) as refused:
            asyncio.run(read_body({}, receive))
        assert refused.value.status == status


def test_every_answer_has_the_headers(client: Client, app: guards.App) -> None:
    answers = [
        client.get("/"),
        client.get("/page.js"),
        client.get("/gone"),
        Client(app).get("/"),
        client.get("/", host="x"),
    ]
    answers += [client.post("/api/undo", undo()), client.get("/api/state", "annotator=ann")]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'; script-src 'self';" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert answer.headers["cache-control"] == "no-store"


def test_a_score_can_run_nothing(client: Client, labelling: Labelling) -> None:
    clip = next(labelling._reader.clips())
    policy = client.get(f"/clips/{clip.hash}/score-wide.svg").headers["content-security-policy"]
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; sandbox"


@pytest.mark.parametrize(
    "path",
    [
        "/clips/../taste.db", "/clips/..%2f..%2ftaste.db/sound.wav", "/clips/%2fetc%2fpasswd/sound.wav", "/taste.db",
        "/clips/" + "0" * 64 + "/sound.wav", "/clips/" + "g" * 64 + "/sound.wav", "/clips/" + "A" * 64 + "/sound.wav",
        "/clips/" + "0" * 64 + "/score-../x.svg", "/page/page.js", "/../page.js", "/server.py", "/page.html", "/clips",
    ],
)  # fmt: skip
def test_what_is_served_is_named_in_a_table_or_by_a_hash(client: Client, path: str) -> None:
    assert client.get(path).status == 404


def test_a_clip_s_size_is_one_of_two(client: Client, labelling: Labelling) -> None:
    clip = next(labelling._reader.clips())
    assert client.get(f"/clips/{clip.hash}/score-huge.svg").status == 404
    assert client.get(f"/clips/{clip.hash}/score-narrow.svg").status == 200


def test_secrets_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []
    compare = hmac.compare_digest

    def counted(a: bytes, b: bytes) -> bool:
        compared.append(b)
        return compare(a, b)

    sessions = Sessions()
    known = [sessions.redeem(sessions.token) or "" for _ in range(3)]
    monkeypatch.setattr(guards.hmac, "compare_digest", counted)
    assert sessions.knows(known[0])
    assert compared == [session.encode() for session in known]  # all of them, though the first was right
    assert sessions.redeem("wrong") is None
    assert compared[-1] == sessions.token.encode()
    assert not sessions.knows("é\udcff")


def test_old_sessions_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guards, "MOST_SESSIONS", 2)
    sessions = Sessions()
    first, second, third = (sessions.redeem(sessions.token) or "" for _ in range(3))
    assert [sessions.knows(session) for session in (first, second, third)] == [False, True, True]


def test_the_page_writes_text_alone_and_loads_nothing_from_elsewhere() -> None:
    folder = Path(guards.__file__).parent / "page"
    assert {path.name for path in folder.iterdir()} == {"page.html", *PAGE}
    for path in folder.iterdir():
        text = path.read_text(encoding="utf-8")
        banned = (
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\b|new Function|srcdoc"
        )
        assert not re.search(banned, text), path
        assert not re.search(
            r"https?://(?!www\.w3\.org/2000/svg)|\bon\w+=\"|javascript:|<style|style=", text
        ), path
    page = (folder / "page.html").read_text(encoding="utf-8")
    assert re.findall(r"<script[^>]*>(.*?)</script>", page) == [""]


def test_only_http_is_spoken(app: guards.App) -> None:
    async def never(*_: Any) -> Any:
        raise AssertionError

    asyncio.run(app({"type": "websocket"}, never, never))
    assert f"http://{HOST}" == ORIGIN
