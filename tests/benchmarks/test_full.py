"""`full`: its parts run one after another, each told apart; what can't be run does not stop the others."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from descant.benchmarks.command import Bench
from descant.benchmarks.specs import Plan
from descant.benchmarks.suites.full import FULL, MINUTES
from descant.benchmarks.work import Job
from descant.catalogue import SUITES
from descant.cli import main
from descant.errors import DescantError
from descant.registry import suites


def test_it_has_every_benchmark_once() -> None:
    assert set(FULL.parts) == {*SUITES} - {"full"}
    assert len(FULL.parts) == len(SUITES) - 1
    assert set(MINUTES) <= set(FULL.parts)


def test_a_dry_run_tells_the_time_of_each_part_and_of_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(seeds: Sequence[int]) -> list[Job]:
        raise DescantError("no corpus")

    classic = replace(suites.get("classic"), name="preferences", jobs=broken)
    found = {name: suites.get(name) for name in FULL.parts} | {"preferences": classic}
    monkeypatch.setattr(suites, "get", lambda name: found.get(name, FULL))
    assert main(["bench", "full", "--dry-run", "--workers", "4", "--out", str(tmp_path)]) == 0
    *rows, last = capsys.readouterr().out.splitlines()
    told = {row.split()[0]: " ".join(row.split()[1:]) for row in rows}
    assert list(told) == list(FULL.parts)
    assert told["classic"] == "160 of 160 jobs left, 28 min of one core"
    assert told["preferences"] == "can't be run: no corpus"
    total = sum(minutes for name, minutes in MINUTES.items() if name != "preferences")
    assert f"about {total / 4:.0f} min with 4 workers" in last
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("option", [["--json"], ["--only", "quick"]])
def test_it_takes_no_options_of_suites(option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "full", *option]) == 2
    assert "run its parts one by one" in capsys.readouterr().err


def test_parts_follow_each_other_in_folders_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = Plan("p", ("a", "b", "c"))
    codes, run = {"a": 0, "b": 2, "c": 1}, []

    def part(self: Bench) -> int:
        run.append((self.suite, self.out, self.seeds))
        if codes[self.suite] == 2:
            raise DescantError("no corpus")
        return codes[self.suite]

    bench = Bench("p", out=tmp_path, seeds=3)
    monkeypatch.setattr(Bench, "run", part)
    assert bench._plan(plan) == 1
    assert run == [(name, tmp_path / name, 3) for name in "abc"]
    said = capsys.readouterr()
    assert said.err == "b can't be run: no corpus\n"
    assert said.out.splitlines()[-3:] == [
        f"{'a':<20} fine",
        f"{'b':<20} could not be run",
        f"{'c':<20} a bar was missed or a run failed",
    ]
    codes["a"] = 130
    assert bench._plan(plan) == 130  # Ctrl-C ends all of it
    assert len(run) == 4
    codes.update(a=0, b=0, c=0)
    assert dataclasses.replace(bench, workers=1)._plan(plan) == 0
