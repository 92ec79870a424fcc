"""How a counterpoint is shown, whole or begun."""

from __future__ import annotations

import numpy as np
import pytest

from descant.envs.counterpoint_views import COLOURS, colours_of, score_of
from descant.music.counterpoint import actions_of
from descant.music.pitches import parse_line
from descant.tasks import Finding

from ..playing import play, task_of, write

CANTUS = "D4 F4 E4 D4"
LINES = ["", "A4", "A4 B4", "A4 B4 C#5", "A4 B4 C#5 D5"]


def shown(line: str, mode: str, position: str = "above") -> object:
    task = task_of(parse_line(CANTUS), position)
    return task.render(play(task, actions_of(parse_line(line)) if line else [])[0], mode)


def test_ansi_marks_errors_and_warnings_and_names_errors() -> None:
    assert shown("A4 B4 C#5", "ansi") == (
        "counterpoint | A4  B4  C#5 -\n"
        "      cantus | D4  F4  E4  D4\n"
        "             |     !\n"
        "   2  consonance: B4 against F4 is a dissonance (A4)"
    )
    assert shown("D4 A3 C#4 C4", "ansi", "below") == (
        "      cantus | D4  F4  E4  D4\n"
        "counterpoint | D4  A3  C#4 C4\n"
        "             |     !   .   !\n"
        "   2  unison-leap: the counterpoint leaps out of a unison\n"
        "   4  consonance: C4 against D4 is a dissonance (M2)\n"
        "   4  ending: the line ends on M2, not on a unison or an octave\n"
        "   4  melodic-interval: C#4 to C4 is A1, which is not sung"
    )


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("position", ["above", "below"])
def test_every_mode_shows_a_line_that_is_begun(line: str, position: str) -> None:
    ansi = shown(line, "ansi", position)
    assert isinstance(ansi, str)
    assert ansi.splitlines()[0 if position == "above" else 1].split("|")[1].split().count("-") == 4 - len(
        line.split()
    )
    image = shown(line, "rgb_array", position)
    assert isinstance(image, np.ndarray)
    assert (image.dtype, image.ndim, image.shape[2]) == (np.uint8, 3, 3)
    svg = shown(line, "svg", position)
    assert isinstance(svg, str)
    assert svg.startswith("<svg")
    assert svg.count('data-class="note"') == 4 + len(line.split())
    assert svg.count('data-class="mRest"') + svg.count('data-class="rest"') == 4 - len(line.split())


def test_bars_that_are_not_written_yet_are_rests() -> None:
    score = score_of(write(CANTUS, "below", "D4 A3"))
    assert [[str(note.pitch) for note in voice.notes] for voice in score.voices] == [
        ["D4", "F4", "E4", "D4"],
        ["D4", "A3", "None", "None"],
    ]
    assert {note.beats for voice in score.voices for note in voice.notes} == {4}


def test_errors_win_over_warnings_in_colour() -> None:
    episode = write(CANTUS, "below", "D4 A3")
    faults = [Finding("a", severity, 2, 1.0, "") for severity in ("warning", "error", "warning")]
    assert colours_of(episode, faults) == {(1, 1): COLOURS["error"]}
    assert colours_of(write(CANTUS, "above", "A4"), faults[:1]) == {(0, 1): COLOURS["warning"]}
    assert COLOURS["error"] in shown("A4 B4", "svg")  # type: ignore[operator]
