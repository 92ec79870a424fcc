"""The tables of `fux` against rules written a second time, slowly."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from descant.music.counterpoint import GAMUT
from descant.rewards.fux import NAMES, Fux

from ..playing import lines, play, problems
from .slow_checker import check


def test_fast_and_slow_agree_on_every_rule() -> None:
    fux, seen = Fux(), set()

    @settings(max_examples=250, deadline=None)
    @given(st.data())
    def agree(data: st.DataObject) -> None:
        task = data.draw(problems())
        actions = data.draw(lines(task))
        episode, rewards = play(task, actions)
        found = {(f.rule, f.severity, f.position, f.cost) for f in fux.explain(episode)}
        cantus, position = task.problems.problems[0].cantus, task.problems.problems[0].position
        slow = check(cantus, position, [GAMUT[a] for a in actions], fux.costs)
        assert found == slow
        assert sum(rewards) == pytest.approx(-sum(cost for *_, cost in slow), abs=1e-9)
        assert episode.states[-1].errors[0] == sum(severity == "error" for _, severity, *_ in slow)
        seen.update(rule for rule, *_ in found)

    agree()
    assert seen == set(NAMES)
