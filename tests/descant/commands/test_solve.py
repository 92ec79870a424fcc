"""`descant solve`."""

from __future__ import annotations

import json

import pytest

from descant.cli import main
from descant.music.cantus_firmi import FUX
from descant.music.counterpoint import POSITIONS, actions_of
from descant.music.pitches import parse_line

from ...playing import SOLUTIONS, play, task_of

# How many strict counterpoints there are, counted also by brute force or by a second program (issue 2, test_planning).
COUNTS = {("dorian", "above"): 4610, ("dorian", "below"): 3354}


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("cantus", FUX)
def test_the_best_line_is_legal_and_worth_its_score(
    cantus: str, position: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["solve", "--cantus", cantus, "--position", position, "--count", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == ["best", "score", "optimal_count", "legal_count", "seconds"]
    assert 0 < found["seconds"] < 2
    assert found["optimal_count"] >= 1
    assert found["legal_count"] == COUNTS.get((cantus, position), found["legal_count"])
    assert 100 < found["legal_count"] < 1_000_000
    task = task_of(cantus, position)
    episode, rewards = play(task, actions_of(parse_line(" ".join(found["best"]))))
    assert episode.states[-1].errors[0] == 0
    assert found["score"] == pytest.approx(sum(rewards))
    if (cantus, position) in SOLUTIONS:
        _, of_fux = play(task, actions_of(parse_line(SOLUTIONS[cantus, position])))
        assert found["score"] > sum(of_fux)


def test_nothing_is_counted_unless_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["solve", "--cantus", "D4 F4 E4 D4", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["legal_count"] is None
    assert main(["solve", "--cantus", "D4 F4 E4 D4"]) == 0
    assert "strict set" not in capsys.readouterr().out


def test_the_text_tells_cost_and_counts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["solve", "--cantus", "dorian", "--count"]) == 0
    text = capsys.readouterr().out
    assert "counterpoint | " in text
    assert "cost 0." in text
    assert "4,610 legal counterpoints in the strict set" in text


@pytest.mark.parametrize("position", POSITIONS)
def test_a_cantus_that_no_legal_line_fits_is_told_by_the_exit_code(
    position: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A cantus that reaches its final by a leap leaves no cadence."""
    assert main(["solve", "--cantus", "D4 E4 A4 D4", "--position", position, "--count", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["legal_count"] == 0
    assert len(found["best"]) == 4
    assert found["score"] < -1


def test_a_name_is_as_good_as_its_notes(capsys: pytest.CaptureFixture[str]) -> None:
    main(["solve", "--cantus", "Phrygian", "--json"])
    named = json.loads(capsys.readouterr().out)
    main(["solve", "--cantus", ", ".join(map(str, FUX["phrygian"])), "--json"])
    written = json.loads(capsys.readouterr().out)
    assert (named["best"], named["score"]) == (written["best"], written["score"])
