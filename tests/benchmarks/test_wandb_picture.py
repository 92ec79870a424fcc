"""The picture of the dashboard."""

from __future__ import annotations

from pathlib import Path

import pytest

from descant.benchmarks.wandb_picture import Session, main, picture
from descant.errors import DescantError


def session(job_type: str, trained: bool) -> Session:
    rows = [{"step": step, "return": -1.0 / step, "entropy": 1.0} for step in range(1, 9)] if trained else []
    samples = [{"problem": "dorian above", "score": 0.5, "errors": 1.0, "counterpoint": "D5 C#5 D5"}]
    return Session("quick", job_type, rows, {"test/score": 0.5}, samples)


def test_a_picture_of_runs_that_learned_and_that_did_not() -> None:
    made = picture([session("ppo", True), session("ppo", True), session("exact", False)])
    assert made.startswith(b"\x89PNG")
    assert picture([session("ppo", True), session("exact", False)]) != made


def test_a_folder_without_offline_runs(tmp_path: Path) -> None:
    with pytest.raises(DescantError, match="has no offline run: descant bench SUITE"):
        main([str(tmp_path), str(tmp_path / "a.png")])
