"""The page's server: what is to be judged, judgements, undo and redo as JSON; scores and sounds of clips by hash."""

from __future__ import annotations

import asyncio
import importlib.resources
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from descant.errors import DescantError
from descant.preferences.connections import Unsaved
from descant.preferences.guards import App, Guard, Sessions
from descant.preferences.records import (
    HASH,
    Judgement,
    Pair,
    check_annotator,
    check_uuid,
    from_json,
    shown,
)
from descant.preferences.rendering import WIDTHS, Renderer, View, view
from descant.preferences.store import Conflict, Store, Unknown
from descant.preferences.writer import Writer

PAGE = {
    "icon.svg": "image/svg+xml",
    "page.css": "text/css",
    "page.js": "text/javascript",
    "audio.js": "text/javascript",
    "requests.js": "text/javascript",
}
SIDES = ("left", "right")
SLACK = 0.1  # seconds: clocks of sound and page are not one
MOST_VIEWS = 10_000  # clips of which is remembered what the page is told
TOTALS_AGE = 1.0  # seconds that counts over all annotators may be old

JUDGE = {"uuid", "pair", "annotator", "choice", "shown", "decided", "listening", "note"}


@dataclass(frozen=True)
class Settings:
    """What the page asks of annotators: seconds of each clip to be heard (or of reading) before a judgement."""

    min_seconds: float = 3.0


