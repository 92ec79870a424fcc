"""Teachers and tastes: each kind answers as it is meant to, and populations disagree as they should."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from descant.errors import DescantError
from descant.music.keys import Key
from descant.music.primers import parse_primer
from descant.preferences.agreement import agreement
from descant.preferences.clips import counterpoint_clip, melody_clip, task_of
from descant.preferences.records import Clip, new_uuid
from descant.preferences.store import Store
from descant.preferences.tastes import POPULATIONS, parse_taste, step_rewards
from descant.preferences.teachers import TEACHERS, Annotator, Teacher, find_teacher, label, population
from descant.tasks import replay

from ...playing import SOLUTIONS, parse_line
from .records import filled, pair_of


def tune(text: str, source: str = "m") -> Clip:
    return melody_clip(Key("C", "major"), parse_primer(text), source)


STEPS = tune("C4 D4 E4 D4 C4 D4 E4 C4")
LEAPS = tune("C4 G4 C4 A4 E4 A4 C4 G4")
HIGH = tune("C5 D5 E5 D5 C5 D5 E5 C5")


def answers(teacher: Teacher, a: float, b: float, n: int = 2000) -> dict[str, float]:
    rng = np.random.default_rng(0)
    counted = Counter(teacher.answer(a, b, rng) for _ in range(n))
    return {choice: count / n for choice, count in counted.items()}


def test_each_teacher_answers_as_it_is_called() -> None:
    assert answers(TEACHERS["perfect"], 1.0, 0.9) == {"a": 1.0}
    assert answers(TEACHERS["perfect"], 0.9, 1.0) == {"b": 1.0}
    assert answers(TEACHERS["perfect"], 1.0, 1.0) == {"tie": 1.0}
    noisy = answers(Teacher(temperature=0.5), 1.0, 0.5)
    assert noisy["a"] == pytest.approx(1 / (1 + math.exp(-1.0)), abs=0.03)
    assert answers(TEACHERS["mistaken"], 1.0, 0.0)["b"] == pytest.approx(0.1, abs=0.03)
    assert answers(TEACHERS["mistaken"], 0.0, 1.0)["a"] == pytest.approx(0.1, abs=0.03)
    assert answers(TEACHERS["skipping"], -1.0, -2.0) == {"skip": 1.0}
    assert answers(TEACHERS["skipping"], -1.0, 0.5) == {"b": 1.0}
    assert answers(TEACHERS["tying"], 1.0, 1.05) == {"tie": 1.0}
    assert answers(TEACHERS["tying"], 1.0, 1.2) == {"b": 1.0}
    # Huge differences over tiny temperatures do not overflow.
    assert answers(Teacher(temperature=1e-9), 1e9, 0.0) == {"a": 1.0}


def test_the_myopic_forget_the_beginning() -> None:
    early, late = np.array([1.2, 0.0, 0.0, 0.0]), np.array([0.0, 0.0, 0.0, 1.0])
    assert Teacher().value(early) > Teacher().value(late)
    assert Teacher(gamma=0.9).value(early) == pytest.approx(1.2 * 0.9**3)
    assert Teacher(gamma=0.9).value(late) == 1.0


def worth(clip: Clip, taste: str) -> float:
    return float(step_rewards([clip], parse_taste(taste))[0].sum())


def test_terms_hear_what_they_are_called_after() -> None:
    assert worth(STEPS, "steps") == pytest.approx(6 / 8)
    assert worth(STEPS, "leaps") == pytest.approx(1 / 8)  # the third at the end
    assert worth(LEAPS, "leaps") == pytest.approx(7 / 8)
    assert worth(HIGH, "high") - worth(STEPS, "high") == pytest.approx(1.0)
    assert worth(tune("C4 C4 D4 D4"), "repeats") == pytest.approx(2 / 4)
    assert worth(STEPS, "contrary") == 0.0
    assert worth(STEPS, "steps=2,high=-1") == pytest.approx(2 * worth(STEPS, "steps") - worth(STEPS, "high"))
    assert worth(melody_clip(Key(), [1] * 8, "m"), "steps") == 0.0  # silence


def counterpoint(line: str) -> Clip:
    from descant.music.counterpoint import actions_of

    return counterpoint_clip("D4 F4 E4 D4", "above", actions_of(parse_line(line)), "m")


def test_contrary_motion_is_heard_against_the_cantus() -> None:
    assert worth(counterpoint("D5 C5 C#5 D5"), "contrary") == pytest.approx(3 / 4)
    assert worth(counterpoint("A4 C5 B4 A4"), "contrary") == 0.0


def test_registered_rewards_and_their_terms_are_tastes() -> None:
    from descant.music.counterpoint import actions_of

    line = actions_of(parse_line(SOLUTIONS["dorian", "above"]))
    clip = counterpoint_clip("D4 F4 E4 D4 G4 F4 A4 G4 F4 E4 D4", "above", line, "fux")
    task = task_of(clip)
    cost = sum(f.cost for f in task.rules.explain(replay(task, task.starts(), line)))  # type: ignore[attr-defined]
    assert worth(clip, "fux") == pytest.approx(-cost)
    clips = [STEPS, counterpoint("D5 C5 C#5 D5"), LEAPS, counterpoint("A4 C5 B4 A4")]
    together = step_rewards(clips[::2], {"rl-tuner": 1.0})
    alone = [step_rewards([clip], {"rl-tuner": 1.0})[0] for clip in clips[::2]]
    np.testing.assert_allclose(together, alone)
    terms = ["rl-tuner/key", "rl-tuner/tonic"]
    assert worth(STEPS, ",".join(terms)) == pytest.approx(sum(worth(STEPS, term) for term in terms))


@pytest.mark.parametrize(
    ("taste", "complaint"),
    [
        ("stpes=1", "Did you mean 'steps'"), ("steps=x", "is no number"), ("steps=nan", "finite"),
        ("rl-tuner/kee", "Did you mean 'key'"), ("", "Unknown term"),
    ],
)  # fmt: skip
def test_a_taste_that_can_not_be_is_refused(taste: str, complaint: str) -> None:
    with pytest.raises(DescantError, match=complaint):
        worth(STEPS, taste)


@pytest.mark.parametrize(
    "options",
    [{"temperature": -1}, {"temperature": math.inf}, {"mistake": 1.1}, {"tie_within": -1}, {"gamma": 0}],
)
def test_a_teacher_that_can_not_be_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(DescantError):
        Teacher(**options)


NO_MUSIC = [
    Clip("text", {}, (1,), "m", "x"),
    Clip("descant/Counterpoint-v0", {"cantus": "D4 E4 D4"}, (99,), "m"),
]


@pytest.mark.parametrize("clip", NO_MUSIC)
def test_what_is_no_music_can_not_be_heard(clip: Clip) -> None:
    with pytest.raises(DescantError, match="no music"):
        step_rewards([clip], {"steps": 1.0})


@pytest.mark.parametrize("length", [2, 5])
def test_what_is_no_whole_episode_has_no_reward(length: int) -> None:
    clip = counterpoint_clip("D4 F4 E4 D4", "above", (30,) * length, "m")
    with pytest.raises(DescantError, match="no whole episode"):
        step_rewards([clip], {"fux": 1.0})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Pairs of a stepwise, a leaping and a high tune."""
    store = Store.create(tmp_path / "a.db")
    tunes = [STEPS, LEAPS, HIGH]
    for clip in tunes:
        store.add_clip(clip)
    for a, b in ((0, 1), (2, 0), (1, 2)):
        store.add_pair(pair_of(tunes[a], tunes[b]))
    return store


