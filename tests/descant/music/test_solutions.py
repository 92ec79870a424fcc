"""Fux's own counterpoints: as long as their cantus, on the side they are said to be."""

from __future__ import annotations

from descant.music.cantus_firmi import FUX
from descant.music.solutions import SOLUTIONS, solved_problems


def test_every_solution_is_as_long_as_its_cantus_and_on_its_side() -> None:
    for problem, line in solved_problems():
        assert len(line) == len(problem.cantus)
        gap = sum(own.midi - against.midi for own, against in zip(line, problem.cantus, strict=True))
        assert (gap > 0) == (problem.position == "above")


def test_a_problem_is_that_of_its_solution() -> None:
    assert [(problem.cantus, problem.position) for problem, _ in solved_problems()] == [
        (FUX[cantus], side) for cantus, side in SOLUTIONS
    ]
    assert sum(len(line) for line in SOLUTIONS.values()) == 56
