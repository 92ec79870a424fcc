"""What the page's server answers: pairs without a source, judgements by left and right, undo and redo, errors."""

from __future__ import annotations

import io
import json
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

pytest.importorskip("starlette")

from descant.preferences.guards import Sessions
from descant.preferences.loudness import TARGET, loudness
from descant.preferences.records import Clip, Pair, new_uuid
from descant.preferences.server import Labelling, Settings
from descant.preferences.store import Store

from .asgi import COOKIE, FROM_PAGE, HOST, Client, enter
from .records import filled, melody, pair_of

HOSTS = frozenset({HOST})


class Page:
    """The page of one annotator, as a program."""

    def __init__(self, labelling: Labelling, annotator: str = "ann") -> None:
        sessions = Sessions()
        self.client: Client = enter(labelling.app(HOSTS, sessions, COOKIE), sessions)
        self.annotator = annotator

    def state(self) -> Any:
        return self.client.get("/api/state", f"annotator={self.annotator}").json

    def judge(self, choice: Any, status: int = 200, **fields: Any) -> Any:
        """Judge the pair that is shown."""
        pair = self.state()["pair"]
        asked = {
            "uuid": new_uuid(), "pair": pair["uuid"] if pair else new_uuid(), "annotator": self.annotator,
            "choice": choice, "shown": 1.0, "decided": 2.0, "note": "",
            "listening": {"heard": {"left": 9.0, "right": 9.0}, "events": [[0.5, "left", "play", 0]]},
        }  # fmt: skip
        return self.send("judge", asked | fields, status)

    def send(self, action: str, body: Any, status: int = 200) -> Any:
        answer = self.client.post(f"/api/{action}", body)
        assert answer.status == status, answer.body
        return answer.json

    def change(self, action: str, status: int = 200) -> Any:
        return self.send(action, {"uuid": new_uuid(), "annotator": self.annotator}, status)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    filled(tmp_path / "taste.db").close()
    return tmp_path / "taste.db"


@pytest.fixture
def labelling(path: Path) -> Iterator[Labelling]:
    made = Labelling(path, Settings(min_seconds=0.5))
    yield made
    made.close()


@pytest.fixture
def page(labelling: Labelling) -> Page:
    return Page(labelling)


def kept(path: Path) -> list[tuple[str, str | None]]:
    with Store(path) as store:
        return [(j.action, j.choice) for j in store.judgements()]


def test_the_state_says_what_is_next_and_how_far_all_are(page: Page, path: Path) -> None:
    with Store(path) as store:
        first, second, *_ = store.pairs()
    state = page.state()
    assert state["pair"]["uuid"] == first.uuid
    assert (state["pair"]["left"]["id"], state["pair"]["right"]["id"]) == first.sides
    assert state["next"]["uuid"] == second.uuid
    assert state["you"] == {"done": 0}
    assert state["all"] == {"pairs": 5, "judgements": 0, "annotators": 0}
    assert (state["undo"], state["redo"]) == (False, False)
    # Nothing tells who wrote a clip.
    assert set(state["pair"]["left"]) == {"id", "seconds", "text", "words"}
    text = json.dumps(state)
    assert '"one"' not in text
    assert '"two"' not in text


def test_left_and_right_become_a_and_b(page: Page, path: Path) -> None:
    for choice in ("left", "right", "tie", "both_bad", "skip"):
        state = page.judge(choice, note=f"<b>{choice}</b>")
    assert (state["pair"], state["next"], state["you"]) == (None, None, {"done": 5})
    with Store(path) as store:
        pairs, rows = list(store.pairs()), list(store.judgements())
    lefts = [pair.left for pair in pairs]
    assert lefts == ["a", "b", "a", "b", "a"]
    assert [row.choice for row in rows] == ["a", "a", "tie", "both_bad", "skip"]
    assert [row.pair for row in rows] == [pair.uuid for pair in pairs]
    assert rows[0].note == "<b>left</b>"
    assert (rows[0].shown, rows[0].decided) == (1.0, 2.0)
    assert rows[0].listening["events"] == [[0.5, "left", "play", 0]]


def test_a_clip_that_was_damaged_is_no_missing_one(page: Page, labelling: Labelling) -> None:
    pair = page.state()["pair"]
    connection = labelling._reader.connection
    connection.execute("DROP TRIGGER clips_no_update")
    connection.execute("UPDATE clips SET tokens = '[1, '")
    answer = page.client.get(f"/clips/{pair['left']['id']}/sound.wav")
    assert (answer.status, answer.headers["content-type"]) == (507, "text/plain; charset=utf-8")
    assert "taste.db is damaged" in answer.body.decode()


