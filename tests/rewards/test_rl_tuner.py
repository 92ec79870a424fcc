"""The reward `rl-tuner`: every term's exact value at melodies made by hand."""

from __future__ import annotations

import math
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from descant import make_reward
from descant.errors import DescantError
from descant.rewards.rl_tuner import TERMS, RLTuner
from descant.shells import make_task
from descant.tasks import replay

from ..melodies import melodies, score, term

C, D, E, F, G, A, B, HIGH_C = 14, 16, 18, 19, 21, 23, 25, 26  # actions from C4 up
OFF, HOLD = 0, 1


def explained(
    actions: list[int], reward: Any = "rl-tuner", **options: Any
) -> list[tuple[str, str, int, float]]:
    task = make_task("descant/Melody-v0", steps=32, reward=reward, **options)
    findings = task.reward.explain(replay(task, task.starts(), actions))  # type: ignore[attr-defined]
    return [(f.rule, f.severity, f.position, f.cost) for f in findings]


def test_notes_out_of_key_cost_one() -> None:
    assert term("key", [C, 15, 20, OFF, HOLD, 37, 2, 36]) == [0, -1, -1, 0, 0, 0, 0, -1]
    assert term("key", [C, 15, 20, 22], key="E", mode="major") == [-1, 0, 0, 0]
    assert term("key", [C, D, 17, 22], key="C", mode="minor") == [0, 0, 0, 0]


def test_the_tonic_opens_and_fills_the_final_bar() -> None:
    body = [D] * 27
    assert term("tonic", [C, *body, C, HOLD, HOLD, OFF]) == [3, *[0] * 27, 3, 3, 3, 3]
    assert (
        term("tonic", [HIGH_C, *body, 2, OFF, D, C]) == [0] * 32
    )  # other octaves are not it, nor a rest at T - 3
    assert term("tonic", [A, A, A, A, A, HOLD, OFF, OFF], key="A", mode="minor") == [3, 0, 0, 0, 3, 3, 3, 3]
    assert term("tonic", [C, HOLD, OFF, HOLD]) == [3, 3, 3, 3]


@pytest.mark.parametrize(
    ("melody", "at"),
    [
        ([C] * 8, [5, 6, 7]),  # the 6th in a row
        ([C, HOLD, *[C] * 8], [8, 9]),  # the 8th with a hold in the row
        ([C, OFF, *[C] * 8], [8, 9]),
        ([D, HOLD, *[C] * 9], [9, 10]),  # a hold of the note before is on the way
        ([HOLD, *[C] * 9], [8, 9]),
        ([D, *[C] * 6], [6]),
        ([C, C, C, D, C, C, C], []),
        ([C, *[HOLD] * 7], [6, 7]),  # holds are equal actions too
        ([C, HOLD, OFF, *[HOLD] * 8], [9, 10]),
        ([C, OFF, HOLD, OFF, HOLD, OFF], [5]),  # the 3rd note-off
        ([OFF, OFF, OFF, OFF], [2, 3]),
        ([C, OFF, OFF, D, OFF, OFF], []),
    ],
)
def test_too_many_equal_actions_cost_a_hundred(melody: list[int], at: list[int]) -> None:
    assert term("repetition", melody) == [-100.0 if t in at else 0.0 for t in range(len(melody))]


def test_autocorrelation_costs_beyond_its_threshold() -> None:
    # 14 16 14 16: r1 = -3/4, r2 = 1/2, r3 = -1/4; after three steps r1 = -2/3, r2 = 1/6; after two r1 = -1/2.
    assert term("autocorrelation", [C, D, C, D]) == [0, -1.5, -2.5, -4.5]
    assert term("autocorrelation", [C] * 4) == [0] * 4
    # 5 3 2 8 2: mean 4, deviations 1 -1 -2 4 -2, squares 26: r = -15/26, 0, 3/13 ... each beyond 0.15 counts.
    last = term("autocorrelation", [5, 3, 2, 8, 2])[-1]
    r1, r2, r3 = (-1 + 2 - 8 - 8) / 26, (-2 - 4 + 4) / 26, (4 + 2) / 26
    assert abs(r2) < 0.15
    assert last == pytest.approx(-3 * (abs(r1) + abs(r3)), abs=1e-6)