KINDS = [("step", 1), ("step", 2), ("leap", 1), ("high", 1), ("low", 1)]


def test_populations_disagree_as_their_tastes_do(store: Store) -> None:
    who = population("step-lovers:2,leap-lovers,high-lovers,low-lovers", Teacher())
    assert [annotator.name for annotator in who] == [f"{n}-lovers-{i}" for n, i in KINDS]
    for annotator in who:
        label(store, annotator)
    said = dict.fromkeys((a.name for a in who), "")
    for judgement in store.standing():
        said[judgement.annotator] += {"a": "a", "b": "b", "tie": "t"}[str(judgement.choice)]
    assert said == dict(zip(said, ["atb", "atb", "bta", "bab", "aba"], strict=True))
    assert agreement(store)["judgements"] == 15


def test_same_seed_same_answers_and_nothing_twice(tmp_path: Path) -> None:
    noisy = Annotator("ann", Teacher(temperature=10.0), {"high": 1.0})
    with filled(tmp_path / "a.db", pairs=30) as store:
        assert sum(label(store, noisy, seed=1, limit=10).values()) == 10
        assert sum(label(store, noisy, seed=1).values()) == 20
        assert label(store, noisy, seed=1) == {}
        label(store, Annotator("bob", noisy.teacher, noisy.taste), seed=1)
        first = {j.pair: j.choice for j in store.standing() if j.annotator == "ann"}
        other = {j.pair: j.choice for j in store.standing() if j.annotator == "bob"}
        assert set(first.values()) == {"a", "b"}
        assert first != other
        for _ in range(30):
            store.undo("ann", new_uuid())
        label(store, noisy, seed=1)
        assert {j.pair: j.choice for j in store.standing() if j.annotator == "ann"} == first


@pytest.mark.parametrize(
    "text", ["step-lover:2", "step-lovers:0", "step-lovers:x", "", "low-lovers,high-lovers,low-lovers:2"]
)
def test_a_population_that_can_not_be_is_refused(text: str) -> None:
    with pytest.raises(DescantError):
        population(text, Teacher())


def test_teachers_and_tastes_are_known_by_name() -> None:
    with pytest.raises(DescantError, match="Did you mean 'noisy'"):
        find_teacher("noise")
    for name in POPULATIONS:
        assert worth(counterpoint("D5 C5 C#5 D5"), name) == pytest.approx(
            worth(counterpoint("D5 C5 C#5 D5"), name)
        )
