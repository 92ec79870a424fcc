"""A suite from the command line to its report: trained, skipped, killed, resumed, failed."""

from __future__ import annotations

import base64
import contextlib
import gzip
import io
import json
import os
import re
import shutil
import signal
import subprocess
import wave
from collections.abc import Iterator
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from safetensors.torch import load_file

import descant.benchmarks.executors as executors
import descant.benchmarks.executors_local as executors_local
import descant.benchmarks.runner as runner
from descant.benchmarks.runner import is_done, last_step, train_all
from descant.benchmarks.specs import runs_of
from descant.benchmarks.work import Job
from descant.cli import main
from descant.registry import suites
from descant.runs import read_metrics

from .tiny_suite import TINY

pytestmark = pytest.mark.slow  # the suite itself, run once for all
CHROMIUM = "/usr/bin/chromium"


@dataclass
class Bench:
    """What `descant bench tiny` did."""

    out: Path
    code: int
    said: str

    @property
    def results(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.out / "results.json").read_text())
        return found

    @property
    def report(self) -> str:
        return (self.out / "report.html").read_text()

    def entry(self, agent: str) -> dict[str, Any]:
        (found,) = [entry for entry in self.results["entries"] if entry["agent"] == agent]
        return found


@pytest.fixture(scope="module", autouse=True)
def registered() -> Iterator[None]:
    """The tiny suite under its name, and a quick look at the workers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(suites._entries, "tiny", TINY)
        patch.setattr(executors, "POLL_SECONDS", 0.02)
        yield


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, registered: None) -> Bench:
    """The suite, run by two workers."""
    out, said = tmp_path_factory.mktemp("bench") / "tiny", io.StringIO()
    with contextlib.redirect_stdout(said), pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "160")
        code = main(["bench", "tiny", "--out", str(out)])
    return Bench(out, code, said.getvalue())


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "checkpoints/last/weights.safetensors")


def assert_same_run(one: Path, other: Path) -> None:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []
    logged = [
        [{k: v for k, v in record.items() if k != "time"} for record in read_metrics(run / "metrics.jsonl")]
        for run in (one, other)
    ]
    assert logged[0] == logged[1]


# What a suite leaves.


def test_the_table_has_a_row_for_every_agent(bench: Bench) -> None:
    rows = {cells[1].strip(): cells for line in bench.said.splitlines() if len(cells := line.split("│")) > 2}
    assert set(rows) == {"random", "reinforce 1", "exact", "reinforce 2"}
    assert rows["exact"][2].strip() == "1.0000"
    assert rows["exact"][3].strip() == "2 of 2"
    assert re.fullmatch(r"20,\d\d\d steps", rows["reinforce 1"][5].strip())
    assert "failed" in rows["reinforce 2"][2]
    assert str(bench.out / "report.html") in bench.said


def test_failed_runs_are_counted_and_say_why_and_the_others_finish(bench: Bench) -> None:
    assert bench.code == 1
    failed = re.findall(r"^failed: (\S+): (.*)$", bench.said, re.MULTILINE)
    assert [Path(folder).name.split("-")[0] for folder, _ in failed] == ["reinforce"]
    (nan,) = bench.entry("reinforce 2")["runs"]
    assert "lower learning_rate" in nan["error"]
    assert nan["problems"] == []
    assert "Traceback" not in nan["error"]
    for agent in ("random", "reinforce 1", "exact"):
        (run,) = bench.entry(agent)["runs"]
        assert run["error"] is None
        assert [problem["problem"] for problem in run["problems"]] == ["dorian above", "dorian below"]


def test_results_say_what_a_reader_needs_to_judge_them(bench: Bench) -> None:
    found = bench.results
    assert (found["suite"], found["env"], found["format"]) == ("tiny", "descant/Counterpoint-v0", 2)
    assert "cores" in found["hardware"]
    assert {"python", "torch", "gymnasium"} <= set(found["versions"])
    assert found["command"].startswith("descant")
    assert re.fullmatch(r"([0-9a-f]{40}( and changes)?)?", found["commit"])
    (trained,) = bench.entry("reinforce 1")["runs"]
    assert trained["steps"] >= 20_000
    assert trained["seconds"] > 0
    assert is_done(runs_of(TINY)[0], bench.out)
    assert all(0.999 < p["score"] <= 1.001 for p in bench.entry("exact")["runs"][0]["problems"])
    assert all(p["score"] < 0.9 for p in bench.entry("random")["runs"][0]["problems"])


def test_every_line_is_left_as_files_of_its_own(bench: Bench) -> None:
    files = [
        file
        for entry in bench.results["entries"]
        for run in entry["runs"]
        for problem in run["problems"]
        for file in problem["files"]
    ]
    assert len(files) == len(set(files)) == 3 * 2 * 7
    assert all((bench.out / file).stat().st_size > 0 for file in files)
    assert "scores/exact/dorian-above.wav" in files


# The report.


class Page(HTMLParser):
    """Tags with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_the_report_fetches_nothing(bench: Bench) -> None:
    page = Page(bench.report)
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            if name in ("src", "href", "xlink:href", "data", "srcset", "action"):
                assert (value or "").startswith(("data:", "#")), (tag, name, value)
    assert not page.all("script")
    assert not page.all("link")
    assert not page.all("iframe")
    assert not re.findall(r"url\(\s*['\"]?(?!#|data:)", bench.report)
    assert "@import" not in bench.report


