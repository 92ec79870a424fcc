"""Fitting beside imitation's trainer: both sides' rates are read, and a python without it is told of."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest

from descant.benchmarks import preference_speed
from descant.benchmarks.preference_speed import THEIRS, comparisons, measure, of_imitation, ours
from descant.errors import DescantError


def test_without_imitation_there_are_no_rows() -> None:
    assert measure(None) == []


def test_rows_are_ratios_of_the_medians(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preference_speed, "ours", lambda models: [400.0, 300.0, 100.0])
    python = tmp_path / "python"
    python.write_text(f"#!{sys.executable}\nprint('a line of its own')\nprint([10.0, 20.0, 90.0])\n")
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    rows = measure(python)
    assert [row.name for row in rows] == [
        "reward models / imitation, one network",
        "reward models / imitation, an ensemble of 5",
    ]
    assert [(row.value, row.bar, row.met) for row in rows] == [(15.0, 10.0, True)] * 2


def test_our_side_fits_what_theirs_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preference_speed, "ROUNDS", 1)
    assert len(ours(1)) == 1
    data = comparisons()
    worth = data.items.columns.sum((1, 2))[data.pairs]
    assert ((worth[:, 0] > worth[:, 1]) == (data.answers == 0)).all()
    compile(THEIRS, "theirs", "exec")


@pytest.mark.parametrize("python", [Path(sys.executable), Path("/nowhere/python")])
def test_a_python_without_it_is_told_of(python: Path) -> None:
    with pytest.raises(DescantError, match="imitation"):
        of_imitation(python, 1)