def test_what_is_told_of_clips_is_forgotten_in_time(
    page: Page, labelling: Labelling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("descant.preferences.server.MOST_VIEWS", 2)
    for _ in range(3):
        page.judge("skip")
    assert len(labelling._views) == 2


def test_undo_and_redo(page: Page, path: Path) -> None:
    first = page.state()["pair"]["uuid"]
    assert page.judge("left")["undo"]
    state = page.change("undo")
    assert (state["pair"]["uuid"], state["undo"], state["redo"]) == (first, False, True)
    assert page.change("redo")["pair"]["uuid"] != first
    page.change("undo")
    page.judge("tie")
    assert "nothing to redo" in page.change("redo", 404)["error"]
    assert kept(path) == [("judge", "a"), ("undo", None), ("redo", "a"), ("undo", None), ("judge", "tie")]


def test_what_is_sent_twice_is_kept_once(page: Page, path: Path) -> None:
    body = {
        "uuid": new_uuid(), "pair": page.state()["pair"]["uuid"], "annotator": "ann", "choice": "left", "note": "",
        "shown": 0, "decided": 1, "listening": {"heard": {"left": 1, "right": 1}},
    }  # fmt: skip
    assert page.send("judge", body)["you"] == page.send("judge", body)["you"] == {"done": 1}
    assert "another judgement's" in page.send("judge", body | {"choice": "tie"}, 409)["error"]
    assert "judged this pair already" in page.send("judge", body | {"uuid": new_uuid()}, 409)["error"]
    assert kept(path) == [("judge", "a")]


def test_two_annotators_judge_apart(labelling: Labelling, path: Path) -> None:
    ann, bob = Page(labelling), Page(labelling, "bob")
    ann.judge("left")
    assert bob.state()["you"] == {"done": 0}
    bob.judge("right")
    assert ann.change("undo")["you"] == {"done": 0}
    assert bob.state()["you"] == {"done": 1}


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"pair": new_uuid()}, 404), ({"pair": "x"}, 422), ({"pair": None}, 422), ({"choice": "a"}, 422),
        ({"choice": None}, 422),
        ({"choice": ["left"]}, 422), ({"note": "x" * 2001}, 422), ({"note": 7}, 422), ({"note": "\x00"}, 422),
        ({"annotator": ""}, 422),
        ({"annotator": "x" * 81}, 422), ({"annotator": {}}, 422), ({"uuid": "x"}, 422), ({"shown": "now"}, 422),
        ({"decided": -1}, 422), ({"listening": []}, 422), ({"listening": {"heard": 3}}, 422), ({"more": 1}, 422),
        ({"listening": {"heard": {"left": "9", "right": 9}}}, 422),
        ({"listening": {"heard": {"left": True, "right": 9}}}, 422),
    ],
)  # fmt: skip
def test_what_can_not_be_is_refused_and_nothing_kept(
    page: Page, path: Path, fields: Any, status: int
) -> None:
    answer = page.judge(
        fields.get("choice", "left"), status, **{k: v for k, v in fields.items() if k != "choice"}
    )
    assert answer["error"]
    assert kept(path) == []
    assert page.judge("left")["you"] == {"done": 1}


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"7", b'{"uuid": NaN}', b"[" * 9000, b"\xff", b'{"uuid": "x"}']
)
def test_what_is_no_judgement_is_refused(page: Page, path: Path, body: bytes) -> None:
    for action in ("judge", "undo", "redo"):
        assert page.client.ask("POST", f"/api/{action}", FROM_PAGE, [body]).status == 422
    assert kept(path) == []


def test_both_must_be_heard_but_to_skip(page: Page, path: Path) -> None:
    for heard in (
        {"left": 9.0, "right": 0.3},
        {"left": 0.0, "right": 9.0},
        {"left": 9.0},
        {},
        {"left": -9.0, "right": 9.0},
    ):
        assert "Listen to both" in page.judge("tie", 422, listening={"heard": heard})["error"]
    assert page.judge("skip", listening={"heard": {}})["you"] == {"done": 1}
    assert page.judge("left", listening={"heard": {"left": 0.45, "right": 0.5}})["you"] == {"done": 2}
    assert kept(path) == [("judge", "skip"), ("judge", "b")]


def test_a_short_clip_is_heard_when_it_ends(tmp_path: Path) -> None:
    with Store.create(tmp_path / "a.db") as store:
        clips = [melody(0), melody(1)]  # nine sixteenths, 1.7 s
        for clip in clips:
            store.add_clip(clip)
        store.add_pair(pair_of(*clips))
    labelling = Labelling(tmp_path / "a.db", Settings(min_seconds=60))
    try:
        page = Page(labelling)
        assert page.state()["pair"]["minimum"] == {"left": 1.688, "right": 1.688}
        page.judge("left", 422, listening={"heard": {"left": 1.5, "right": 1.7}})
        page.judge("left", listening={"heard": {"left": 1.7, "right": 1.7}})
    finally:
        labelling.close()


