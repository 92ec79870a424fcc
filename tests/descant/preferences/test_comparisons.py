"""Comparisons: read from a store and from exports alike; played as the episodes that they were; bad ones refused."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from descant.errors import DescantError
from descant.preferences.clips import counterpoint_clip
from descant.preferences.comparisons import ClipComparisons, comparisons_of, read_comparisons
from descant.preferences.episodes import play_episodes
from descant.preferences.exchange import export_csv, export_jsonl
from descant.preferences.records import Clip, Judgement, Pair
from descant.preferences.store import Store
from descant.shells import TaskVectorEnv, make_task

TOKENS = "descant/Tokens-v0"
SIZE = {"tokens": 3, "steps": 2}


def clip(*tokens: int, **arguments: Any) -> Clip:
    return Clip(TOKENS, SIZE | arguments, tokens, "model")


def store_at(path: Path) -> Store:
    """Three clips, two pairs; ada says a and then a tie, bo says b, skips, and takes back what cy says."""
    store = Store.create(path)
    clips = [clip(0, 1), clip(2, 2), clip(1, 0)]
    for each in clips:
        store.add_clip(each)
    pairs = [
        Pair(clips[0].hash, clips[1].hash, "a", "random"),
        Pair(clips[2].hash, clips[0].hash, "b", "random"),
    ]
    for pair in pairs:
        store.add_pair(pair)
    for who, pair, choice in (
        ("ada", 0, "a"),
        ("bo", 0, "b"),
        ("ada", 1, "tie"),
        ("bo", 1, "skip"),
        ("cy", 1, "both_bad"),
    ):
        store.judge(Judgement(pairs[pair].uuid, who, choice))
    store.judge(Judgement(pairs[0].uuid, "cy", "a"))
    store.undo("cy", str(uuid.uuid4()))
    return store


def plain(found: ClipComparisons) -> list[Any]:
    return [
        (found.clips[a].tokens, found.clips[b].tokens, share, who)
        for (a, b), share, who in zip(found.pairs, found.preferred, found.annotators, strict=True)
    ]


def test_what_stands_is_read_from_a_store_and_from_its_exports(tmp_path: Path) -> None:
    with store_at(tmp_path / "s.db") as store:
        found = comparisons_of(store)
        export_jsonl(store, tmp_path / "s.jsonl")
        export_csv(store, tmp_path / "csv")
    assert plain(found) == [
        ((0, 1), (2, 2), 1.0, "ada"),
        ((0, 1), (2, 2), 0.0, "bo"),
        ((1, 0), (0, 1), 0.5, "ada"),
        ((1, 0), (0, 1), 0.5, "cy"),
    ]
    for name in ("s.db", "s.jsonl", "csv"):
        assert plain(read_comparisons(tmp_path / name)) == plain(found)
    assert [row[3] for row in plain(read_comparisons(tmp_path / "s.jsonl", ["bo"]))] == ["bo"]


def test_what_can_not_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DescantError, match="Cannot read"):
        read_comparisons(tmp_path / "absent")
    (tmp_path / "broken.jsonl").write_text('{"type": "clip"\n')
    with pytest.raises(DescantError, match=r"1 lines of .* can't be read"):
        read_comparisons(tmp_path / "broken.jsonl")
    Store.create(tmp_path / "empty.db").close()
    with pytest.raises(DescantError, match="holds no comparisons yet: judge pairs"):
        read_comparisons(tmp_path / "empty.db")


def test_comparisons_are_checked_when_made() -> None:
    clips = (clip(0, 0), clip(1, 1), clip(0, 0, seed=5))
    for pairs, preferred, names, message in (
        ([[0, 3]], [1.0], (), "rows of the 3 clips"),
        ([[-1, 0]], [1.0], (), "rows of the 3 clips"),
        ([[0, 1]], [1.5], (), "probabilities"),
        ([[0, 1]], [float("nan")], (), "probabilities"),
        ([[0, 1]], [1.0, 0.0], (), r"\[n, 2\]"),
        ([[0.0, 1.0]], [1.0], (), "whole numbers"),
        ([[0, 1]], [1.0], ("ada", "bo"), "1 names"),
        ([[0, 2]], [1.0], (), "differ in environment or arguments"),
    ):
        with pytest.raises(DescantError, match=message):
            ClipComparisons(clips, np.array(pairs), np.array(preferred), names)


def test_what_is_said_of_one_pair_stays_together() -> None:
    rng = np.random.default_rng(0)
    every = np.array([(a, b) for a in range(9) for b in range(9) if a != b])
    pairs = every[rng.integers(len(every), size=400)]
    made = ClipComparisons(tuple(clip(a // 3, a % 3) for a in range(9)), pairs, rng.random(400).round())
    learned, held = made.split(0.25, 3)
    assert sorted([*learned, *held]) == list(range(400))
    sets = [{tuple(sorted(pair)) for pair in made.take(rows).pairs.tolist()} for rows in (learned, held)]
    assert not sets[0] & sets[1]
    assert len(sets[1]) == 9  # a quarter of 36
    assert made.split(0.25, 3)[1].tolist() == held.tolist() != made.split(0.25, 4)[1].tolist()
    with pytest.raises(DescantError, match="a single pair of clips"):
        made.take(np.flatnonzero((np.sort(pairs, axis=1) == [0, 1]).all(axis=1))).split(0.5, 0)


# Playing them.


def test_clips_are_played_as_they_were_written() -> None:
    env = gymnasium.make_vec(TOKENS, num_envs=2, **SIZE, seed=1)
    played = play_episodes([clip(0, 1), clip(2, 2), clip(1, 0)], env)
    np.testing.assert_array_equal(played.actions, [[0, 2, 1], [1, 2, 0]])
    np.testing.assert_array_equal(played.observations[1], [[1, 1, 0], [1, 3, 0], [1, 2, 0]])
    assert played.valid.all()
    assert played.starts[0].all()
    assert not played.starts[1].any()


def line(cantus: str, position: str) -> Clip:
    """A counterpoint that takes the first of what is allowed."""
    task: Any = make_task("descant/Counterpoint-v0", cantus=cantus, position=position)
    state, ended, tokens, rng = task.starts(), False, [], np.random.default_rng(0)
    while not ended:
        tokens.append(int(task.action_mask(state)[0].argmax()))
        state, _, (ended,) = task.step(state, np.array(tokens[-1:]), rng)
    return counterpoint_clip(cantus, position, tokens, "x")


def test_clips_of_several_problems_and_lengths_lie_side_by_side_in_order() -> None:
    env = gymnasium.make_vec("descant/Counterpoint-v0", num_envs=2, pool=4)
    long, short = line("D4 F4 E4 D4", "above"), line("D4 E4 D4", "below")
    clips = [short, long, short, long]
    played = play_episodes(clips, env)
    assert played.valid.sum(axis=0).tolist() == [3, 4, 3, 4]
    assert played.observations.shape[2:] == env.single_observation_space.shape
    one = make_task("descant/Counterpoint-v0", cantus="D4 F4 E4 D4", position="above")
    np.testing.assert_array_equal(played.observations[0, 1], one.observe(one.starts())[0])
    np.testing.assert_array_equal(played.observations[:, 1], played.observations[:, 3])
    assert played.masks is not None
    assert np.take_along_axis(played.masks, played.actions[..., None], 2)[..., 0][played.valid].all()


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (clip(0, 3), "another vocabulary"),
        (
            Clip("descant/Melody-v0", {}, (0, 1), "m"),
            "written in descant/Melody-v0, not in descant/Tokens-v0",
        ),
        (clip(0, 1, tokens=4), "other observations or another vocabulary"),
        (clip(0, 1, steps=3), "other observations or another vocabulary"),
        (clip(0), "no whole episode .* after 1 steps"),
        (clip(0, 1, 1), "goes on after its end"),
        (clip(0, 1, colour="red"), "No descant/Tokens-v0 can be made"),
        (clip(), "holds nothing"),
    ],
)
def test_clips_that_do_not_fit_are_refused(made: Clip, message: str) -> None:
    with pytest.raises(DescantError, match=message):
        play_episodes([clip(0, 1), made], gymnasium.make_vec(TOKENS, num_envs=2, **SIZE))


def test_clips_that_do_not_say_what_they_began_from_or_break_the_mask_are_refused() -> None:
    env = gymnasium.make_vec("descant/Counterpoint-v0", num_envs=2, pool=64)
    with pytest.raises(DescantError, match="does not say what it began from"):
        play_episodes([Clip("descant/Counterpoint-v0", {}, (1, 2), "m")], env)
    with pytest.raises(DescantError, match="at step 1 that is not allowed"):
        play_episodes([counterpoint_clip("D4 E4 D4", "above", [0, 0, 0], "m")], env)
    with pytest.raises(DescantError, match="no clips to play"):
        play_episodes([], env)
    with pytest.raises(DescantError, match="descant's environments only"):
        play_episodes([clip(0, 1)], gymnasium.make_vec("CartPole-v1", num_envs=1))


def test_a_task_of_ones_own_needs_no_name() -> None:
    env = TaskVectorEnv(make_task(TOKENS, **SIZE), 1)
    assert play_episodes([Clip(TOKENS, {}, (0, 1), "m")], env).actions.tolist() == [[0], [1]]
