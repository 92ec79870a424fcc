"""The page in a real browser: a robot labels by keyboard, reloads, undoes, and the store holds just what it did."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from descant.preferences.records import Clip, Pair
from descant.preferences.store import Store

from .browser import CHROMIUM, DRIVER, MISSING, Browser, chromium
from .records import filled, melody, pair_of
from .serving import serving_here

pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason=MISSING)

CHOICES = {"a": "left", "b": "right", "t": "tie", "n": "both_bad", "s": "skip"}
READY = "document.body.dataset.ready"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


def enter(browser: Browser, link: str, name: str = "robot") -> None:
    """Open the link and give a name, by keyboard."""
    browser.open(link)
    browser.wait("!document.getElementById('enter').hidden")
    browser.press(*name, "Enter")
    browser.wait(READY)


def pressed(browser: Browser, key: str) -> None:
    """Press a key that leads to another pair, and wait until that is there."""
    before = browser.run(f"return {READY}")
    browser.press(key)
    browser.wait(f"{READY} && {READY} !== {before!r}")


def standing(path: Path, name: str = "robot") -> dict[str, str | None]:
    """Choice by pair, as left and right."""
    with Store(path) as store:
        pairs = {pair.uuid: pair for pair in store.pairs()}
        return {j.pair: side_of(pairs[j.pair], j.choice) for j in store.standing() if j.annotator == name}


def side_of(pair: Pair, choice: str | None) -> str | None:
    if choice not in ("a", "b"):
        return choice
    return "left" if choice == pair.left else "right"


def test_a_robot_labels_fifty_pairs_by_keyboard(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "taste.db"
    with filled(path, pairs=50) as store:
        pairs = [pair.uuid for pair in store.pairs()]
    keys = [list(CHOICES)[(n * n + n // 3) % 5] for n in range(50)]
    wanted = {pair: CHOICES[key] for pair, key in zip(pairs, keys, strict=True)}
    with serving_here(path) as link:
        enter(browser, link)
        for n, key in enumerate(keys):
            assert browser.run(f"return {READY}") == pairs[n]
            pressed(browser, key)
            if n == 20:
                browser.reload()
                browser.wait(READY)
            if n == 30:  # three back, two forth, and another choice in place of the third
                for _ in range(3):
                    pressed(browser, "z")
                assert browser.run(f"return {READY}") == pairs[28]
                pressed(browser, "y")
                pressed(browser, "y")
                assert browser.run(f"return {READY}") == pairs[30]
                pressed(browser, "t")
                wanted[pairs[30]] = "tie"
        assert browser.run("return !document.getElementById('finished').hidden")
        pressed(browser, "z")
        browser.wait(f"{READY} === {pairs[49]!r}")
        pressed(browser, "y")
        assert browser.complaints() == []
    assert standing(path) == wanted
    with Store(path) as store:
        rows = list(store.judgements())
    actions = [row.action for row in rows]
    assert {action: actions.count(action) for action in set(actions)} == {"judge": 51, "undo": 4, "redo": 3}
    assert all(row.decided >= row.shown > 1e9 for row in rows)


def test_clips_are_heard_before_they_are_judged(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "taste.db"
    filled(path, pairs=2).close()
    with serving_here(path, 0.4) as link:
        enter(browser, link, "ears")
        first = browser.run(f"return {READY}")
        browser.press("a")
        assert "Listen to A for 1 s and B for 1 s" in browser.wait(
            "document.getElementById('status').textContent"
        )
        browser.press("1")
        browser.wait("document.getElementById('left').classList.contains('playing')")
        browser.wait("document.getElementById('wait').textContent.startsWith('Listen to B')")
        browser.press("x")  # the other from the same place
        browser.wait("document.getElementById('right').classList.contains('playing')")
        browser.wait("document.getElementById('wait').textContent === ''")
        browser.press("2")
        browser.wait("!document.querySelector('.playing')")
        browser.press("m", *"good <b>end</b>", "Escape")
        pressed(browser, "b")
        assert browser.run("return document.getElementById('status').textContent") == "Saved: B is better."
        browser.press("m", *"zas")  # letters in a note are no commands
        assert browser.run("return document.getElementById('note').value") == "zas"
        browser.press("Escape")
        assert (
            browser.run("return document.querySelector('[data-key=redo]').getAttribute('aria-disabled')")
            == "true"
        )
    with Store(path) as store:
        (row,) = store.judgements()
        pair = store.find_pair(first)
    assert pair is not None
    assert (row.pair, side_of(pair, row.choice), row.note) == (first, "right", "good <b>end</b>")
    assert row.listening["heard"]["left"] >= 0.4
    assert row.listening["heard"]["right"] >= 0.3
    events = [(side, what) for _, side, what, _ in row.listening["events"]]
    assert events == [("left", "play"), ("right", "switch"), ("right", "pause")]
    # Where one began is where the other ended, to the sample of the shared clock.
    switched, paused = (row.listening["events"][i][3] for i in (1, 2))
    assert switched == pytest.approx(row.listening["heard"]["left"], abs=0.002)
    assert paused == pytest.approx(switched + row.listening["heard"]["right"], abs=0.002)


def test_the_next_pair_plays_by_itself_where_asked(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "taste.db"
    filled(path, pairs=3).close()
    with serving_here(path) as link:
        enter(browser, link, "lazy")
        browser.press("1", "1")  # a key has woken the sound
        pressed(browser, "s")
        assert browser.run("return document.querySelector('.playing')") is None
        browser.run("document.getElementById('autoplay').click()")
        pressed(browser, "s")
        for side in ("left", "right"):  # A, and once it has ended, B
            browser.wait(f"document.getElementById({side!r}).classList.contains('playing')")
        pressed(browser, "a")
    with Store(path) as store:
        *_, row = store.judgements()
    assert [(side, what) for _, side, what, _ in row.listening["events"]][:3] == [
        ("left", "play"), ("left", "end"), ("right", "play"),
    ]  # fmt: skip
    assert row.listening["heard"]["left"] == pytest.approx(1.688, abs=0.01)


def test_a_clip_begins_again_after_its_end(browser: Browser, tmp_path: Path) -> None:
    clips = [melody(0), melody(1, "long")]
    long = Clip(clips[1].environment, clips[0].arguments, clips[1].tokens + (1,) * 7, "long")
    with Store.create(tmp_path / "a.db") as store:
        for clip in (clips[0], long):
            store.add_clip(clip)
        store.add_pair(pair_of(clips[0], long))
    with serving_here(tmp_path / "a.db") as link:
        enter(browser, link, "again")
        for side, key in (("left", "1"), ("left", "1"), ("right", "2")):
            browser.press(key)
            browser.wait(f"document.getElementById({side!r}).classList.contains('playing')")
            if key == "1":
                browser.wait("!document.querySelector('.playing')")
        browser.wait("document.querySelector('#right progress').value > 1.9")
        browser.press("x")  # to a clip that is over at this place
        browser.wait("document.getElementById('left').classList.contains('playing')")
        browser.wait("document.querySelector('#left progress').value > 0.2")
        pressed(browser, "a")
    with Store(tmp_path / "a.db") as store:
        (row,) = store.judgements()
    events = [(side, what, round(place, 1)) for _, side, what, place in row.listening["events"]]
    assert events == [
        ("left", "play", 0.0), ("left", "end", 1.7), ("left", "play", 0.0), ("left", "end", 1.7),
        ("right", "play", 0.0), ("left", "switch", 0.0),
    ]  # fmt: skip


def test_another_annotator_begins_where_they_stopped(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "taste.db"
    filled(path, pairs=3).close()
    place = "document.getElementById('place').textContent"
    with serving_here(path) as link:
        enter(browser, link, "ann")
        pressed(browser, "a")
        for name, at in (("bob", 1), ("ann", 2)):
            browser.run("document.getElementById('leave').click()")
            browser.press(*name, "Enter")  # the name before is not there to be written on
            browser.wait(f"{place} === 'Pair {at} of 3' && !document.getElementById('task').hidden")
            browser.wait(f"document.getElementById('leave').textContent === 'Not {name}?'")


def test_what_the_store_would_not_take_is_left_out(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "taste.db"
    filled(path, pairs=1).close()
    with serving_here(path) as link:
        enter(browser, link, "busy")
        browser.run("document.getElementById('note').value = 'a\\u0007b\\ud800c'")
        browser.press(*"1" * 200)
        pressed(browser, "a")
    with Store(path) as store:
        (row,) = store.judgements()
    assert row.note == "ab\ufffdc"
    assert len(row.listening["events"]) == 150  # of 200: a body has 16 KB


def test_a_full_disk_is_tried_again(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "taste.db"
    filled(path, pairs=2).close()
    with serving_here(path) as link:
        enter(browser, link, "full")
        browser.run(
            "const real = fetch; let n = 0; window.fetch = (...a) => a[0] !== '/api/judge' || n++ ? real(...a) : "
            "Promise.resolve(Response.json({error: 'The disk is full.'}, {status: 507}))"
        )
        browser.press("a")
        browser.wait(
            "document.getElementById('status').textContent === "
            "'Not saved yet: The disk is full. Trying again.'"
        )
        browser.wait("document.getElementById('status').textContent === 'Saved: A is better.'")
    assert list(standing(path, "full").values()) == ["left"]


def test_what_was_not_acknowledged_is_sent_again(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "taste.db"
    filled(path, pairs=3).close()
    with serving_here(path) as link:
        enter(browser, link, "tired")
        # The store has it, and the answer gets lost.
        browser.run(
            "const real = fetch; window.fetch = async (...a) => { await real(...a); throw Error('lost') }"
        )
        browser.press("a")
        browser.wait("document.getElementById('status').textContent.startsWith('Not saved yet: lost')")
        browser.reload()
        browser.wait(
            f"{READY} && document.getElementById('status').textContent === 'Saved what was not sent before.'"
        )
        pressed(browser, "b")
    assert list(standing(path, "tired").values()) == ["left", "right"]
    with Store(path) as store:
        assert len(list(store.judgements())) == 2


def test_text_is_shown_as_text(browser: Browser, tmp_path: Path) -> None:
    hostile = "<img src=x onerror=\"document.title='run'\"><script>document.title='run'</script> &amp;"
    source = {"source": f"Quelle {hostile}"}
    clips = [Clip("text", source, (), name, f"{name} {hostile}") for name in ("one", "two")]
    with Store.create(tmp_path / "text.db") as store:
        for clip in clips:
            store.add_clip(clip)
        store.add_pair(pair_of(*clips))
    with serving_here(tmp_path / "text.db") as link:
        enter(browser, link, f"name {hostile}"[:60])
        assert browser.run("return document.getElementById('prompt').textContent") == source["source"]
        shown = browser.run("return [...document.querySelectorAll('.text')].map((p) => p.textContent)")
        assert shown == [clip.text for clip in clips]
        assert browser.run("return document.querySelector('[data-key=\"play-left\"]').hidden")
        pressed(browser, "a")
        assert browser.run("return document.title") == "Which do you prefer?"
        assert browser.run("return document.querySelectorAll('main script, main img[src=x]').length") == 0
        assert browser.complaints() == []


def test_a_clip_without_sound_is_read_beside_one_that_is_heard(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "half.db"
    prompt = {"key": "C", "steps": 9}
    clips = [Clip("descant/Melody-v0", prompt, (), "silent"), melody(3), melody(4)]
    with Store.create(path) as store:
        for clip in clips:
            store.add_clip(clip)
        for pair in (pair_of(*clips[:2]), pair_of(clips[1], clips[0]), pair_of(*clips[1:])):
            store.add_pair(pair)
    hidden = (
        "['play-left', 'play-right', 'swap'].map((k) => document.querySelector(`[data-key=${k}]`).hidden)"
    )
    wait = "document.getElementById('wait').textContent"
    with serving_here(path, 0.4) as link:
        enter(browser, link, "half")
        assert browser.run(f"return {hidden}") == [True, False, True]
        browser.press("a")
        assert browser.wait("document.getElementById('status').textContent").endswith(
            "isten to B for 1 s before you judge."
        )
        browser.press("1", "x", "2")
        browser.wait("document.getElementById('right').classList.contains('playing')")
        browser.press("x")  # there is nothing to switch to
        browser.wait(f"{wait} === ''")
        pressed(browser, "b")
        assert browser.run(f"return {hidden}") == [False, True, True]
        browser.press("1")
        browser.wait(f"{wait} === ''")
        pressed(browser, "a")
        assert browser.run(f"return {hidden}") == [False, False, False]
        pressed(browser, "s")
        assert browser.run(f"return {hidden}[2]")  # all done
        assert browser.complaints() == []
    assert list(standing(path, "half").values()) == ["right", "left", "skip"]


def test_every_control_has_a_name_a_key_and_the_focus(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "taste.db"
    filled(path, pairs=2).close()
    with serving_here(path) as link:
        enter(browser, link, "reader")
        buttons = browser.run(
            "return [...document.querySelectorAll('[data-key]')].map((b) => [b.getAttribute('aria-keyshortcuts'), "
            "b.querySelector('kbd').textContent, getComputedStyle(b.querySelector('kbd')).display, b.textContent])"
        )
        assert [key for key, *_ in buttons] == ["1", "2", "a", "t", "b", "n", "s", "z", "y", "x"]
        for key, printed, display, text in buttons:
            assert printed == key.upper()
            assert display != "none"
            assert len(text) > 3
        alts = browser.run("return [...document.querySelectorAll('.score img')].map((i) => i.alt)")
        assert [alt[:24] for alt in alts] == ["Score of A. Melody: C4 D", "Score of B. Melody: C4 D"]
        browser.wait("[...document.querySelectorAll('.score img')].every((i) => i.naturalWidth > 100)")
        gone = f"/clips/{'0' * 64}/score-wide.svg"  # as of music that can't be engraved: its notes by name
        browser.run(f"document.querySelector('#left img').src = {gone!r}")
        browser.wait("document.querySelector('#left .text').textContent.startsWith('Melody: C4 D4')")
        assert browser.run("return document.querySelector('#left picture').hidden")
        reached = set()
        for _ in range(20):
            browser.press("Tab")
            reached.add(browser.run("return document.activeElement.dataset.key || document.activeElement.id"))
        assert {"play-left", "play-right", "left", "tie", "right", "both_bad"} <= reached
        assert {"skip", "note", "undo", "redo", "autoplay", "keys", "theme"} <= reached
        # Enter on a focused button is a vote too, and single keys can be turned off.
        browser.run("document.getElementById('keys').click()")
        before = browser.run(f"return {READY}")
        browser.press("a")
        time.sleep(0.2)
        assert browser.run(f"return {READY}") == before
        browser.run("document.querySelector('[data-key=right]').focus()")
        pressed(browser, "Enter")
        browser.run("document.getElementById('keys').click()")
    assert list(standing(path, "reader").values()) == ["right"]


@pytest.mark.parametrize(("width", "columns"), [(1280, 2), (390, 1)])
def test_it_fits_screens_and_themes(browser: Browser, tmp_path: Path, width: int, columns: int) -> None:
    path = tmp_path / "taste.db"
    filled(path, pairs=1).close()
    with serving_here(path) as link:
        browser.resize(width, 844)
        enter(browser, link, "eyes")
        assert browser.run("return document.documentElement.scrollWidth") <= width
        tops = browser.run(
            "return ['left', 'right'].map((id) => document.getElementById(id).getBoundingClientRect().top)"
        )
        assert len(set(tops)) == (1 if columns == 2 else 2)
        score = browser.run("return document.querySelector('#left img').currentSrc")
        assert score.endswith("score-wide.svg" if columns == 2 else "score-narrow.svg")
        grounds = []
        for scheme in ("light", "dark"):
            browser.prefer(scheme)
            grounds.append(browser.run("return getComputedStyle(document.body).backgroundColor"))
        assert len(set(grounds)) == 2
        for theme in ("light", "dark", "auto"):
            browser.run("document.getElementById('theme').click()")
            assert browser.run("return document.getElementById('theme').textContent") == f"Theme: {theme}"
            ground = browser.run("return getComputedStyle(document.body).backgroundColor")
            assert ground == grounds[0 if theme == "light" else 1]