@pytest.mark.parametrize("annotator", ["", "%20ann", "a" * 81, "%00"])
def test_a_name_that_can_not_be_is_refused(page: Page, annotator: str) -> None:
    assert page.client.get("/api/state", f"annotator={annotator}").status == 422
    assert page.client.get("/api/state").status == 422


def test_clips_sound_equally_loud(page: Page) -> None:
    pair = page.state()["pair"]
    for side in ("left", "right"):
        answer = page.client.get(f"/clips/{pair[side]['id']}/sound.wav")
        assert (answer.status, answer.headers["content-type"]) == (200, "audio/wav")
        with wave.open(io.BytesIO(answer.body)) as sound:
            rate = sound.getframerate()
            samples = np.frombuffer(sound.readframes(sound.getnframes()), "<i2") / 32768
        assert len(samples) / rate == pytest.approx(pair[side]["seconds"], abs=1e-3)
        assert loudness(samples, rate) == pytest.approx(TARGET, abs=0.05)


def test_clips_are_engraved_without_a_title(page: Page) -> None:
    pair = page.state()["pair"]
    for width in ("wide", "narrow"):
        answer = page.client.get(f"/clips/{pair['left']['id']}/score-{width}.svg")
        assert answer.headers["content-type"] == "image/svg+xml"
        notes = [g for g in ElementTree.fromstring(answer.body).iter() if g.get("data-class") == "note"]
        assert len(notes) == 4
    assert pair["left"]["words"].startswith("Melody: C4 D4 E4 ")


def test_texts_are_read_and_not_heard(tmp_path: Path) -> None:
    source = {"source": "Das Haus <i>ist</i> klein."}
    clips = [
        Clip("text", source, (), "one", "The house is small."),
        Clip("text", source, (), "two", "<b>House</b>"),
    ]
    odd = [Clip("other/Env-v3", {}, (1, 2, 3), "one"), Clip("descant/Melody-v0", {"key": "H"}, (99,), "two")]
    with Store.create(tmp_path / "a.db") as store:
        for clip in (*clips, *odd):
            store.add_clip(clip)
        store.add_pair(pair_of(*clips))
        store.add_pair(Pair(odd[0].hash, odd[1].hash, "a", "x"))
    labelling = Labelling(tmp_path / "a.db", Settings(min_seconds=1))
    try:
        page = Page(labelling)
        pair = page.state()["pair"]
        assert pair["prompt"] == source["source"]
        assert [pair[side]["text"] for side in ("left", "right")] == ["The house is small.", "<b>House</b>"]
        assert pair["left"]["seconds"] is None
        assert page.client.get(f"/clips/{pair['left']['id']}/sound.wav").status == 404
        assert page.client.get(f"/clips/{pair['left']['id']}/score-wide.svg").status == 404
        state = page.judge("left")
        # A clip without sound is shown as its tokens.
        assert [state["pair"][side]["text"] for side in ("left", "right")] == ["1 2 3", "99"]
        assert page.judge("tie")["pair"] is None
    finally:
        labelling.close()


def test_a_full_disk_is_said_and_nothing_acknowledged_is_lost(labelling: Labelling, path: Path) -> None:
    page = Page(labelling)
    page.judge("left")
    connection = labelling.writer._store.connection
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")
    statuses = set()
    for _ in range(40):
        pair = page.state()["pair"]["uuid"]
        body = {
            "uuid": new_uuid(), "pair": pair, "annotator": f"ann {_}", "choice": "skip", "note": "long " * 400,
            "shown": 0, "decided": 0, "listening": {},
        }  # fmt: skip
        answer = page.client.post("/api/judge", body)
        statuses.add(answer.status)
    assert statuses == {200, 507} or statuses == {507}
    assert "make room on the disk" in answer.json["error"]
    connection.execute("PRAGMA max_page_count = 1000000")
    assert page.judge("right")["you"] == {"done": 2}
    assert len(kept(path)) >= 2


def test_the_page_s_files_are_served(page: Page) -> None:
    for name, kind in (("", "text/html"), ("page.css", "text/css"), ("page.js", "text/javascript")):
        answer = page.client.get(f"/{name}")
        assert answer.status == 200
        assert answer.headers["content-type"].startswith(kind)
        assert len(answer.body) > 500
