"""The counterpoint task: masks, keys, observations, purity, options."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from descant.envs.counterpoint import Counterpoint
from descant.errors import DescantError
from descant.music.cantus_firmi import FUX, MAX_NOTES, find, generate
from descant.music.counterpoint import GAMUT, POSITIONS, State, actions_of
from descant.music.pitches import parse_line
from descant.rewards.fux import Fux
from descant.tasks import Ints, row_fields, take_rows

from ..playing import RNG, lines, play, problems, task_of, user_cantus
from ..rewards.slow_checker import check

HARD_ONLY = {rule: float(cost == 1) for rule, cost in Fux().costs.items()}
NO_WAY = "D4 E4 E4"  # a cadence on E would raise its leading note


def every_line(task: Counterpoint, allowed: Any) -> tuple[Ints, State]:
    """All lines that follow `allowed`: actions int[n, T], and the states at their ends."""
    state, actions = task.starts(), np.zeros((1, 0), np.int64)
    for _ in range(int(task.problems.lengths[0])):
        row, action = np.nonzero(allowed(state))
        state, _, _ = task.step(take_rows(state, row), action, RNG)
        actions = np.concatenate([actions[row], action[:, None]], axis=1)
    return actions, state


def as_set(actions: Ints) -> set[tuple[int, ...]]:
    return {tuple(line) for line in actions.tolist()}


# Masks.


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.sampled_from("CDEFGABC"), min_size=2, max_size=2),
    st.sampled_from("CDEFGA"),
    st.sampled_from(POSITIONS),
)
def test_the_rules_mask_leaves_every_lawful_line_and_no_other(body: list[str], final: str, side: str) -> None:
    line = parse_line(" ".join(f"{letter}4" for letter in [*body, final]))
    task = task_of(line, side, mask="rules")
    tried, ends = every_line(task, lambda state: np.ones((len(state.bar), len(GAMUT)), bool))
    lawful = as_set(tried[ends.errors == 0])
    followed, ends = every_line(task, task.lawful)
    assert as_set(followed) == lawful
    if lawful:
        masked, ends = every_line(task, task.action_mask)
        assert as_set(masked) == lawful
        assert not ends.errors.any()
    else:
        np.testing.assert_array_equal(
            task.action_mask(task.starts()), task_of(line, side).action_mask(task.starts())
        )
    for actions in list(lawful)[:5]:
        assert not check(line, side, [GAMUT[a] for a in actions], HARD_ONLY)


def test_a_cantus_without_a_faultless_counterpoint_falls_back_to_the_range() -> None:
    task = task_of(parse_line(NO_WAY), "above", mask="rules")
    assert not task.lawful(task.starts()).any()
    free = task_of(parse_line(NO_WAY), "above")
    np.testing.assert_array_equal(task.action_mask(task.starts()), free.action_mask(free.starts()))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_the_rules_mask_is_the_lawful_notes_or_else_the_range(data: st.DataObject) -> None:
    free = data.draw(problems())
    problem = free.problems.problems[0]
    task = task_of(problem.cantus, problem.position, mask="rules")
    episode, _ = play(task, data.draw(lines(free)))
    for state in episode.states[:-1]:
        lawful, mask = task.lawful(state), task.action_mask(state)
        np.testing.assert_array_equal(mask, lawful if lawful.any() else free.action_mask(state))
        assert mask.any()


def test_an_error_that_leaves_a_way_on_is_not_forgiven_by_the_mask() -> None:
    """After a slip the rules hold again as soon as a faultless continuation exists."""
    task = task_of("dorian", "above", mask="rules")
    episode, _ = play(task, actions_of(parse_line("B4 A4")))  # a bad opening, then all is well
    assert episode.states[-1].errors == 1
    assert 0 < task.action_mask(episode.states[-1]).sum() < 15


def test_following_the_rules_mask_never_errs() -> None:
    task = Counterpoint(cantus="generated", pool=64, mask="rules")
    rng = np.random.default_rng(0)
    state = task.reset(rng, 500)
    ended = np.zeros(500, bool)
    solvable = task.lawful(state).any(axis=1)
    assert solvable.mean() > 0.95
    while not ended.all():
        mask = task.action_mask(state)
        assert mask[~ended].any(axis=1).all()
        state, _, now = task.step(state, (rng.random(mask.shape) * mask).argmax(axis=1), rng)
        assert not state.errors[solvable & ~ended].any()
        ended |= now


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_the_range_mask_can_be_read_off_the_observation(data: st.DataObject) -> None:
    task = data.draw(problems())
    episode, _ = play(task, data.draw(lines(task)))
    problem = task.problems.problems[0]
    low, high = min(p.midi for p in problem.cantus), max(p.midi for p in problem.cantus)
    low, high = (low, high + 16) if problem.position == "above" else (low - 16, high)
    expected = [[low <= pitch.midi <= high for pitch in GAMUT]]
    for state in episode.states:
        np.testing.assert_array_equal(task.action_mask(state), expected)
        np.testing.assert_array_equal(task.observation_mask(task.observe(state)), expected)


@settings(max_examples=12, deadline=None)
@given(st.data())
def test_the_rules_mask_can_be_read_off_the_observation_too(data: st.DataObject) -> None:
    free = data.draw(problems())
    problem = free.problems.problems[0]
    task = task_of(problem.cantus, problem.position, mask="rules")
    states = play(task, data.draw(lines(free)))[0].states
    seen = np.concatenate([task.observe(state) for state in states])
    masks = np.concatenate([task.action_mask(state) for state in states])
    stranger = task_of("dorian", "above", mask="rules")  # never saw this cantus
    for reader in (task, stranger):
        np.testing.assert_array_equal(reader.observation_mask(seen), masks)
        np.testing.assert_array_equal(reader.observation_mask(seen[::-1]), masks[::-1])


def test_the_rules_mask_of_the_longest_cantus_can_be_read_off() -> None:
    cantus = ["D4", "E4", "F4", "E4"] * 7 + ["D4", "F4", "E4", "D4"]
    task = Counterpoint(cantus=cantus, position="above", mask="rules", max_notes=32)
    states = play(task, [30] * 32)[0].states
    for state in states:
        np.testing.assert_array_equal(task.observation_mask(task.observe(state)), task.action_mask(state))


def test_the_strict_set_holds_what_the_issue_says() -> None:
    task = task_of("dorian", "above")
    notes, ends = every_line(task_of("D4 F4 E4 D4", "above"), task_of("D4 F4 E4 D4", "above").strict)
    cantus = parse_line("D4 F4 E4 D4")
    assert not ends.errors.any()
    for line in notes.tolist():
        for pitch, against in zip([GAMUT[a] for a in line], cantus, strict=True):
            assert against.midi <= pitch.midi <= against.midi + 16
            assert pitch.is_natural or (str(pitch), str(against)) == ("C#5", "E4")
    assert task.strict(task.starts()).any()


# Keys and observations.


def futures(task: Counterpoint, state: State, actions: Ints) -> tuple[Any, Any, Any]:
    rewards, masks, seen = [], [], []
    for action in actions:
        masks.append(task.action_mask(state))
        seen.append(task.observe(state))
        state, reward, _ = task.step(state, action, RNG)
        rewards.append(reward)
    return np.array(rewards), np.array(masks), np.array(seen)


@settings(max_examples=10, deadline=None)
@given(
    user_cantus(), st.sampled_from(POSITIONS), st.sampled_from(["range", "rules"]), st.integers(0, 2**32 - 1)
)
def test_equal_keys_have_equal_futures(cantus: Any, position: str, mask: str, seed: int) -> None:
    task = task_of(cantus, position, mask=mask)
    rng = np.random.default_rng(seed)
    few = rng.integers(len(GAMUT), size=6)  # few pitches, so that histories meet
    state = take_rows(task.starts(), np.zeros(800, np.int64))
    length, pairs = int(task.problems.lengths[0]), 0
    for t in range(length):
        _, first, index = np.unique(task.key(state), return_index=True, return_inverse=True)
        twins = take_rows(state, first[index])
        pairs += (first[index] != np.arange(800)).sum()
        onward = rng.integers(len(GAMUT), size=(length - t, 800))
        for own, others in zip(futures(task, state, onward), futures(task, twins, onward), strict=True):
            np.testing.assert_array_equal(own, others)
        state, _, _ = task.step(state, rng.choice(few, size=800), rng)
    assert pairs > 0


def test_keys_tell_apart_all_that_matters() -> None:
    task = task_of("dorian", "above")
    state = play(task, actions_of(parse_line("A4 A4 G4")))[0].states[-1]
    key = task.key(state)[0]
    for field in ("bar", "note", "leap", "run", "climax"):
        other = dataclasses.replace(state, **{field: getattr(state, field) + 1})
        assert task.key(other)[0] != key, field
    assert task.key(dataclasses.replace(state, errors=state.errors + 1))[0] == key


def test_equal_observations_have_equal_futures_across_problems() -> None:
    """The observation alone is a sufficient statistic: two cantus firmi that differ only in what is past."""
    one = task_of("D4 E4 F4 A3 C5 G4 F4 E4 D4", "above")
    two = task_of("A4 C4 F4 A3 C5 G4 F4 E4 D4", "above")
    rng = np.random.default_rng(0)
    actions = rng.choice(np.arange(24, 44), size=(3, 5000))
    actions[1] = actions[2] - rng.integers(-1, 2, size=5000)
    states = []
    for task in (one, two):
        state = take_rows(task.starts(), np.zeros(5000, np.int64))
        for action in actions:
            state, _, _ = task.step(state, action, RNG)
        states.append(state)
    a, b = states
    same = (one.observe(a) == two.observe(b)).all(axis=1)
    assert not same.all()
    onward = rng.integers(20, 48, size=(5, same.sum()))
    left, right = (futures(task, take_rows(s, same), onward) for task, s in ((one, a), (two, b)))
    assert same.sum() > 100
    for own, others in zip(left, right, strict=True):
        np.testing.assert_array_equal(own, others)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_observations_are_in_the_space_even_after_the_end(data: st.DataObject) -> None:
    task = data.draw(problems())
    actions = data.draw(lines(task))
    episode, _ = play(task, [*actions, *data.draw(st.lists(st.integers(0, len(GAMUT) - 1), max_size=4))])
    for state in episode.states:
        observation = task.observe(state)[0]
        assert observation in task.observation_space
        assert observation.dtype == task.observation_space.dtype


def test_what_an_observation_says() -> None:
    task = task_of("D4 F4 E4 D4", "below")
    episode, _ = play(task, actions_of(parse_line("D4 A3")))
    seen = task.observe(episode.states[-1])[0].tolist()
    c3_to_c5 = [
        "C3",
        "D3",
        "E3",
        "F3",
        "G3",
        "A3",
        "Bb3",
        "B3",
        "C4",
        "D4",
        "E4",
        "F4",
        "G4",
        "A4",
        "Bb4",
        "B4",
        "C5",
    ]
    d4, e4, f4 = (c3_to_c5.index(name) for name in ("D4", "E4", "F4"))
    names = [str(pitch) for pitch in GAMUT]
    leap_down_a_fourth = 5
    run_of_one_sixth = 4
    climax = 2 * (names.index("D4") + 1) + 1
    assert seen[:10] == [
        *(1, 0, d4, f4, names.index("A3") + 1, leap_down_a_fourth, run_of_one_sixth, climax, 2, f4 + 1)
    ]
    assert seen[10:] == [e4 + 1, d4 + 1] + [0] * 14
    ended = task.observe(play(task, actions_of(parse_line("D4 A3 C#4 D4")))[0].states[-1])[0].tolist()
    assert ended[8:] == [0, d4 + 1] + [0] * 16


# Purity.


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_a_step_leaves_its_arguments_as_they_were_and_depends_on_nothing_else(data: st.DataObject) -> None:
    task = data.draw(problems())
    episode, _ = play(task, data.draw(lines(task)))
    state = take_rows(episode.states[-1], [0, 0, 0])
    action = np.array(data.draw(st.lists(st.integers(0, len(GAMUT) - 1), min_size=3, max_size=3)))
    before = [getattr(state, field).copy() for field in row_fields(state)]
    kept = action.copy()
    first, second = task.step(state, action, RNG), task.step(state, action, np.random.default_rng(1))
    task.observe(state)[:] = 0
    task.action_mask(state)[:] = False
    for field, was in zip(row_fields(state), before, strict=True):
        now = getattr(state, field)
        np.testing.assert_array_equal(now, was)
        np.testing.assert_array_equal(getattr(first[0], field), getattr(second[0], field))
        for other in (now, action, getattr(second[0], field)):
            assert not np.shares_memory(getattr(first[0], field), other), field
    np.testing.assert_array_equal(action, kept)
    for one, two in zip(first[1:], second[1:], strict=True):
        np.testing.assert_array_equal(one, two)
        assert not np.shares_memory(one, two)
    assert task.observe(state).any()
    assert task.action_mask(state).any()


def test_rows_do_not_touch_one_another() -> None:
    task = Counterpoint(cantus="fux")
    rng = np.random.default_rng(0)
    state = task.reset(rng, 50)
    rows = [take_rows(state, [i]) for i in range(50)]
    for _ in range(16):
        action = rng.integers(len(GAMUT), size=50)
        state, reward, ended = task.step(state, action, rng)
        for i in range(50):
            rows[i], alone, end = task.step(rows[i], action[i : i + 1], rng)
            assert (reward[i], ended[i]) == (alone[0], end[0])
        np.testing.assert_array_equal(
            task.observe(state), np.concatenate([task.observe(row) for row in rows])
        )
        np.testing.assert_array_equal(
            task.action_mask(state), np.concatenate([task.action_mask(r) for r in rows])
        )


# Episodes and options.


def test_an_episode_has_as_many_steps_as_the_cantus_and_says_whether_it_is_legal() -> None:
    task = task_of("dorian", "above")
    for line, errors in (("A4 A4 G4 A4 B4 C5 C5 B4 D5 C#5 D5", 0), ("B4 A4 G4 A4 B4 C5 C5 B4 D5 C#5 C5", 4)):
        state, ended = task.starts(), []
        for action in actions_of(parse_line(line)):
            state, _, end = task.step(state, np.array([action]), RNG)
            ended.append(bool(end[0]))
        assert ended == [False] * 10 + [True]
        metrics = {name: value.tolist() for name, value in task.metrics(state).items()}
        assert metrics == {"legal": [float(errors == 0)], "errors": [float(errors)]}


def drawn(task: Counterpoint, options: Any = None, n: int = 3000) -> dict[tuple[Any, str], int]:
    state = task.reset(np.random.default_rng(0), n, options)
    found, counts = np.unique(task.problems.problem_of(state), return_counts=True)
    every = [task.problems.problems[i] for i in found]
    return {(p.cantus, p.position): int(c) for p, c in zip(every, counts, strict=True)}


def test_problems_are_drawn_evenly_and_options_fix_them() -> None:
    task = Counterpoint(cantus="fux")
    expected = {(cantus, position) for cantus in FUX.values() for position in POSITIONS}
    counts = drawn(task)
    assert counts.keys() == expected
    assert min(counts.values()) > 180
    assert drawn(task, {"cantus": "dorian"}).keys() == {(FUX["dorian"], position) for position in POSITIONS}
    assert drawn(task, {"position": "below"}).keys() == {(line, "below") for line in FUX.values()}
    only = {"cantus": [str(p) for p in FUX["ionian"]], "position": "above"}
    assert drawn(task, only) == {(FUX["ionian"], "above"): 3000}
    assert drawn(task, {"cantus": None, "position": None}) == drawn(task)


def test_generated_problems_are_the_pools() -> None:
    task = Counterpoint(pool=30, pool_seed=5, position="above")
    assert {p.cantus for p in task.problems.problems} == set(generate(30, 5))
    assert {p.position for p in task.problems.problems} == {"above"}
    assert not {p.cantus for p in Counterpoint().problems.problems} & set(FUX.values())


@pytest.mark.parametrize("name", ["dorian", "Dorian", "D4 F4 E4 D4", ("D4", "F4", "E4", "D4")])
def test_a_cantus_may_be_given_by_name_or_notes(name: Any) -> None:
    assert {p.cantus for p in Counterpoint(cantus=name).problems.problems} == {find(name)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cantus": "dorain"}, r"Unknown cantus 'dorain'\. Did you mean 'dorian'\?"),
        ({"cantus": "generatd"}, "Did you mean 'generated'"),
        ({"cantus": "D4"}, "this one has 1"),
        ({"cantus": ["D4"] * 20}, "The cantus has 20 notes, the environment takes 16: pass max_notes=20"),
        ({"position": "abov"}, "position must be 'above', 'below' or 'both', not 'abov'"),
        ({"mask": "rule"}, r"Unknown mask 'rule'\. Did you mean 'rules'\?"),
        ({"max_notes": 2}, "max_notes must be 3 to 32, not 2"),
        ({"max_notes": 33}, "max_notes must be 3 to 32"),
        ({"pool": 0}, "pool must be at least 1"),
        ({"reward": "fuks"}, r"Unknown reward 'fuks'\. Did you mean 'fux'\?"),
        ({"reward": {"weights": {}}}, "A reward needs a 'name'"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DescantError, match=message):
        Counterpoint(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cantus": "ionian"}, "No problem of this environment has that cantus and position"),
        ({"position": "below"}, "No problem of this environment"),
        ({"position": "abov"}, "No problem of this environment"),
        ({"cantsu": "dorian"}, "Unknown reset option 'cantsu'"),
    ],
)
def test_bad_reset_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DescantError, match=message):
        task_of("dorian", "above").reset(RNG, 1, options)


def test_the_longest_cantus_fits() -> None:
    task = Counterpoint(cantus=["D4", "E4"] * 15 + ["E4", "D4"], max_notes=MAX_NOTES, position="above")
    episode, _ = play(task, [30] * MAX_NOTES)
    assert all(task.observe(state)[0] in task.observation_space for state in episode.states)


def test_another_reward_leaves_the_rules_as_they_are() -> None:
    class Bonus(Fux):
        def __call__(self, state: Any, action: Ints, next_state: Any) -> Any:
            return 10.0 + (next_state.note - 1) - action

    episode, rewards = play(task_of("dorian", "above", reward=Bonus()), actions_of(parse_line("B4 F5")))
    assert rewards == [10.0, 10.0]
    assert episode.states[-1].errors == 3  # opening, direct-perfect, melodic-interval
    weighed = {"name": "fux", "weights": {"step": 0.01}, "error": 2.0}
    _, rewards = play(
        Counterpoint(cantus="dorian", position="above", reward=weighed), actions_of(parse_line("A4 F4"))
    )
    _, usual = play(task_of("dorian", "above"), actions_of(parse_line("A4 F4")))
    assert rewards[1] - usual[1] == pytest.approx(-0.0095 - 3.0)  # a leap, and three errors at a unison
