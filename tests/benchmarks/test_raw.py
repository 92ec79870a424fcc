"""Raw data of studies: read as written, tables made from it, and the pages of results agree with it."""

from __future__ import annotations

import gzip
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from descant.benchmarks.raw import NAME, read_jobs, write_jobs, write_lines
from descant.benchmarks.studies import Table, write_tables
from descant.benchmarks.suites.full import FULL, MINUTES
from descant.benchmarks.work import Done, call
from descant.cli import main
from descant.errors import DescantError
from descant.registry import suites

from .test_studies import ROOTS

HINT = "after a new measurement copy DIR/raw.jsonl.gz to docs/results/raw/NAME.jsonl.gz"
PAGES = Path(__file__).parents[2] / "docs" / "results"
RAW = sorted((PAGES / "raw").glob("*.jsonl.gz"))
STUDIES = [path for path in RAW if path.name != "quick.jsonl.gz"]


def left(seeds: int, out: Path) -> None:
    """What run_study leaves, made in this process."""
    (out / "jobs").mkdir(parents=True)
    done = [call(job) for job in ROOTS.jobs(range(seeds))]
    write_jobs("roots", done, out / NAME)
    write_tables(ROOTS, done, out)


def test_jobs_are_read_as_written(tmp_path: Path) -> None:
    left(6, tmp_path)
    name, done = read_jobs(tmp_path / NAME)
    assert (name, len(done)) == ("roots", 6)
    assert [d.value for d in done[:5]] == [2.0, 3**0.5, 2**0.5, 1.0, 0.0]
    assert done[1].job.arguments == {"x": 3.0}
    assert done[5].error.startswith("ValueError")
    assert "in root" in done[5].trace
    first = (tmp_path / NAME).read_bytes()
    assert first[4:8] == bytes(4)  # gzip's time
    assert write_jobs(name, done, tmp_path / NAME).read_bytes() == first


def test_report_makes_the_tables_of_a_study_from_its_raw_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:

    def drawn(done: list[Done], out: Path) -> list[Table]:
        return [replace(table, files=(out / "picture",)) for table in ROOTS.tables(done, out)]

    study = replace(ROOTS, tables=drawn)
    monkeypatch.setattr(suites, "get", lambda name: {"roots": study}[name])
    left(6, tmp_path)
    page, data = (tmp_path / "roots.md", tmp_path / "roots.json")
    told = (page.read_text(), data.read_text())
    page.write_text("an old page")
    data.unlink()
    assert main(["report", str(tmp_path)]) == 1  # a job failed
    assert page.read_text() == told[0]
    assert json.loads(data.read_text())[0] == json.loads(told[1])[0] | {"files": [str(tmp_path / "picture")]}
    page.unlink()
    assert "failed: ValueError" in capsys.readouterr().out
    left(2, tmp_path / "fine")
    capsys.readouterr()
    assert main(["report", str(tmp_path / "fine")]) == 0
    assert str(tmp_path / "fine" / "picture") in capsys.readouterr().out
    assert main(["report", str(tmp_path / "fine" / NAME), "--json"]) == 0
    told_again = json.loads(capsys.readouterr().out)[0]
    assert (told_again["data"], told_again["files"]) == ([2.0, 3**0.5], [])  # pictures are left in no folder
    assert not page.exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"no gzip", "Not a gzipped file"),
        (gzip.compress(b"[1"), "JSONDecodeError"),
        (gzip.compress(b""), "not enough values"),
        (gzip.compress(b'{"kind": "suite", "suite": "quick"}'), "KeyError: 'format'|a suite"),
        (gzip.compress(b'{"kind": "study", "study": "x", "format": 99}'), "a study of format 99"),
        (gzip.compress(b'{"kind": "study", "study": "x", "format": 1}\n{"kind": "job"}'), "KeyError"),
        (gzip.compress(b'{"kind": "study"}')[:-9], "can't be read"),
    ],
    ids=["plain", "no JSON", "empty", "suite", "format", "no fields", "cut off"],  # bytes would tell the time
)
def test_what_is_no_raw_data_of_a_study_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / NAME).write_bytes(content)
    with pytest.raises(DescantError, match=reason):
        read_jobs(tmp_path / NAME)
    assert main(["report", str(tmp_path)]) == 2


def test_a_study_that_is_not_here_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_lines(tmp_path / NAME, [{"kind": "study", "study": "imitatoin", "format": 1}])
    assert main(["report", str(tmp_path / NAME)]) == 2
    assert "Did you mean 'imitation'" in capsys.readouterr().err
    assert main(["report", str(tmp_path / NAME), "--tolerance", "1"]) == 2


def test_all_raw_data_is_small() -> None:
    assert STUDIES
    assert sum(path.stat().st_size for path in RAW) < 5e6


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.name.partition(".")[0])
def test_a_page_of_results_has_the_numbers_of_its_raw_data(path: Path, tmp_path: Path) -> None:
    """Every table of the page that has a table of the study's under other words agrees with it."""
    name, done = read_jobs(path)
    assert path.name == f"{name}.jsonl.gz"
    found = suites.get(name).tables(done, tmp_path)
    missed = sum(not table.met for table in found)
    compared = sum(agrees_with_one(found, shown) for shown in page_tables((PAGES / f"{name}.md").read_text()))
    assert compared >= 12, "the page has no table with these columns and so many rows"
    (told,) = re.findall(rf"^\| `{name}` \|(.*)$", (PAGES / "full.md").read_text(), re.MULTILINE)
    assert bool(missed) == ("missed" in told)


