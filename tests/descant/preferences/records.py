"""Clips, pairs and stores for tests, and strategies that draw them."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from descant.preferences.records import ACTIONS, CHOICES, Clip, Judgement, Pair, new_uuid
from descant.preferences.store import Store

MELODY = "descant/Melody-v0"
TUNE = (14, 1, 1, 1, 16, 1, 18, 1)


def melody(number: int, source: str = "model", **arguments: Any) -> Clip:
    """A melody that differs by its number."""
    return Clip(MELODY, {"key": "C", "steps": 9} | arguments, (*TUNE, 2 + number), source)


def pair_of(a: Clip, b: Clip, left: str = "a", **fields: Any) -> Pair:
    """A pair of two clips."""
    return Pair(a.hash, b.hash, left, "random", **fields)


def filled(path: Path, pairs: int = 5, sources: tuple[str, ...] = ("one", "two")) -> Store:
    """A store with that many pairs of different clips."""
    store = Store.create(path)
    clips = [melody(n % 36, sources[n % len(sources)], opus=n // 36) for n in range(pairs + 1)]
    for clip in clips:
        store.add_clip(clip)
    with store.transaction():
        for n in range(pairs):
            store.add_pair(pair_of(clips[n], clips[n + 1], "ab"[n % 2]))
    return store


def judged(pair: Pair, annotator: str = "ann", choice: str | None = "a", **fields: Any) -> Judgement:
    """A judgement of a pair."""
    return Judgement(pair.uuid, annotator, choice, **fields)


# Strategies.

CHARS = st.characters(blacklist_categories=("Cs", "Cc"))
LINES = st.text(st.one_of(CHARS, st.sampled_from("\n\t=+-@'\",;")), max_size=40)
NAMES = st.text(CHARS, min_size=1, max_size=20).filter(lambda name: name == name.strip() and name != "")
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
)
VALUES = st.recursive(
    LEAVES | LINES, lambda s: st.lists(s, max_size=3) | st.dictionaries(LINES, s, max_size=3), max_leaves=6
)
DATA = st.dictionaries(LINES, VALUES, max_size=3)
TIMES = st.floats(0, 1e10)
UUIDS = st.uuids().map(str)


@st.composite
def stores(draw: st.DrawFn) -> list[Clip | Pair | Judgement]:
    """Records that a store takes in this order: what annotators did, undone and redone, and repeated pairs."""
    clips = draw(
        st.lists(
            st.builds(
                Clip, NAMES, DATA, st.lists(st.integers(0, 2**31 - 1), max_size=5).map(tuple), NAMES,
                st.none() | LINES, DATA,
            ),
            min_size=2, max_size=4, unique_by=lambda clip: clip.hash,
        )
    )  # fmt: skip
    pairs: list[Pair] = []
    for _ in range(draw(st.integers(0, 4))):
        a, b = draw(st.permutations(clips))[:2]
        fields = (
            draw(st.sampled_from("ab")),
            draw(NAMES),
            new_uuid_of(draw),
            None,
            draw(st.none() | NAMES),
            draw(TIMES),
        )
        pairs.append(Pair(a.hash, b.hash, *fields))
        if draw(st.booleans()):
            first = pairs[-1]
            swapped = "b" if first.left == "a" else "a"
            pairs.append(
                Pair(first.a, first.b, swapped, "repeat", new_uuid_of(draw), first.uuid, None, draw(TIMES))
            )
    return [*clips, *pairs, *draw(judgements(pairs))]


def new_uuid_of(draw: st.DrawFn) -> str:
    """A UUID that no other draw has."""
    return str(uuid.uuid5(uuid.UUID(int=draw(st.integers(0, 2**64))), new_uuid()))


@st.composite
def judgements(draw: st.DrawFn, pairs: list[Pair]) -> list[Judgement]:
    """Rows that make chains: judged, undone, redone or judged anew."""
    rows: list[Judgement] = []
    ends: dict[tuple[str, str], Judgement] = {}
    annotators = draw(st.lists(NAMES, min_size=1, max_size=2, unique=True))
    for _ in range(draw(st.integers(0, 8)) if pairs else 0):
        pair, annotator = draw(st.sampled_from(pairs)), draw(st.sampled_from(annotators))
        last = ends.get((pair.uuid, annotator))
        if last is None:
            action = "judge"
        else:
            action = draw(st.sampled_from(["judge", "redo"])) if last.action == "undo" else "undo"
        assert action in ACTIONS
        choice = None if action == "undo" else draw(st.sampled_from(CHOICES))
        row = Judgement(
            pair.uuid, annotator, choice, new_uuid_of(draw), action, last.uuid if last else None,
            draw(TIMES), draw(TIMES), draw(TIMES), draw(DATA), draw(LINES),
        )  # fmt: skip
        ends[pair.uuid, annotator] = row
        rows.append(row)
    return rows