def test_the_report_shows_every_agent_and_engraves_every_line(bench: Bench) -> None:
    text = bench.report
    for agent in ("random", "reinforce 1", "exact", "reinforce 2"):
        assert f"<td>{agent}</td>" in text
    drawings = re.findall(r'<div class="music">(<svg.*?</svg>)\s*</div>', text, re.DOTALL)
    assert len(drawings) == 3 * 2
    for drawing in drawings:
        assert ElementTree.fromstring(drawing).tag.endswith("svg")
    assert len(re.findall(r'<div class="picture"><svg', text)) == 2
    assert "lower learning_rate" in text
    assert text.count("bar 1") > 0


def test_every_line_but_chances_can_be_heard(bench: Bench) -> None:
    audio = Page(bench.report).all("audio")
    assert len(audio) == 2 * 2
    for attributes in audio:
        kind, data = (attributes["src"] or "").split(",", 1)
        assert kind == "data:audio/wav;base64"
        with wave.open(io.BytesIO(base64.b64decode(data))) as sound:
            assert 11 <= sound.getnframes() / sound.getframerate() <= 13  # eleven bars of a second
            assert max(sound.readframes(5000)) > 0


@pytest.mark.skipif(not Path(CHROMIUM).exists(), reason=f"there is no {CHROMIUM} to open the report in")
def test_a_browser_shows_tables_and_scores(bench: Bench, tmp_path: Path) -> None:
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    flags += ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--dump-dom"]
    page = (bench.out / "report.html").as_uri()
    done = subprocess.run(
        [CHROMIUM, *flags, f"--user-data-dir={tmp_path}", page], capture_output=True, text=True, timeout=60
    )
    dom = Page(done.stdout)
    assert len(dom.all("table")) == 4
    assert len(dom.all("audio")) == 4
    music = re.findall(r'<div class="music"><svg', done.stdout)
    assert len(music) == 6
    assert len(dom.all("details")) == 2 + 6


