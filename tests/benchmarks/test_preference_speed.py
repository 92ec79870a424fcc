"""Fitting beside imitation's trainer: both sides' rates are read, and a python without it is told of."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest

from descant.benchmarks import preference_speed
from descant.benchmarks.preference_speed import THEIRS, comparisons, given, measure, of_imitation, ours
from descant.errors import DescantError


def test_without_imitation_there_is_no_ratio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preference_speed, "ours", lambda models: [400.0, 300.0, 100.0])
    for row in measure(None):
        assert row.value is None
        assert row.met
        assert "300 comparisons/s; no python that has imitation was given" in row.detail


def test_rows_are_ratios_of_the_medians(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preference_speed, "ours", lambda models: [400.0, 300.0, 100.0])
    python = tmp_path / "python"
    python.write_text(f"#!{sys.executable}\nprint('a line of its own')\nprint([10.0, 20.0, 90.0])\n")
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    rows = measure(str(python))
    assert [row.name for row in rows] == [
        "reward models / imitation, one network",
        "reward models / imitation, an ensemble of 5",
    ]
    assert [(row.value, row.bar, row.met) for row in rows] == [(15.0, 10.0, True)] * 2
    assert [row.sides for row in rows] == [(300.0, 20.0)] * 2


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
        of_imitation(str(python), 1)


def test_a_python_is_asked_whether_it_has_it(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 0\n")
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    assert given(python) == str(python)
    for wrong in (tmp_path / "none", Path("/bin/false")):
        with pytest.raises(DescantError, match=f"{wrong} is no python that has imitation: give"):
            given(wrong)
