"""Playing counterpoint in tests: problems, lines and episodes, random or given."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

from descant.envs.counterpoint import Counterpoint
from descant.music.cantus_firmi import FUX, Line, generate
from descant.music.counterpoint import CANTUS_PITCHES, GAMUT, POSITIONS, actions_of
from descant.music.pitches import parse_line
from descant.music.solutions import SOLUTIONS as FUX_SOLUTIONS
from descant.tasks import Episode, Task

# Fux's own lines as text, by cantus and position.
SOLUTIONS = {problem: " ".join(map(str, line)) for problem, line in FUX_SOLUTIONS.items()}
RNG = np.random.default_rng(0)  # for tasks that draw nothing


@functools.lru_cache(maxsize=64)
def task_of(cantus: str | Line, position: str, **options: Any) -> Counterpoint:
    """The task of one problem."""
    return Counterpoint(cantus=cantus, position=position, **options)  # type: ignore[arg-type]


def play(task: Task[Any], actions: Sequence[int], start: Any = None) -> tuple[Episode[Any], list[float]]:
    """The episode that actions make, and its rewards."""
    states, rewards = [task.starts() if start is None else start], []
    for action in actions:
        state, reward, _ = task.step(states[-1], np.array([action]), RNG)
        states.append(state)
        rewards.append(float(reward[0]))
    return Episode(tuple(states), tuple(actions)), rewards


def write(cantus: str, position: str, line: str) -> Episode[Any]:
    """The episode of a counterpoint given as text."""
    task = task_of(cantus if cantus in FUX else parse_line(cantus), position)
    return play(task, actions_of(parse_line(line)))[0]


def user_cantus() -> st.SearchStrategy[Line]:
    """What a user may give: any notes of the modes, repeated ones and B flats too, on a final that has a mode."""
    body = st.lists(st.sampled_from(CANTUS_PITCHES), min_size=2, max_size=13)
    finals = [p for p in CANTUS_PITCHES if p.letter != "B"]
    return st.builds(lambda notes, final: (*notes, final), body, st.sampled_from(finals))


def problems() -> st.SearchStrategy[Counterpoint]:
    """A task of one problem: a generated cantus, one of Fux's, or a user's; on either side."""
    known = st.sampled_from([*FUX.values(), *generate(40, seed=3)])
    return st.builds(task_of, known | known | user_cantus(), st.sampled_from(POSITIONS))


@st.composite
def lines(draw: st.DrawFn, task: Counterpoint) -> list[int]:
    """Whole or broken off; wild, or mostly lawful with slips to anywhere or to an interval that the line likes."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    slips = draw(st.sampled_from([1.0, 0.6, 0.3, 0.1, 0.0]))
    liked = draw(st.sampled_from([(2,), (5, 12), (0,), (7,), range(40)]))  # staff steps from the cantus
    cantus = task.problems.problems[0].cantus
    state, actions = task.starts(), []
    for against in cantus[: draw(st.just(40) | st.integers(1, 40))]:
        lawful = np.flatnonzero(task.lawful(state)[0])
        tempting = [a for a, pitch in enumerate(GAMUT) if abs(pitch.diatonic - against.diatonic) in liked]
        wrong = tempting if rng.random() < 0.8 else range(len(GAMUT))
        slip = rng.random() < slips or not len(lawful)
        actions.append(int(rng.choice(wrong if slip else lawful)))
        state, _, _ = task.step(state, np.array(actions[-1:]), RNG)
    return actions
