"""Stores out to JSON lines and CSV and in again: nothing lost, nothing doubled, broken lines counted."""

from __future__ import annotations

import csv
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from descant.errors import DescantError
from descant.preferences import exchange
from descant.preferences.connections import Unsaved
from descant.preferences.exchange import export_csv, export_jsonl, import_any, import_lines
from descant.preferences.records import Clip, Judgement, Pair, new_uuid
from descant.preferences.store import Store

from .records import filled, judged, stores

MEMORY = Path("/dev/shm")  # where there is one, nothing waits for a disk


def fill(store: Store, records: list[Clip | Pair | Judgement]) -> None:
    with store.transaction():
        for record in records:
            if isinstance(record, Clip):
                store.add_clip(record)
            elif isinstance(record, Pair):
                assert store.add_pair(record)
            else:
                assert store.add_judgement(record)


def content(store: Store) -> list[Any]:
    return [*store.clips(), *store.pairs(), *store.judgements()]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(records=stores())
def test_the_round_trip_is_without_loss(records: list[Clip | Pair | Judgement]) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        place = Path(folder)
        with Store.create(place / "a.db") as store:
            fill(store, records)
            export_jsonl(store, place / "a.jsonl")
            export_csv(store, place / "a")
            before = content(store)
        for source in ("a.jsonl", "a"):
            with Store.create(place / f"from-{source}.db") as other:
                report = import_any(other, place / source)
                assert report.skipped == 0, report.reasons
                assert content(other) == before
                assert sum(report.added.values()) == len(before)
                again = import_any(other, place / source)
                assert (sum(again.added.values()), sum(again.there.values())) == (0, len(before))
                export_jsonl(other, place / "b.jsonl")
                export_csv(other, place / "b")
            assert (place / "a.jsonl").read_bytes() == (place / "b.jsonl").read_bytes()
            for name in ("clips.csv", "pairs.csv", "judgements.csv"):
                assert (place / "a" / name).read_bytes() == (place / "b" / name).read_bytes()


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """An export of a store with judgements, as JSON lines and CSV in `tmp_path`."""
    with filled(tmp_path / "taste.db") as store:
        for pair in store.pairs():
            store.judge(judged(pair, note="=1+1"))
        store.undo("ann", new_uuid())
        counts = export_jsonl(store, tmp_path / "out.jsonl")
        assert counts == export_csv(store, tmp_path / "out") == {"clip": 6, "pair": 5, "judgement": 6}
    return tmp_path


def test_csv_that_a_spreadsheet_saved_comes_in(exported: Path) -> None:
    for name in ("clips.csv", "pairs.csv", "judgements.csv"):
        path = exported / "out" / name
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    with Store(exported / "taste.db") as store, Store.create(exported / "again.db") as other:
        assert import_any(other, exported / "out").skipped == 0
        assert content(other) == content(store)


