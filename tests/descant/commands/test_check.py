"""`descant check`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from descant.cli import main
from descant.commands.output import print_verdict
from descant.music.midi import write_midi
from descant.music.pitches import parse_line
from descant.music.scores import counterpoint_score
from descant.tasks import Finding

from ...playing import SOLUTIONS

PUPIL = "G3 D4 A3 F3 E3 D3 F3 C4 D4 C#4 D4"  # below Fux's dorian: a fifth to open with, then a direct octave


def check(*arguments: str) -> list[str]:
    return ["check", "--cantus", "dorian", "--position", "below", "--counterpoint", *arguments]


@pytest.mark.parametrize(("cantus", "position"), SOLUTIONS)
def test_fuxs_own_solutions_are_legal(cantus: str, position: str, capsys: pytest.CaptureFixture[str]) -> None:
    line = SOLUTIONS[cantus, position]
    assert main(["check", "--cantus", cantus, "--position", position, "--counterpoint", line, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["legal"] is True
    assert {finding["severity"] for finding in found["findings"]} <= {"warning"}


def test_the_pupils_error_is_caught(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(check(PUPIL, "--json")) == 1
    found = json.loads(capsys.readouterr().out)
    errors = [(f["rule"], f["position"]) for f in found["findings"] if f["severity"] == "error"]
    assert found["legal"] is False
    assert errors[:2] == [("opening", 1), ("direct-perfect", 3)]


@pytest.mark.parametrize("line", [PUPIL, SOLUTIONS["dorian", "below"]])
def test_json_has_the_promised_shape(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(check(line, "--json"))
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"legal", "findings"}
    assert type(found["legal"]) is bool
    assert found["findings"]
    for finding in found["findings"]:
        assert list(finding) == ["rule", "severity", "position", "cost", "message"]
        assert [type(value) for value in finding.values()] == [str, str, int, float, str]
        assert finding["severity"] in ("error", "warning")
        assert 1 <= finding["position"] <= 11
        assert finding["cost"] >= 0
        assert finding["message"]
    assert found["legal"] == all(f["severity"] != "error" for f in found["findings"])


def test_a_midi_file_serves_as_counterpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """C sharp, which MIDI does not spell, is read as the raised leading note."""
    line = parse_line(SOLUTIONS["dorian", "below"])
    write_midi(counterpoint_score(line, [None] * len(line), "above"), tmp_path / "line.mid")
    assert main(check(str(tmp_path / "line.mid"), "--json")) == 0
    from_file = capsys.readouterr().out
    assert main(check(SOLUTIONS["dorian", "below"], "--json")) == 0
    assert capsys.readouterr().out == from_file


def test_the_text_marks_and_counts_errors(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(check(PUPIL)) == 1
    rows = capsys.readouterr().out.splitlines()
    assert rows[0].startswith("      cantus | D4  F4  E4 ")
    assert rows[1].startswith("counterpoint | G3  D4  A3 ")
    assert rows[2].startswith("             | !   .   !   ")
    assert rows[3].startswith("   1  opening: ")
    assert rows[4].startswith("   3  direct-perfect: ")
    errors = rows.index("warnings, with their costs:") - 3
    assert rows[-1].startswith(f"{errors} errors, ")


def test_the_text_counts_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(check(SOLUTIONS["dorian", "below"])) == 0
    rows = capsys.readouterr().out.splitlines()
    warnings = len(rows) - rows.index("warnings, with their costs:") - 2
    assert rows[-1] == f"no errors, {warnings} warnings"


@pytest.mark.parametrize(
    ("severities", "last"),
    [
        ([], "no errors, 0 warnings"),
        (["error"], "1 error, 0 warnings"),
        (["error", "warning", "error"], "2 errors, 1 warning"),
    ],
)
def test_the_verdict_counts(severities: list[Any], last: str, capsys: pytest.CaptureFixture[str]) -> None:
    print_verdict([Finding("step", severity, 2, 0.25, "leaps") for severity in severities])
    rows = capsys.readouterr().out.splitlines()
    assert rows[-1] == last
    assert rows[:-1] == (["warnings, with their costs:", "   2  step: leaps (0.25)"] if rows[1:] else [])
