"""How a counterpoint is shown: names in two staves, a piano roll, an engraved score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from descant.music.counterpoint import GAMUT, Problem, State
from descant.music.engraving import to_svg
from descant.music.pianoroll import to_image
from descant.music.scores import Score, counterpoint_score
from descant.tasks import Episode, Finding

COLOURS = {"error": "#c0392b", "warning": "#b9770e"}
MARKS = {"error": "!", "warning": "."}


def render(episode: Episode[State], mode: str, findings: Sequence[Finding]) -> Any:
    """A str for `ansi` and `svg`, uint8[H, W, 3] for `rgb_array`."""
    if mode == "ansi":
        return ansi(episode, findings)
    score = score_of(episode)
    if mode == "svg":
        return to_svg(score, colours=colours_of(episode, findings))
    return to_image(score)


def problem_of(episode: Episode[State]) -> Problem:
    """The problem an episode works on."""
    first = episode.states[0]
    return first.problems.problems[int(first.problems.problem_of(first)[0])]


def score_of(episode: Episode[State]) -> Score:
    """The score so far: bars not written yet are rests."""
    problem = problem_of(episode)
    line = [GAMUT[a] for a in episode.actions]
    blank = [None] * (len(problem.cantus) - len(line))
    return counterpoint_score(problem.cantus, [*line, *blank], problem.position)


def colours_of(episode: Episode[State], findings: Sequence[Finding]) -> dict[tuple[int, int], str]:
    """Colour by (voice, note) of each note found fault with; errors win over warnings."""
    voice = 0 if problem_of(episode).position == "above" else 1
    marked = sorted(findings, key=lambda f: f.severity, reverse=True)
    return {(voice, f.position - 1): COLOURS[f.severity] for f in marked}


def ansi(episode: Episode[State], findings: Sequence[Finding]) -> str:
    """Two staves of pitch names; under them ! for an error, . for a warning; then the errors in words."""
    problem = problem_of(episode)
    line = [str(GAMUT[a]) for a in episode.actions]
    line += ["-"] * (len(problem.cantus) - len(line))
    marks = [" "] * len(line)
    for finding in sorted(findings, key=lambda f: f.severity, reverse=True):
        marks[finding.position - 1] = MARKS[finding.severity]
    own, cantus = ("counterpoint", line), ("cantus", [str(p) for p in problem.cantus])
    staves = [own, cantus] if problem.position == "above" else [cantus, own]
    rows = [
        f"{name:>12} | " + " ".join(f"{cell:<3}" for cell in cells) for name, cells in [*staves, ("", marks)]
    ]
    words = [f"{f.position:>4}  {f.rule}: {f.message}" for f in findings if f.severity == "error"]
    return "\n".join([row.rstrip() for row in rows] + words)
