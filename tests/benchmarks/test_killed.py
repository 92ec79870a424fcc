"""A benchmark that is killed whole in the middle, and run again, leaves what one leaves that nobody disturbed."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import descant.benchmarks.jobs as jobs
import descant.benchmarks.results as results
import descant.benchmarks.runner as runner
from descant.benchmarks.jobs import Done, Job, call
from descant.benchmarks.raw import NAME, read_jobs
from descant.benchmarks.studies import Study, Table
from descant.cli import main
from descant.runs.checkpoints import load_checkpoint
from descant.runs.metrics import read_metrics

ROOT = Path(__file__).parents[2]
SUITE = """
env: descant/Counterpoint-v0
seeds: 3
train_options: {pool: 16}
test_options: {cantus: dorian, position: above}
entries:
  - agent: random
  - agent: reinforce
    total_timesteps: 3000
    config: {num_envs: 8, hidden: [16], critic_hidden: [16]}
"""
# Python imports this where it begins: every update is saved, and the third save of a worker is the end of them all.
KILLER = """
import os, signal
import descant.commands.train, descant.runs.checkpoints as checkpoints

save, saves = checkpoints.save_checkpoint, []

def save_and_kill(*arguments):
    save(*arguments)
    saves.append(1)
    if len(saves) == 3:
        os.killpg(0, signal.SIGKILL)

checkpoints.save_checkpoint = save_and_kill
descant.commands.train.CHECKPOINT_SECONDS = 0.0
"""
KILL_AT = "DESCANT_TEST_KILL_AT"


def killed(arguments: Sequence[str], **env: str) -> None:
    """Run a command in a group of processes that one of its workers kills."""
    process = subprocess.Popen(
        [sys.executable, "-m", "descant", *arguments],
        env=os.environ | env,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert process.wait() == -signal.SIGKILL


def in_here(jobs: Sequence[Job], out: Path, *_: Any) -> Iterator[Done]:
    """An executor without processes: nothing is resumed, nothing runs beside anything."""
    for job in jobs:
        yield call(job, out)


def test_a_suite_that_was_killed_ends_with_the_same_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "suite.yaml").write_text(SUITE)
    (tmp_path / "sitecustomize.py").write_text(KILLER)
    monkeypatch.chdir(tmp_path)
    killed(["bench", "suite.yaml", "--out", "cut", "--workers", "2"], PYTHONPATH=str(tmp_path))
    steps = [
        load_checkpoint(path.parent).state["num_timesteps"]
        for path in Path("cut/runs").glob("*/checkpoints/last/manifest.json")
    ]
    assert 1 <= len(steps) <= 2, "the third run had not begun"
    assert all(0 < step < 3000 for step in steps), "those at work were in the middle"
    assert not Path("cut/results.json").exists()

    monkeypatch.setattr(results, "_commit", lambda: "")  # somebody may commit meanwhile
    assert main(["bench", "suite.yaml", "--out", "cut", "--workers", "1"]) == 0
    monkeypatch.setattr(runner, "execute", in_here)
    assert main(["bench", "suite.yaml", "--out", "whole"]) == 0
    cut, whole = Path("cut"), Path("whole")
    assert without_times(cut) == without_times(whole)
    assert page(cut) == page(whole)
    for run in whole.glob("runs/*"):
        weights = "checkpoints/last/weights.safetensors"
        assert (cut / "runs" / run.name / weights).read_bytes() == (run / weights).read_bytes()
        assert learned(cut / "runs" / run.name) == learned(run)


def without_times(out: Path) -> str:
    """The results of a suite as text, without when and how fast."""
    found = json.loads((out / "results.json").read_text())
    for name in ("created", "command"):
        del found[name]
    for entry in found["entries"]:
        for run in entry["runs"]:
            run.pop("seconds", None)
    return json.dumps(found, indent=1)


def page(out: Path) -> str:
    """The report as Markdown, without when and how fast."""
    text = (out / "report.md").read_text()
    text, count = re.subn(r"(?<= steps \| )\d+ s \| [\d,]*(?= \| 3 \|$)", "", text, flags=re.MULTILINE)
    assert count == 1
    return re.sub(r"^(descant/Counterpoint-v0, |- Command: ).*", "", text, flags=re.MULTILINE)


def learned(run: Path) -> list[dict[str, Any]]:
    """What training logged, without times."""
    timed = ("time", "steps_per_second", "sps")
    return [
        {name: value for name, value in record.items() if name not in timed}
        for record in read_metrics(run / "metrics.jsonl")
    ]


def drawn(seed: int) -> float:
    """Work of a job: a number, unless this is the one at which all is killed."""
    if os.environ.get(KILL_AT) == str(seed):
        os.killpg(0, signal.SIGKILL)
    return random.Random(seed).random()


def _jobs(seeds: Sequence[int]) -> list[Job]:
    return [Job(f"seed {seed}", f"{__name__}:drawn", {"seed": seed}) for seed in seeds]


def _tables(done: list[Done], out: Path) -> list[Table]:
    rows = tuple((d.job.title, f"{d.value}") for d in done)
    return [Table("drawn", ("seed", "number"), rows, [d.value for d in done])]


DRAWN = Study("drawn", _jobs, _tables, seeds=6)


def test_a_study_that_was_killed_ends_with_the_same_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    study = ["bench", f"{__name__}:DRAWN", "--out"]
    killed([*study, "cut"], PYTHONPATH=str(ROOT), **{KILL_AT: "4"})
    kept = list(Path("cut/jobs").glob("*.json"))
    assert 3 <= len(kept) < 6
    before = {path: path.read_bytes() for path in kept}

    monkeypatch.setattr(jobs, "execute", in_here)
    assert main([*study, "cut"]) == main([*study, "whole"]) == 0
    assert {path: path.read_bytes() for path in kept} == before, "what was kept was not measured again"
    for name in ("drawn.md", "drawn.json"):
        assert Path("cut", name).read_bytes() == Path("whole", name).read_bytes()
    numbers = [[(d.job, d.value) for d in read_jobs(Path(out, NAME))[1]] for out in ("cut", "whole")]
    assert numbers[0] == numbers[1]