def test_a_coefficient_of_exactly_the_threshold_is_free() -> None:
    for n in range(2, 6):
        for code in range(6**n):
            melody = [2 + code // 6**i % 6 for i in range(n)]
            mean = sum(melody) / n
            power = sum((a - mean) ** 2 for a in melody)
            lag1 = sum((a - mean) * (b - mean) for a, b in pairwise(melody))
            if power and abs(abs(lag1 / power) - 0.15) < 1e-9:
                padded = melody + [2] * (4 - n)
                values = term("autocorrelation", padded)
                others = [
                    sum((a - mean) * (b - mean) for a, b in zip(melody, melody[lag:], strict=False)) / power
                    for lag in (2, 3)
                ]
                expected = -3 * sum(abs(r) for r in others if abs(r) > 0.15)
                assert values[n - 1] == pytest.approx(expected, abs=1e-6)
                return
    raise AssertionError("no melody has this coefficient")


def test_a_motif_has_three_pitches_in_eight_steps() -> None:
    assert term("motif", [C, D, E, HOLD, HOLD, OFF, HOLD, C]) == [0] * 7 + [3]
    assert term("motif", [C, D, C, HOLD, HOLD, OFF, HOLD, C]) == [0] * 8
    assert term("motif", [C, D, E, F, G, A, B, HIGH_C, HOLD]) == [0] * 7 + [4.5, 4.2]


def test_a_repeated_motif_stood_before_apart() -> None:
    bar = [C, D, E, HOLD, F, OFF, C, D]
    assert term("repeated-motif", bar + bar) == [0] * 15 + [5]
    assert term("repeated-motif", [*bar, G, *bar]) == [0] * 16 + [5]
    assert term("repeated-motif", bar + bar[:-1] + [E]) == [0] * 16
    assert term("repeated-motif", [C, D, E, C] * 4) == [0] * 15 + [4]  # at step 12 the two would share steps
    assert term("repeated-motif", [C, D] * 8) == [0] * 16


@pytest.mark.parametrize(
    ("before", "after", "worth"),
    [
        (D, HOLD, 0.375), (D, OFF, 0.25), (C, HOLD, 1.5), (G, OFF, 0.75), (HIGH_C, OFF, 0.75), (E, HOLD, 0.375),
        (C, G, 0.5), (G, C, 0.5), (G, 28, 0.5), (C, 7, 0.5), (D, A, 0.1), (F, 26, 0.1),
        (C, E, 0.75), (E, C, 0.75), (C, 10, 0.75), (E, 22, 0.75), (F, A, 0.45), (G, B, 0.45),
        (C, D, 0.4), (D, C, 0.4), (D, G, 0.35), (C, A, 0.25), (C, B, -1.5), (B, C, -1.5), (C, HIGH_C, 0),
        (C, 27, -5), (37, 2, -5), (C, C, 0), (E, F, 0), (E, G, 0), (C, 20, 0), (C, 22, 0), (C, 24, 0),
    ],
)  # fmt: skip
def test_intervals_have_their_values(before: int, after: int, worth: float) -> None:
    assert term("intervals", [before, after, HOLD, HOLD])[1] == worth


def test_intervals_reach_over_holds_and_rests_and_need_a_note_before() -> None:
    assert term("intervals", [HOLD, OFF, D, HOLD, OFF, HOLD, E]) == [0, 0, 0, 0.375, 0.25, 0.375, 0.4]


def test_intervals_follow_the_mode() -> None:
    assert term("intervals", [A, HIGH_C, A, HOLD], key="A", mode="minor") == [0, 0.75, 0.75, 1.5]
    assert term("intervals", [E, G, E, HOLD], key="A", mode="minor") == [0, 0, 0, 1.5]
    assert term("intervals", [C, E, C, HOLD], key="A", mode="minor") == [0, 0.45, 0.45, 0.375]
    assert term("intervals", [D, A, OFF, E], key="D", mode="major") == [0, 0.5, 0.75, 0.35]


@pytest.mark.parametrize(
    ("melody", "worth"),
    [
        ([C, G, F, E, D, C], [0, 0, 0, 0, 0, 5]),  # gradually back to where it left
        ([C, G, D, C], [0, 0, 0, 5]),  # by fourth and step
        ([G, C, D, G, A], [0, 0, 0, 5, 0]),
        ([C, A, HIGH_C, B], [0, 0, 0, 0]),  # not back yet
        ([C, G, 28, C], [0, 0, -5, 0]),  # doubled, then leapt back at once
        ([C, G, C, G], [0, 0, 0, 0]),  # back at once is none; the third leap opens another
        ([C, G, C, G, 28], [0, 0, 0, 0, -5]),
        ([C, G, *[HOLD] * 6, C], [0] * 9),  # six steps between
        ([C, G, *[HOLD] * 7, C], [0] * 9 + [5]),
        ([C, G, HOLD, OFF, A, HOLD, G, OFF, HOLD, 9], [0] * 9 + [5]),
        ([C, 20, C, G], [0, 0, 0, 0]),  # a tritone is no leap
        ([HOLD, G, OFF, C, OFF, 7], [0, 0, 0, 0, 0, -5]),
    ],
)
def test_leaps_are_resolved_or_doubled(melody: list[int], worth: list[float]) -> None:
    assert term("leaps", melody) == worth


def test_a_doubled_leap_goes_back_to_where_the_first_one_left() -> None:
    assert term("leaps", [C, G, 28, 23, 21, 17, 14]) == [0, 0, -5, 0, 0, 0, 5]


def test_extremes_are_judged_at_the_last_step() -> None:
    assert term("unique-highest", [C, D, C, E]) == [0, 0, 0, 3]
    assert term("unique-lowest", [C, D, C, E]) == [0, 0, 0, 0]
    assert term("unique-lowest", [D, C, D, HOLD]) == [0, 0, 0, 3]
    assert term("unique-highest", [D, C, D, HOLD]) == [0, 0, 0, 0]
    for name in ("unique-highest", "unique-lowest"):
        assert term(name, [C, HOLD, OFF, HOLD]) == [0, 0, 0, 3]
        assert term(name, [OFF, HOLD, OFF, OFF]) == [0, 0, 0, 0]  # no note, nothing unique


def test_weights_multiply_terms_and_zero_switches_off() -> None:
    compositions = melodies(5, 60)
    plain, _, _ = score(compositions)
    weights = {"repetition": 0.5, "leaps": 0.0, "motif": 2.0}
    weighed, rewards, _ = score(compositions, {"name": "rl-tuner", "weights": weights})
    for name in TERMS:
        np.testing.assert_allclose(weighed[name], plain[name] * weights.get(name, 1.0), atol=1e-12)
    np.testing.assert_allclose(rewards, sum(weighed.values()), atol=1e-12)


def test_findings_are_the_terms_below_zero() -> None:
    actions = [15, 26, 37, *[HOLD] * 6, 2, 24]
    found = explained(actions)
    assert ("key", "error", 1, 1.0) in found
    assert ("leaps", "warning", 3, 5.0) in found
    assert ("repetition", "error", 9, 100.0) in found
    assert ("intervals", "warning", 10, 5.0) in found
    terms, _, _ = score([*actions, *[HOLD] * 21])
    expected = {
        (name, t + 1): -float(values[0, t])
        for name, values in terms.items()
        for t in range(len(actions))
        if values[0, t] < 0
    }
    assert {(rule, position): cost for rule, _, position, cost in found} == pytest.approx(expected)
    assert [(f[2], f[1]) for f in found] == sorted((f[2], f[1]) for f in found)
    assert explained([]) == []
    assert explained([15], {"name": "rl-tuner", "weights": {"key": 0}}) == []


def test_messages_name_notes_as_the_key_spells_them() -> None:
    task = make_task("descant/Melody-v0", key="Eb")
    episode = replay(task, task.starts(), [17, 18, 36, *[HOLD] * 6, 24, 0, 0, 0])
    words = {(f.rule, f.position): f.message for f in task.reward.explain(episode)}  # type: ignore[attr-defined]
    assert words["key", 2] == "E4 is not in Eb major"
    assert words["intervals", 3] == "E4 to Bb5 is 18 semitones, hard to sing"
    assert words["repetition", 9] == "a hold comes too often without another note between"
    assert words["repetition", 13] == "a note-off comes too often without another note between"
    assert words["autocorrelation", 2] == "so far the melody is like itself one step later (-0.50)"
    episode = replay(task, task.starts(), [14, 21, 28])
    words = {(f.rule, f.position): f.message for f in task.reward.explain(episode)}  # type: ignore[attr-defined]
    assert words["leaps", 3] == "G4 to D5 leaps on in the direction of a leap that is not resolved"


BAD: list[tuple[dict[str, Any], str]] = [
    ({"weights": {"motiv": 1.0}}, r"Unknown term 'motiv'\. Did you mean 'motif'\?"),
    ({"weights": {"motif": -1.0}}, "'motif' must be a number of at least 0, not -1.0"),
    ({"weights": {"motif": math.nan}}, "must be a number"),
    ({"weights": {"motif": "much"}}, "must be a number"),
    ({"weight": {}}, r"no option 'weight'\. Did you mean 'weights'\?"),
]


@pytest.mark.parametrize(("options", "message"), BAD)
def test_bad_weights_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DescantError, match=message):
        make_reward({"name": "rl-tuner", **options})


def test_the_table_in_the_document_names_every_term() -> None:
    document = (Path(__file__).parents[2] / "docs/rl-tuner.md").read_text(encoding="utf-8")
    table = document.split("| Term |")[1].split("\n\n")[0]
    assert tuple(re.findall(r"^\| `([\w-]+)` \|", table, re.MULTILINE)) == TERMS == tuple(RLTuner().weights)