def test_the_report_can_be_written_anew(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = bench.report
    copy = tmp_path / "copy"
    shutil.copytree(bench.out, copy)
    (copy / "report.html").unlink()
    assert main(["report", str(copy)]) == 0
    assert capsys.readouterr().out == f"{copy / 'report.html'}\n"
    assert (copy / "report.html").read_text() == before


@pytest.mark.parametrize(
    ("path", "content", "message"),
    [
        ("results.json", None, "give a folder that descant bench SUITE --out has written"),
        ("results.json", b'{"format": 2, "ent', "can't be read"),
        ("results.json", b"[]", "is of another version of descant: run the benchmark again"),
        ("results.json", b'{"format": 99, "entries": []}', "is of another version of descant"),
        (
            "scores/exact/dorian-above.svg",
            None,
            "is missing (No such file or directory): run the benchmark again",
        ),
    ],
)
def test_a_report_without_its_files_is_refused(
    path: str, content: bytes | None, message: str, bench: Bench, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    shutil.copytree(bench.out, tmp_path / "copy")
    file = tmp_path / "copy" / path
    file.write_bytes(content) if content is not None else file.unlink()
    assert main(["report", str(tmp_path / "copy")]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_the_report_in_markdown_says_the_same(bench: Bench) -> None:
    text = (bench.out / "report.md").read_text()
    row = next(line for line in text.splitlines() if line.startswith("| exact | 1.0000 | 2 of 2 |"))
    assert row.count("|") == 9
    for words in ("One seed: no interval", "1 run failed", "lower learning_rate", bench.results["hardware"]):
        assert words in text
        assert words in bench.report
    for picture in re.findall(r"!\[[^]]*\]\(([^)]+)\)", text):
        assert (bench.out / picture).stat().st_size > 1000


def test_every_number_is_left_as_compressed_lines_of_json(bench: Bench) -> None:
    with gzip.open(bench.out / "raw.jsonl.gz", "rt") as file:
        lines = [json.loads(line) for line in file]
    kinds = [line["kind"] for line in lines]
    assert (kinds.count("suite"), kinds.count("run"), kinds.count("problem")) == (1, 4, 6)
    logged = read_metrics(runs_of(TINY)[0].folder(bench.out) / "metrics.jsonl")
    who = {"kind": "training", "agent": "reinforce 1", "seed": 0}
    assert [line for line in lines if line["kind"] == "training"] == [who | record for record in logged]
    (exact,) = bench.entry("exact")["runs"]
    found = [line["score"] for line in lines if line["kind"] == "problem" and line["agent"] == "exact"]
    assert found == [problem["score"] for problem in exact["problems"]]


# Going on.


class Started:
    """Records which jobs are begun, and the worker of the last."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.jobs: list[Job] = []
        self.workers: list[subprocess.Popen[str]] = []
        submit = executors_local.Local.submit

        def recorded(local: executors_local.Local, job: Job) -> subprocess.Popen[str]:
            self.jobs.append(job)
            self.workers.append(submit(local, job))
            return self.workers[-1]

        monkeypatch.setattr(executors_local.Local, "submit", recorded)


def test_what_is_done_is_not_done_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started = Started(monkeypatch)
    done = [spec.folder(bench.out) for spec in runs_of(TINY)[:1]]
    before = {file: file.stat().st_mtime_ns for folder in done for file in (folder, *folder.rglob("*"))}
    results = bench.results
    assert main(["bench", "tiny", "--out", str(bench.out), "--json"]) == 1
    assert {file: file.stat().st_mtime_ns for file in before} == before
    failed = runs_of(TINY)[1]
    assert [job.title for job in started.jobs] == [failed.folder(bench.out).name]  # it is tried again
    again = json.loads(capsys.readouterr().out)
    assert again == bench.results
    for name in ("created", "command"):
        del again[name], results[name]
    assert again == results


def stop_at(step: int, number: int, started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    """Send a signal to the first worker, once, when it has logged so far."""
    look, sent = runner.last_step, []

    def watched(folder: Path) -> int:
        reached = look(folder)
        if reached >= step and not sent:
            sent.append(number)
            os.kill(started.workers[0].pid, number)
        return reached

    monkeypatch.setattr(runner, "last_step", watched)


def test_a_worker_that_is_stopped_goes_on_with_the_next_call_and_one_that_is_killed_loses_no_run(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first call's worker is asked to stop, the second's is killed and replaced. One gives the numbers of two."""
    spec = runs_of(TINY)[0]
    with monkeypatch.context() as patch:
        stop_at(2_000, signal.SIGTERM, started := Started(patch), patch)
        (cut,) = train_all([spec], tmp_path, workers=1)
    assert "stopped; go on with" in (cut.error or "")
    assert not is_done(spec, tmp_path)
    assert 2_000 <= last_step(cut.folder) < 20_000
    with monkeypatch.context() as patch:
        stop_at(5_000, signal.SIGKILL, started := Started(patch), patch)
        (whole,) = train_all([spec], tmp_path, workers=1)
    assert whole.error is None
    assert len(started.jobs) == 2
    assert started.workers[0].returncode == -signal.SIGKILL
    assert_same_run(spec.folder(tmp_path), spec.folder(bench.out))


def test_ctrl_c_lets_the_workers_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    long = replace(TINY, entries=(replace(TINY.entries[1], total_timesteps=10_000_000),))
    monkeypatch.setitem(suites._entries, "long", long)
    (spec,) = runs_of(long)
    started = Started(monkeypatch)
    look = runner.last_step

    def interrupt(folder: Path) -> int:
        if look(folder) > 1000:
            raise KeyboardInterrupt
        return look(folder)

    monkeypatch.setattr(runner, "last_step", interrupt)
    assert main(["bench", "long", "--out", str(tmp_path)]) == 130
    assert f"Go on with: descant bench long --out {tmp_path}" in capsys.readouterr().err
    (worker,) = started.workers
    assert worker.poll() is not None
    assert (spec.folder(tmp_path) / "checkpoints/last/manifest.json").exists()
    assert not is_done(spec, tmp_path)


def test_where_every_run_fails_the_report_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(suites._entries, "broken", replace(TINY, name="broken", entries=TINY.entries[-1:]))
    assert main(["bench", "broken", "--out", str(tmp_path)]) == 1
    assert "lower learning_rate" in capsys.readouterr().out
    assert "lower learning_rate" in (tmp_path / "report.html").read_text()


def test_a_suite_may_test_a_cantus_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = replace(
        TINY, entries=TINY.entries[2:3], test_options={"cantus": "D4 F4 E4 D4", "position": "above"}
    )
    monkeypatch.setitem(suites._entries, "own", own)
    assert main(["bench", "own", "--out", str(tmp_path)]) == 0
    page = Page((tmp_path / "report.html").read_text())
    assert len(page.all("audio")) == 1
    assert (tmp_path / "scores/exact/D4-F4-E4-D4-above.svg").exists()


def test_a_broken_checkpoint_stops_the_suite_and_is_left_alone(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(bench.out, copy)
    file = runs_of(TINY)[0].folder(copy) / "checkpoints/last/state.json"
    file.write_text("{")
    assert main(["bench", "tiny", "--out", str(copy)]) == 2
    assert "the file is truncated" in capsys.readouterr().err
    assert file.read_text() == "{"
