"""Jobs: results kept, failures counted and tried again, a killed worker, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from descant.benchmarks.jobs import Job, call, run_jobs
from descant.errors import DescantError

HERE = "tests.benchmarks.job_work"


def job(name: str, **arguments: Any) -> Job:
    return Job(name, f"{HERE}:{name}", arguments)


@pytest.fixture(autouse=True)
def _from_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    root = str(Path(__file__).parents[2])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]))
    monkeypatch.syspath_prepend(root)


def test_results_come_in_the_order_of_the_jobs_and_are_kept(tmp_path: Path) -> None:
    jobs = [job("count", path=str(tmp_path / "calls"), value=i) for i in (3, 1, 2)]
    assert [done.value for done in run_jobs(jobs, tmp_path)] == [3, 1, 2]
    assert [done.value for done in run_jobs([*jobs, jobs[0]], tmp_path)] == [3, 1, 2, 3]
    assert sorted((tmp_path / "calls").read_text().split()) == ["1", "2", "3"]  # each was run once


def test_what_fails_is_told_does_not_stop_the_others_and_is_tried_again(tmp_path: Path) -> None:
    flag = tmp_path / "mended"
    jobs = [job("until", path=str(flag)), job("count", path=str(tmp_path / "calls"), value=1)]
    failed, fine = run_jobs(jobs, tmp_path)
    assert failed.error == "ValueError: not yet"
    assert failed.trace.startswith("Traceback")
    assert 'raise ValueError("not yet")' in failed.trace
    assert failed.trace in json.loads((tmp_path / "jobs" / f"{jobs[0].key}.json").read_text())["trace"]
    assert fine.trace == ""
    assert failed.value is None
    assert fine.value == 1
    flag.touch()
    assert [done.error for done in run_jobs(jobs, tmp_path)] == ["", ""]


def test_a_job_that_kills_its_worker_again_and_again_fails_alone(tmp_path: Path) -> None:
    jobs = [job("die"), *(job("count", path=str(tmp_path / "calls"), value=i) for i in range(3))]
    died, *others = run_jobs(jobs, tmp_path, workers=1)
    assert died.error == "its worker was lost 3 times: it was ended by SIGKILL (out of memory?)"
    assert [done.value for done in others] == [0, 1, 2]


def test_what_is_no_json_fails_its_job(tmp_path: Path) -> None:
    odd, fine = run_jobs([job("odd"), job("sleep", seconds=0.0)], tmp_path, workers=1)
    assert odd.error == "TypeError: Object of type complex is not JSON serializable"
    assert fine.value == 0.0


def test_what_a_job_prints_and_reads_is_not_the_workers_talk(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (done,) = run_jobs([job("chat")], tmp_path)
    assert done.value == ""
    said = capfd.readouterr()
    assert (said.out, "hello" in said.err) == ("", True)


def test_jobs_have_one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    before = os.environ.get("OMP_NUM_THREADS")
    (done,) = run_jobs([job("threads")], tmp_path)
    assert done.value == [1, "1"]
    assert os.environ.get("OMP_NUM_THREADS") == before


def test_other_arguments_are_another_job() -> None:
    assert job("count", value=1).key != job("count", value=2).key
    assert Job("a", "m:f", {"x": 1, "y": 2}).key == Job("b", "m:f", {"y": 2, "x": 1}).key
    assert Job("a", "m:f", {}).key != Job("a", "m:g", {}).key


def test_a_job_that_shares_a_folder_is_told_where_it_is(tmp_path: Path) -> None:
    (done,) = run_jobs([Job("told", f"{HERE}:told", {"value": 1}, shares="made")], tmp_path)
    assert done.value == [str(tmp_path / "made"), 1]
    assert Job("a", "m:f", {}, shares="made").key == Job("a", "m:f", {}).key  # where it lies is no argument


def test_a_job_says_how_long_it_took() -> None:
    assert call(job("sleep", seconds=0.05)).seconds >= 0.05


def test_a_broken_result_is_named(tmp_path: Path) -> None:
    one = job("count", path=str(tmp_path / "calls"), value=1)
    run_jobs([one], tmp_path)
    (tmp_path / "jobs" / f"{one.key}.json").write_text("{")
    with pytest.raises(DescantError, match=rf"{one.key}.*delete it"):
        run_jobs([one], tmp_path)


def test_a_folder_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DescantError, match="Cannot write"):
        run_jobs([job("count", path=str(tmp_path / "calls"), value=1)], tmp_path / "file")
    assert not (tmp_path / "calls").exists()


def test_ctrl_c_keeps_what_is_done(tmp_path: Path) -> None:
    code = (
        "from descant.benchmarks.jobs import Job, run_jobs\nfrom pathlib import Path\n"
        f"out = Path({str(tmp_path)!r})\nif __name__ == '__main__':\n"
        f"    run_jobs([Job(str(i), '{HERE}:sleep', {{'seconds': i}}) for i in (0, 60)], out, 1)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE)
    begin = time.monotonic()
    while not list(tmp_path.glob("jobs/*.json")) and time.monotonic() - begin < 60:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode != 0
    (kept,) = tmp_path.glob("jobs/*.json")
    assert json.loads(kept.read_text())["value"] == 0
