"""First species as data: the gamut, problems, and what a state remembers of a line."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from descant.errors import DescantError
from descant.music.cantus_firmi import FUX
from descant.music.counterpoint import (
    ACTION_OF,
    CANTUS_PITCHES,
    GAMUT,
    MIDI,
    STAFF,
    Problem,
    Problems,
    actions_of,
)
from descant.music.intervals import Interval
from descant.music.pitches import Pitch, parse_line

from ...playing import lines, play, problems


def test_the_gamut_is_the_modes_pitches_from_a_tenth_below_to_a_tenth_above() -> None:
    names = [str(pitch) for pitch in GAMUT]
    assert (names[0], names[-1], len(names)) == ("G#1", "E6", 52)
    midi = [pitch.midi for pitch in GAMUT]
    assert midi == sorted(set(midi)) == MIDI.tolist()
    assert [pitch.diatonic for pitch in GAMUT] == STAFF.tolist()
    assert {name.rstrip("0123456789") for name in names} == {*"CDEFGAB", "C#", "F#", "G#", "Bb"}
    assert {pitch.midi for pitch in GAMUT} == {n for n in range(32, 89) if n % 12 != 3}  # all but E flat
    assert [ACTION_OF[pitch] for pitch in GAMUT] == list(range(52))
    assert {p.midi for p in CANTUS_PITCHES} == {
        n for n in range(48, 73) if n % 12 in (0, 2, 4, 5, 7, 9, 10, 11)
    }


def test_pitches_become_actions_or_an_error_that_names_the_note() -> None:
    line = parse_line("G#1 C4 Bb3 E6")
    assert [GAMUT[action] for action in actions_of(line)] == list(line)
    for name in ("Eb4", "Db4", "F6", "G1", "A#3"):
        with pytest.raises(DescantError, match=f"Note 2, {name}, is outside the gamut: G#1 to E6"):
            actions_of(parse_line(f"C4 {name}"))


def leap_code(line: Sequence[Pitch]) -> int:
    """0 none, then up and down each: a third, a fourth, wider."""
    steps = Interval.between(*line[-2:]).steps if len(line) > 1 else 0
    size = ["", "", "third", "fourth", "wider"][min(abs(steps), 4)]
    return 0 if not size else ["third", "fourth", "wider"].index(size) + (1 if steps > 0 else 4)


def run_code(cantus: Sequence[Pitch], line: Sequence[Pitch]) -> int:
    """0 none, then 1, 2, 3 or more thirds in a row, and as many sixths."""
    numbers = [abs(Interval.between(a, b).steps) % 7 for a, b in zip(cantus, line, strict=False)]
    kind = numbers[-1]
    if kind not in (2, 5):
        return 0
    length = next((i for i, number in enumerate(reversed(numbers)) if number != kind), len(numbers))
    return min(length, 3) + (3 if kind == 5 else 0)


def climax_code(line: Sequence[Pitch]) -> int:
    """Twice the action above the highest note, plus 1 where it stood once."""
    top = max(line, key=lambda pitch: pitch.midi)
    return 2 * (ACTION_OF[top] + 1) + (list(line).count(top) == 1)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_a_state_remembers_the_last_note_leap_run_and_climax(data: st.DataObject) -> None:
    task = data.draw(problems())
    actions = data.draw(lines(task))
    cantus = task.problems.problems[0].cantus
    episode, _ = play(task, actions)
    assert [int(getattr(episode.states[0], f)[0]) for f in ("note", "leap", "run", "climax", "errors")] == [
        0
    ] * 5
    for t, state in enumerate(episode.states[1:], start=1):
        line = [GAMUT[action] for action in actions[:t]]
        assert state.bar[0] == episode.states[0].bar[0] + t
        assert state.note[0] == actions[t - 1] + 1
        assert state.leap[0] == leap_code(line)
        assert state.run[0] == run_code(cantus, line)
        assert state.climax[0] == climax_code(line)


def test_a_finished_episode_stays_in_its_last_bar() -> None:
    three = Problems(
        [Problem(parse_line(text), "above") for text in ("D4 E4 D4", "D4 F4 E4 D4")], max_notes=5
    )
    state = three.start(np.array([0, 1]))
    bars = []
    for _ in range(7):
        action = np.array([30, 30])
        move = three.move(state, action)
        bars.append((state.bar - three.start(np.array([0, 1])).bar).tolist() + (move.last > 0).tolist())
        state = three.after(state, action, move, state.errors)
        assert three.problem_of(state).tolist() == [0, 1]
    assert (
        bars
        == [[0, 0, False, False], [1, 1, False, False], [2, 2, True, False], [3, 3, True, True]]
        + [[3, 4, True, True]] * 3
    )


def test_a_cantus_longer_than_the_table_is_refused() -> None:
    with pytest.raises(
        DescantError, match="The cantus has 14 notes, the environment takes 13: pass max_notes=14"
    ):
        Problems([Problem(line, "below") for line in FUX.values()], max_notes=13)


def test_problems_of_different_lengths_do_not_disturb_one_another() -> None:
    together = Problems([Problem(line, "below") for line in FUX.values()], max_notes=16)
    for row, line in enumerate(FUX.values()):
        alone = Problems([Problem(line, "below")], max_notes=16)
        own = together.rows[row * together.stride : (row + 1) * together.stride]
        np.testing.assert_array_equal(own, alone.rows)
        assert (together.lengths[row], len(alone)) == (len(line), 1)
    assert (len(together), together.bars, together.stride) == (6, 6 * 17, 17)
    assert together.nvec()[8] == 17
