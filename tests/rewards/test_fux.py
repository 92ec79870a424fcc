"""The reward `fux`: Fux's own solutions, an example for every hard rule, costs, findings."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from descant import make_reward
from descant.errors import DescantError
from descant.music.cantus_firmi import MAX_NOTES
from descant.rewards.first_species import RULES
from descant.rewards.fux import HARD, Fux
from descant.tasks import Episode, join_rows

from ..playing import SOLUTIONS, lines, play, problems, task_of, write

FUX = Fux()


def errors(cantus: str, position: str, line: str) -> set[str]:
    return {f.rule for f in FUX.explain(write(cantus, position, line)) if f.severity == "error"}


@pytest.mark.parametrize(("cantus", "position"), SOLUTIONS)
def test_fuxs_own_solutions_show_no_error(cantus: str, position: str) -> None:
    line = SOLUTIONS[cantus, position]
    assert errors(cantus, position, line) == set()
    assert write(cantus, position, line).states[-1].errors == 0


def test_the_pupils_opening_is_caught() -> None:
    line = "G3 D4 A3 F3 E3 D3 F3 C4 D4 C#4 D4"
    found = [f for f in FUX.explain(write("dorian", "below", line)) if f.severity == "error"]
    assert {(f.rule, f.position) for f in found} == {("opening", 1), ("direct-perfect", 3)}
    messages = {f.rule: f.message for f in found}
    assert messages["opening"] == "the line opens on P5, not on a unison or an octave"
    assert messages["direct-perfect"] == "both voices move the same way into P5"


# rule: cantus, position, a line that breaks this rule alone, its twin that breaks none.
HARD_RULES = {
    "range": ("D4 E4 D4", "above", "A5 C#6 D6", "A4 C#5 D5"),
    "consonance": ("D4 F4 E4 D4", "above", "A4 B4 C#5 D5", "A4 A4 C#5 D5"),
    "opening": ("D4 E4 D4", "above", "B4 C#5 D5", "A4 C#5 D5"),
    "ending": ("D4 E4 D4", "above", "A4 C#5 B4", "A4 C#5 D5"),
    "cadence": ("D4 E4 D4", "above", "A4 C5 D5", "A4 C#5 D5"),
    "inner-unison": ("D4 E4 F4 D4 F4 E4 D4", "above", "A4 G4 F4 F4 A4 C#5 D5", "A4 G4 A4 F4 A4 C#5 D5"),
    "unison-leap": ("D4 E4 F4 E4 D4", "above", "D4 G4 A4 C#5 D5", "A4 G4 A4 C#5 D5"),
    "converging-leap": ("D4 F4 A4 F4 E4 D4", "above", "A5 F5 F5 D5 C#5 D5", "A5 A5 F5 D5 C#5 D5"),
    "melodic-interval": ("D4 G4 F4 E4 D4", "above", "A4 B4 F5 C#5 D5", "A4 B4 A4 C#5 D5"),
    "diatonic": ("D4 G4 F4 E4 D4", "above", "A4 Bb4 A4 C#5 D5", "A4 B4 A4 C#5 D5"),
    "direct-perfect": ("D4 F4 D4 E4 D4", "above", "A4 C5 B4 C#5 D5", "A4 A4 B4 C#5 D5"),
}


@pytest.mark.parametrize("rule", sorted(HARD))
def test_each_hard_rule_has_a_line_that_breaks_it_alone_and_a_twin_that_keeps_it(rule: str) -> None:
    cantus, position, broken, kept = HARD_RULES[rule]
    assert errors(cantus, position, broken) == {rule}
    assert errors(cantus, position, kept) == set()


@pytest.mark.parametrize(
    ("rule", "cantus", "position", "line"),
    [
        ("opening", "D4 E4 D4", "below", "G3 C#4 D4"),  # a fifth below: the bass is not the final
        ("cadence", "D4 E4 D4", "below", "D4 C4 D4"),  # a major third below
        ("diatonic", "D4 A4 E4 D4", "above", "A4 C#5 C#5 D5"),  # raised too early
        ("diatonic", "F4 G4 F4", "below", "F4 E4 F#4"),  # no leading note at all
        ("diatonic", "D4 B4 E4 D4", "above", "A4 Bb4 C#5 D5"),  # against B natural there is no tritone
        ("melodic-interval", "C4 A3 D4 C4", "above", "C5 E4 B4 C5"),  # a descending sixth is no ascending one
        ("unison-leap", "C4 E4 D4 C4", "above", "G4 E4 B4 C5"),  # into it
    ],
)
def test_each_hard_rule_in_its_corners(rule: str, cantus: str, position: str, line: str) -> None:
    assert rule in errors(cantus, position, line)


@pytest.mark.parametrize(
    ("cantus", "position", "line"),
    [
        ("D4 F4 E4 D4", "above", "D4 D5 C#5 D5"),
        ("E4 F4 E4", "above", "B4 D5 E5"),
        ("D4 E4 D4", "below", "D4 C#4 D4"),
        ("D4 E4 D4", "below", "D3 C#3 D3"),
        ("A4 E4 F4 D4 E4 D4", "above", "A4 C5 F5 Bb4 C#5 D5"),
    ],
)
def test_what_is_lawful_shows_no_error_of_these(cantus: str, position: str, line: str) -> None:
    assert not errors(cantus, position, line) & {"opening", "cadence", "ending", "diatonic"}


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_steps_reward_is_its_column_of_the_findings(data: st.DataObject) -> None:
    task = data.draw(problems())
    episode, rewards = play(task, data.draw(lines(task)))
    columns = np.zeros(len(rewards))
    for finding in FUX.explain(episode):
        columns[finding.position - 1] -= finding.cost
    np.testing.assert_allclose(rewards, columns, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_terms_are_the_findings_by_rule_and_sum_to_the_reward(data: st.DataObject) -> None:
    task = data.draw(problems())
    episode, rewards = play(task, data.draw(lines(task)))
    before, after = join_rows(episode.states[:-1]), join_rows(episode.states[1:])
    actions = np.array(episode.actions)
    terms = FUX.terms(before, actions, after)
    np.testing.assert_allclose(sum(terms.values()), rewards, atol=1e-12)
    np.testing.assert_allclose(FUX(before, actions, after), rewards, atol=1e-12)
    found = dict.fromkeys(terms, 0.0)
    for finding in FUX.explain(episode):
        found[finding.rule] -= finding.cost
    assert {rule: term.sum() for rule, term in terms.items()} == pytest.approx(found)


def test_findings_come_in_order_of_position_errors_first() -> None:
    found = FUX.explain(write("dorian", "below", "G3 D4 A3 F3 E3 D3 F3 C4 D4 C4 E4"))
    assert [f.position for f in found] == sorted(f.position for f in found)
    last = [f.severity for f in found if f.position == 11]
    assert {"error", "warning"} == set(last)
    assert last == sorted(last)


def test_an_episode_that_has_not_begun_has_no_findings() -> None:
    assert FUX.explain(Episode((task_of("dorian", "above").starts(),), ())) == []


def test_an_unfinished_line_is_judged_so_far() -> None:
    whole = FUX.explain(write("dorian", "above", "A4 A4 B4 A4 B4 C5 C5 B4 D5 C#5 D5"))
    begun = FUX.explain(write("dorian", "above", "A4 A4 B4"))
    assert begun
    assert begun == [f for f in whole if f.position <= 3]


def test_messages_name_the_notes() -> None:
    line = "A4 C5 F5 A4 B4 C5 C5 B4 D5 C#5 D5"  # against D4 F4 E4 D4 ...
    messages = {(f.rule, f.position): f.message for f in FUX.explain(write("dorian", "above", line))}
    assert messages["consonance", 3] == "F5 against E4 is a dissonance (m9)"
    assert messages["melodic-interval", 4] == "F5 to A4 is m6, which is not sung"
    assert messages["direct-perfect", 2] == "both voices move the same way into P5"
    out = {(f.rule, f.position): f.message for f in FUX.explain(write("D4 E4 D4", "below", "D4 G3 D4"))}
    assert out["unison-leap", 2] == "the counterpoint leaps out of a unison"
    assert out["unison-leap", 3] == "the counterpoint leaps into a unison"


def test_an_error_outweighs_all_warnings_of_the_longest_episode() -> None:
    soft = sum(rule.cost for rule in RULES if not rule.is_hard)
    assert MAX_NOTES * soft < min(FUX.costs[rule] for rule in HARD)
    assert {FUX.costs[rule] for rule in HARD} == {1.0}


def test_weights_change_costs_and_zero_switches_a_rule_off() -> None:
    episode = write("dorian", "above", SOLUTIONS["dorian", "above"])
    default = {(f.rule, f.position): f.cost for f in FUX.explain(episode)}
    changed = Fux({"step": 0.0, "repetition": 0.0025}, error=2.0)
    found = {(f.rule, f.position): f.cost for f in changed.explain(episode)}
    assert "step" in {rule for rule, _ in default}
    assert found == {
        key: 0.0025 if key[0] == "repetition" else cost for key, cost in default.items() if key[0] != "step"
    }
    pupil = write("dorian", "below", "G3 D4 A3")
    assert {f.cost for f in changed.explain(pupil) if f.severity == "error"} == {2.0}
    state, after = pupil.states[0], pupil.states[1]
    assert changed(state, np.array(pupil.actions[:1]), after) == pytest.approx(-2.0)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"weights": {"motoin": 0.1}}, r"Unknown rule 'motoin'\. Did you mean 'motion'\?"),
    ({"weights": {"motion": -0.1}}, "'motion' must be a number of at least 0, not -0.1"),
    ({"weights": {"motion": math.nan}}, "must be a number"),
    ({"weights": {"motion": math.inf}}, "must be a number"),
    ({"weights": {"motion": "much"}}, "must be a number of at least 0, not much"),
    ({"weights": {"consonance": 2.0}}, "'consonance' is a hard rule: its cost is error="),
    ({"weights": {"motion": 0.03}}, r"more than an error \(1\): lower the weights or pass error="),
    ({"error": 0.5}, "lower the weights or pass error="),
    ({"error": math.nan}, "error must be a number"),
    ({"error": math.inf}, "error must be a number"),
    ({"error": "much"}, "error must be a number"),
    ({"weight": {}}, r"no option 'weight'\. Did you mean 'weights'\?"),
]


@pytest.mark.parametrize(("options", "message"), BAD)
def test_bad_weights_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DescantError, match=message):
        make_reward({"name": "fux", **options})


def test_the_error_that_a_refusal_asks_for_is_enough() -> None:
    with pytest.raises(DescantError, match="pass error=") as refused:
        Fux({"motion": 0.5})
    asked = float(str(refused.value).rstrip(".").rpartition("=")[2])
    assert Fux({"motion": 0.5}, error=asked).error == asked