def test_a_spreadsheet_gets_no_formulas(exported: Path) -> None:
    with open(exported / "out" / "judgements.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["note"] for row in rows] == ["'=1+1"] * 5 + ["'"]


def vote(pair: str, note: str) -> bytes:
    """A line with a judgement."""
    fields = {"uuid": new_uuid(), "pair": pair, "annotator": "ann", "choice": "a", "note": note}
    return json.dumps({"type": "judgement"} | fields).encode() + b"\n"


BROKEN = [
    b"not JSON\n",
    b"[1]\n",
    b'{"type": "clip"}\n',
    b'{"type": "melody"}\n',
    b'{"type": "judgement", "pair": "x"}\n',
    b'{"type": "clip", "environment": "e", "arguments": {}, "tokens": "12", "source": "s"}\n',
    b'{"type": "clip", "environment": "e", "arguments": {}, "tokens": [1], "source": "s", "hash": "0"}\n',
    b'{"type": "clip", "environment": "e", "arguments": {}, "tokens": [1], "source": "s", "more": 1}\n',
    b'{"type": "clip", "environment": "e", "arguments": {"x": NaN}, "tokens": [1], "source": "s"}\n',
    b'{"type": "clip", "environment": "\xff", "arguments": {}, "tokens": [1], "source": "s"}\n',
    b"[" * 100_000 + b"\n",
    b'{"type": "clip", "text": "' + b"x" * (1 << 20) + b'"}\n',
    vote(new_uuid(), ""),
    vote(new_uuid(), "n" * 2001),
]  # fmt: skip


def test_broken_lines_are_counted_and_the_rest_is_taken(exported: Path) -> None:
    lines = (exported / "out.jsonl").read_bytes().splitlines(keepends=True)
    mixed = [lines[0], *BROKEN[:7], *lines[1:9], b"\n", *BROKEN[7:], *lines[9:]]
    (exported / "mixed.jsonl").write_bytes(b"".join(mixed))
    with Store(exported / "taste.db") as store, Store.create(exported / "new.db") as other:
        report = import_any(other, exported / "mixed.jsonl")
        assert content(other) == content(store)
    assert report.skipped == len(BROKEN)
    assert len(report.reasons) == exchange.TOLD
    assert report.reasons[0].startswith("line 2: not JSON")
    assert report.reasons[2] == "line 4: this clip has no arguments"


def test_broken_rows_of_a_table_are_counted_and_the_rest_is_taken(exported: Path) -> None:
    path = exported / "out" / "judgements.csv"
    rows = path.read_bytes().splitlines(keepends=True)
    bad = [
        b"1,2\n",
        b'x"y",1\n',
        rows[1].replace(b",judge,", b",jump,"),
        rows[1].replace(b"ann", b"\xff\xfe"),
    ]
    path.write_bytes(b"".join([*rows[:2], *bad, *rows[2:]]))
    with Store(exported / "taste.db") as store, Store.create(exported / "new.db") as other:
        report = import_any(other, exported / "out")
        assert content(other) == content(store)
    assert report.skipped == 4
    assert report.reasons[0] == "judgements.csv line 3: 2 cells in place of 11"


def test_what_two_people_did_apart_comes_together(exported: Path) -> None:
    with Store(exported / "taste.db") as store:
        for pair in list(store.pairs())[:2]:
            store.judge(judged(pair, "bob", "b"))
        export_jsonl(store, exported / "bob.jsonl")
    with Store.create(exported / "new.db") as other:
        import_any(other, exported / "out.jsonl")
        report = import_any(other, exported / "bob.jsonl")
        assert report.added == {"clip": 0, "pair": 0, "judgement": 2}
        # The same annotator judged the same pair in two places: what came first stays, the other is counted.
        first = next(other.pairs())
        contrary = judged(first, "bob", "tie")
        report = import_lines(other, [("here", "judgement", vars(contrary).copy())])
        assert (report.skipped, report.added["judgement"]) == (1, 0)
        assert "judged this pair otherwise" in report.reasons[0]


def test_batches_are_kept_one_by_one(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "BATCH", 3)
    lines = list(exchange._read_jsonl(exported / "out.jsonl"))

    def stopped() -> Any:
        yield from lines[:8]
        raise KeyboardInterrupt

    with Store.create(exported / "new.db") as other:
        with pytest.raises(KeyboardInterrupt):
            import_lines(other, stopped())
        assert len(content(other)) == 6
        assert import_any(other, exported / "out.jsonl").there == {"clip": 6, "pair": 0, "judgement": 0}


@pytest.mark.parametrize("source", ["out.jsonl", "out"])
def test_long_imports_say_how_far_they_are(
    exported: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], source: str
) -> None:
    monkeypatch.setattr(exchange, "BATCH", 3)
    with Store.create(exported / "new.db") as other:
        import_any(other, exported / source, progress_bar=True)
        assert capsys.readouterr().err == ""  # a short one needs none
        monkeypatch.setattr(exchange, "MANY", 10)
        report = import_any(other, exported / source, progress_bar=True)
    shown = capsys.readouterr().err
    assert shown.startswith(f"import: {report.lines}/{report.lines + (1 if source == 'out.jsonl' else 3)} (")
    assert "lines/s" in shown
    assert report.lines == sum(report.there.values()) > 10


def test_what_can_not_be_read_or_written_says_so(exported: Path) -> None:
    with Store(exported / "taste.db") as store:
        with pytest.raises(DescantError, match="Cannot read"):
            import_any(store, exported / "gone.jsonl")
        with pytest.raises(DescantError, match="has none of"):
            import_any(store, exported)
        with pytest.raises(DescantError, match="Cannot write"):
            export_jsonl(store, exported / "out")
        with pytest.raises(DescantError, match="Cannot write"):
            export_csv(store, exported / "out.jsonl")
        (exported / "new.jsonl").write_text('{"type": "store", "format": 2}\n')
        with pytest.raises(Unsaved, match="upgrade descant"):
            import_any(store, exported / "new.jsonl")
        (exported / "out" / "pairs.csv").write_text("")
        with pytest.raises(DescantError, match="no header"):
            import_any(store, exported / "out")
    assert not [path for path in exported.rglob("*") if path.name.startswith(".descant")]