def page_tables(text: str) -> list[list[list[str]]]:
    """The tables of a Markdown page: rows of cells, the first row the columns."""
    tables = re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE)
    rows = [[re.split(r"\s*(?<!\\)\|\s*", line.strip())[1:-1] for line in t.splitlines()] for t in tables]
    return [[table[0], *table[2:]] for table in rows]


def agrees_with_one(tables: list[Table], shown: list[list[str]]) -> int:
    """How many cells agree; 0 where none of the tables is this one. Tables of several worlds have the same columns."""
    wrong: list[AssertionError] = []
    for table in tables:
        try:
            if found := agrees(table, shown):
                return found
        except AssertionError as error:
            wrong.append(error)
    if wrong:
        raise wrong[0]
    return 0


def agrees(table: Table, shown: list[list[str]]) -> int:
    """How many cells of columns that both have were compared; 0 where these are different tables.

    The page may leave out rows, not change their order.
    """
    columns, *rows = shown
    numbered = list(enumerate(table.columns))[1:]  # the first column is what the page may call by other words
    common = [(i, columns.index(name)) for i, name in numbered if name in columns]
    if not len(table.rows) / 2 <= len(rows) <= len(table.rows) or len(common) < 3:
        return 0
    compared, mine = 0, iter(table.rows)
    for row in rows:
        told = [(i, row[j]) for i, j in common if numbers(row[j])]
        assert any(all(same(own[i], cell) for i, cell in told) for own in mine), (
            f"{HINT}: not in the raw data: {row}"
        )
        compared += len(told)
    return compared


def same(mine: str, theirs: str) -> bool:
    """Whether all numbers agree, to the digits that the page shows; words may differ."""
    ours, shown = numbers(mine), numbers(theirs)
    return len(ours) == len(shown) and all(
        abs(float(a) - float(b)) <= 0.5001 * 10.0 ** -len(b.partition(".")[2])
        for a, b in zip(ours, shown, strict=True)
    )


def numbers(cell: str) -> list[str]:
    """The numbers of a cell, as written."""
    return [found.replace(",", "") for found in re.findall(r"-?\d[\d,]*(?:\.\d+)?", cell)]


def test_a_page_that_differs_is_noticed() -> None:
    rows = (("a", "10", "0.1234", "1,204"), ("b", "10", "0.5", "7"), ("c", "9", "1", ""))
    table = Table("", ("agent", "seeds", "mean", "worst"), rows, None)
    columns = ["agent", "seeds", "mean", "worst"]
    right = [["`a`", "10", "0.123", "1204"], ["`c`", "9", "1.0", "none"]]
    assert agrees(table, [columns, *right]) == agrees(table, [columns[1:], *(row[1:] for row in right)]) == 5
    assert agrees(table, [columns, *right, *right]) == 0
    assert agrees(table, [columns, right[0]]) == 0
    assert agrees(table, [["x", "seeds", "mean"], *(row[:3] for row in right)]) == 0
    other = Table("", ("agent", "seeds", "mean", "worst"), tuple((*row[:3], "9") for row in rows), None)
    assert agrees_with_one([other, table], [columns, *right]) == 5
    assert agrees_with_one([other, table], [["x"], ["1"]]) == 0
    for wrong in ("0.124", "0.123 to 0.2", "0.5"):
        with pytest.raises(AssertionError):
            agrees_with_one([other, table], [columns, ["`a`", "10", wrong, "1,204"], right[1]])
    with pytest.raises(AssertionError):
        agrees(table, [columns, *right[::-1]])


def test_the_readme_has_the_scores_of_quick() -> None:
    with gzip.open(PAGES / "raw" / "quick.jsonl.gz", "rt", encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    readme = page_tables((PAGES.parents[1] / "README.md").read_text())
    (table,) = (table for table in readme if table[0] == ["Agent", "Score", "Without error", "Trained"])
    for agent, score, legal, _ in table[1:]:
        found = [x for x in lines if x["kind"] == "problem" and x["agent"] == agent.strip("`")]
        assert same(f"{sum(x['score'] for x in found) / len(found)}", score)
        assert legal == f"{sum(x['errors'] == 0 for x in found)} of {len(found)}"


def test_the_page_of_all_results_tells_of_each() -> None:
    """Its jobs, minutes, bars and files are those of the raw data; a study without such data says so."""
    (table,) = page_tables((PAGES / "full.md").read_text())
    rows = {row[0].strip("`"): dict(zip(table[0], row, strict=True)) for row in table[1:]}
    assert list(rows) == list(FULL.parts)
    for name, row in rows.items():
        page, raw = PAGES / f"{name}.md", PAGES / "raw" / f"{name}.jsonl.gz"
        assert (f"]({page.name})" in row["page"]) == page.exists()
        assert (f"](raw/{raw.name})" in row["raw data"]) == raw.exists()
        if raw in STUDIES:
            done = read_jobs(raw)[1]
            minutes = sum(d.seconds for d in done) / 60
            # Of translation, `full` runs no text of one's own.
            ran = [d for d in done if name != "translation" or "data" not in d.job.arguments["world"]["env"]]
            seeds = {d.job.arguments.get("seed") for d in done} - {None}
            told = f"0 to {max(seeds)}" if seeds else ""
            assert (row["jobs"], row["seeds"]) == (str(len(done)), told)
            assert same(f"{minutes}", row["minutes of one core"])
            assert sum(d.seconds for d in ran) / 60 == pytest.approx(MINUTES[name], rel=0.1)