class Labelling:
    """The requests of the page, on one store. `app(hosts, sessions, cookie)` is the guarded ASGI application."""

    def __init__(self, path: Path, settings: Settings = Settings()) -> None:
        self.settings = settings
        self.writer = Writer(path)
        self._reader = Store(path)
        self._reading = threading.Lock()
        self.renderer = Renderer(self._find)
        self._views: dict[str, View] = {}
        self._totals: tuple[float, dict[str, int]] = (-TOTALS_AGE, {})

    def close(self) -> None:
        """Finish writing and close the store."""
        self.writer.close()
        self._reader.close()

    def app(self, hosts: frozenset[str], sessions: Sessions, cookie: str) -> App:
        """The application behind its guard."""
        routes = [
            Route("/", self.page),
            Route("/api/state", answered(self.state)),
            Route("/api/judge", answered(self.judge), methods=["POST"]),
            Route("/api/undo", answered(self.undo), methods=["POST"]),
            Route("/api/redo", answered(self.redo), methods=["POST"]),
            Route("/clips/{hash}/sound.wav", self.sound),
            Route("/clips/{hash}/score-{width}.svg", self.score),
            Route("/{name}", self.file),
        ]
        return Guard(Starlette(routes=routes), hosts, sessions, cookie)

    # The page itself.

    async def page(self, request: Request) -> Response:
        """The HTML."""
        return Response(_content("page.html"), media_type="text/html")

    async def file(self, request: Request) -> Response:
        """One of the page's few files, by its name in a table: no path is ever made of what is asked."""
        name = request.path_params["name"]
        return Response(_content(name), media_type=PAGE[name]) if name in PAGE else _missing()

    # Clips.

    async def sound(self, request: Request) -> Response:
        """A clip as WAV."""
        return await self._rendered(request, self.renderer.sound, "audio/wav")

    async def score(self, request: Request) -> Response:
        """A clip as SVG."""
        width = request.path_params["width"]
        if width not in WIDTHS:
            return _missing()
        return await self._rendered(request, lambda hash: self.renderer.score(hash, width), "image/svg+xml")

    async def _rendered(self, request: Request, render: Callable[[str], bytes | None], kind: str) -> Response:
        hash = request.path_params["hash"]
        if not HASH.fullmatch(hash):
            return _missing()
        try:
            content = await run_in_threadpool(render, hash)
        except DescantError as error:
            # Damage, or music that can't be engraved, of which the page has the notes as words.
            return Response(str(error), 507 if isinstance(error, Unsaved) else 404, media_type="text/plain")
        if content is None:
            return _missing()
        headers = {"cache-control": "private, max-age=86400"}
        if kind == "image/svg+xml":
            headers["content-security-policy"] = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
        return Response(content, media_type=kind, headers=headers)

    def _find(self, hash: str) -> Any:
        with self._reading:
            return self._reader.find_clip(hash)

    # What is to be judged, and judgements.

    async def state(self, request: Request) -> dict[str, Any]:
        """What the annotator is to judge next, and how far everyone is."""
        annotator = request.query_params.get("annotator")
        check_annotator(annotator)

        def read() -> dict[str, Any]:
            with self._reading:
                return self._state(self._reader, str(annotator))

        return await run_in_threadpool(read)

    async def judge(self, request: Request) -> dict[str, Any]:
        """Keep a judgement; what is next."""
        asked = fields(await request.body(), JUDGE)

        def write(store: Store) -> dict[str, Any]:
            store.judge(self._judgement(store, asked))
            return self._state(store, asked["annotator"])

        return await asyncio.wrap_future(self.writer.submit(write))

    async def undo(self, request: Request) -> dict[str, Any]:
        """Take back the last judgement; what is next."""
        return await self._change(request, Store.undo)

    async def redo(self, request: Request) -> dict[str, Any]:
        """Restore what was undone last; what is next."""
        return await self._change(request, Store.redo)

    async def _change(
        self, request: Request, change: Callable[[Store, str, str], Judgement]
    ) -> dict[str, Any]:
        asked = fields(await request.body(), {"uuid", "annotator"})

        def write(store: Store) -> dict[str, Any]:
            change(store, asked["annotator"], asked["uuid"])
            return self._state(store, asked["annotator"])

        return await asyncio.wrap_future(self.writer.submit(write))

    def _judgement(self, store: Store, asked: Mapping[str, Any]) -> Judgement:
        """The judgement that the page speaks of by left and right; DescantError where it can't be."""
        check_uuid("pair", asked["pair"])
        pair = store.find_pair(asked["pair"])
        if pair is None:
            raise Unknown("The store has no such pair: reload the page.")
        if asked["choice"] not in (*SIDES, "tie", "both_bad", "skip"):
            raise DescantError(f"{shown(asked['choice'])} is no choice: left, right, tie, both_bad or skip.")
        right = "b" if pair.left == "a" else "a"
        choice = {"left": pair.left, "right": right}.get(asked["choice"], asked["choice"])
        made = Judgement(**{**asked, "choice": choice})
        if choice != "skip":
            self._check_heard(store, pair, made)
        return made

    def _check_heard(self, store: Store, pair: Pair, made: Judgement) -> None:
        heard = made.listening.get("heard")
        for side, wanted in zip(SIDES, self._minimum(store, pair), strict=True):
            got = heard.get(side, 0.0) if isinstance(heard, Mapping) else 0.0
            seconds = got if type(got) in (int, float) else 0.0
            if max(seconds, 0.0) + SLACK < wanted:
                raise DescantError(
                    f"Listen to both for {self.settings.min_seconds:g} seconds before you judge."
                )

    def _minimum(self, store: Store, pair: Pair) -> list[float]:
        """Seconds to be heard, or read, of left and right: no more than a clip lasts."""
        wanted = self.settings.min_seconds
        lengths = [self._view(store, hash).seconds for hash in pair.sides]
        return [wanted if seconds is None else min(wanted, seconds) for seconds in lengths]

    def _view(self, store: Store, hash: str) -> View:
        """What is told of a clip. It never changes, and takes a while to find out."""
        if hash not in self._views:
            clip = store.find_clip(hash)
            if clip is None:
                raise Unknown(f"The store has no clip {shown(hash)}.")
            while len(self._views) >= MOST_VIEWS:
                self._views.pop(next(iter(self._views)), None)
            self._views[hash] = view(clip)
        return self._views[hash]

    def _state(self, store: Store, annotator: str) -> dict[str, Any]:
        pairs = store.next_pairs(annotator, 2)
        done = store.done(annotator)
        return {
            "pair": self._pair(store, pairs[0]) if pairs else None,
            "next": self._pair(store, pairs[1]) if len(pairs) > 1 else None,
            "you": {"done": done},
            "all": self._all(store),
            "undo": store.undoable(annotator) is not None,
            "redo": store.redoable(annotator) is not None,
        }

    def _pair(self, store: Store, pair: Pair) -> dict[str, Any]:
        left, right = (self._view(store, hash) for hash in pair.sides)
        minimum = dict(zip(SIDES, self._minimum(store, pair), strict=True))
        told = {"uuid": pair.uuid, "left": left.told, "right": right.told}
        return told | {"prompt": left.prompt, "minimum": minimum}

    def _all(self, store: Store) -> dict[str, int]:
        """Counts over all annotators, which are a second old at most: in a big store they take long to count."""
        now = time.monotonic()
        if now - self._totals[0] >= TOTALS_AGE:
            progress = store.progress("")
            counts = {
                "pairs": progress.pairs,
                "judgements": progress.judgements,
                "annotators": progress.annotators,
            }
            self._totals = (now, counts)
        return self._totals[1]


Handler = Callable[[Request], Coroutine[Any, Any, dict[str, Any]]]


def answered(handler: Handler) -> Callable[[Request], Coroutine[Any, Any, Response]]:
    """A handler whose result is sent as JSON, and whose errors are sent with a status and a line that says why."""

    async def respond(request: Request) -> Response:
        try:
            return JSONResponse(await handler(request))
        except DescantError as error:
            return JSONResponse({"error": str(error)}, status_of(error))

    return respond


def status_of(error: DescantError) -> int:
    """404 unknown, 409 contradicts what is kept, 507 could not be kept, 422 anything else that is wrong."""
    kinds: dict[type[DescantError], int] = {Unknown: 404, Conflict: 409, Unsaved: 507}
    return next((status for kind, status in kinds.items() if isinstance(error, kind)), 422)


def fields(body: bytes, wanted: set[str]) -> dict[str, Any]:
    """A JSON object with exactly these fields; DescantError for anything else."""
    data = from_json(body)
    if not isinstance(data, dict) or set(data) != wanted:
        raise DescantError(f"Send a JSON object with {', '.join(sorted(wanted))}.")
    return data


def _content(name: str) -> bytes:
    return (importlib.resources.files("descant.preferences") / "page" / name).read_bytes()


def _missing() -> Response:
    return Response("There is nothing here.", 404, media_type="text/plain")
