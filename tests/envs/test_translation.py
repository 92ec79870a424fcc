"""The translation task: checkers, both shells, masks, order, groups, metrics, other code's agents."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from sacrebleu.metrics import BLEU
from stable_baselines3.common.env_checker import check_env as sb3_check_env

import descant
from descant.envs.translation import Translation
from descant.errors import DescantError
from descant.rollouts import Collector
from descant.shells import SB3VecEnv, TaskVectorEnv
from descant.tasks import join_rows, put_rows, replay, row_fields, take_rows
from descant.text import grammar
from descant.text.vocabularies import BOS, EOS, PAD, UNK

from ..translating import RNG, near_references, run

ID = "descant/Translation-v0"
SMALL: dict[str, Any] = {"size": 60, "max_words": 10}


def random_actions(mask: Any, rng: np.random.Generator) -> Any:
    return (rng.random(mask.shape) * mask).argmax(axis=-1)


@pytest.mark.parametrize(
    "options", [{}, {"force_eos": False, "max_length": 4, "reward": {"name": "bleu", "mode": "delta"}}]
)
def test_both_checkers_pass(options: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gymnasium.make(ID, render_mode="ansi", **options, **SMALL).unwrapped)
        sb3_check_env(gymnasium.make(ID, **options, **SMALL).unwrapped)


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
@pytest.mark.parametrize("force_eos", [True, False])
def test_single_and_vector_agree(mode: str, force_eos: bool) -> None:
    options = SMALL | {"order": "sequential", "force_eos": force_eos, "max_length": 6}
    singles = [gymnasium.make(ID, **options) for _ in range(3)]
    vector = gymnasium.make_vec(ID, num_envs=3, autoreset_mode=mode, **options)
    seen, _ = vector.reset(seed=0)
    alone = [env.reset(options={"first": i})[0] for i, env in enumerate(singles)]
    for env in singles:  # in the vector each goes on by three
        states: Any = env.unwrapped
        states._states = [put_stride(states._states[0], 3)]
    rng, waiting, ends = np.random.default_rng(0), [False] * 3, 0
    for _ in range(60):
        for name in seen:
            np.testing.assert_array_equal(seen[name], [o[name] for o in alone])
        masks = vector.unwrapped.action_masks()  # type: ignore[attr-defined]
        actions = random_actions(masks, rng) if force_eos else rng.integers(4, 30, 3)
        seen, rewards, terminated, truncated, infos = vector.step(actions)
        for i, env in enumerate(singles):
            if waiting[i]:
                alone[i], waiting[i] = env.reset()[0], False
                continue
            alone[i], reward, end, cut, info = env.step(actions[i])
            assert (reward, end, cut) == (rewards[i], terminated[i], truncated[i])
            if end or cut:
                ends += 1
                assert info["metrics"].keys() == {"bleu", "exact", "length_ratio", "eos"}
                if mode == "SameStep":
                    for name in alone[i]:
                        np.testing.assert_array_equal(infos["final_obs"][i][name], alone[i][name])
                    alone[i] = env.reset()[0]
                else:
                    waiting[i] = True
    assert ends > 20


def put_stride(state: Any, stride: int) -> Any:
    put_rows(state, slice(None), state)
    state.stride[:] = stride
    return state


def test_what_an_observation_says() -> None:
    task = Translation(**SMALL)
    state = task.reset(RNG, 2, {"pairs": [3, 5]})
    state, _, _ = task.step(state, np.array([7, 8]), RNG)
    seen = task.observe(state)
    source = task.pairs.codecs[0].encode(task.pairs.text.source[5])
    assert seen["source"][1].tolist() == [*source, EOS] + [PAD] * (10 - len(source))
    assert seen["target"].tolist() == [[7] + [PAD] * 10, [8] + [PAD] * 10]
    assert seen["position"].tolist() == [1, 1]
    for row in range(2):
        assert {name: part[row] for name, part in seen.items()} in task.observation_space
    assert {name: part.dtype for name, part in seen.items()} == {
        name: space.dtype
        for name, space in task.observation_space.spaces.items()  # type: ignore[attr-defined]
    }


def test_masks_forbid_specials_eos_at_once_and_all_but_eos_at_last() -> None:
    task = Translation(max_length=4, **SMALL)
    free = Translation(max_length=4, force_eos=False, **SMALL)
    state = task.reset(RNG, 1)
    for t in range(4):
        mask, other = task.action_mask(state)[0], free.action_mask(state)[0]
        assert not mask[[PAD, BOS, UNK]].any()
        assert mask[EOS] == (t > 0)
        assert mask[UNK + 1 :].all() == (t < 3)
        assert mask[UNK + 1 :].any() == (t < 3)
        assert not other[[PAD, BOS, UNK]].any()
        assert other[EOS] == (t > 0)
        assert other[UNK + 1 :].all()
        np.testing.assert_array_equal(task.observation_mask(task.observe(state))[0], mask)
        state, _, _ = task.step(state, np.array([9]), RNG)
    assert task.action_mask(state).any()


def test_eos_terminates_and_the_limit_truncates() -> None:
    env = gymnasium.make(ID, max_length=5, **SMALL)
    env.reset(seed=0)
    flags = [env.step(9)[2:4] for _ in range(5)]
    assert flags == [(False, False)] * 4 + [(False, True)]
    env.reset()
    env.step(9)
    assert env.step(EOS)[2:4] == (True, False)
    vector = gymnasium.make_vec(ID, num_envs=2, max_length=5, **SMALL)
    vector.reset(seed=0)
    flags = [vector.step(np.array([9, EOS if t == 1 else 9]))[2:4] for t in range(5)]
    assert [f[0].tolist() for f in flags] == [[False, t == 1] for t in range(5)]
    assert [f[1].tolist() for f in flags] == [[t == 4, False] for t in range(5)]


def test_a_shorter_limit_of_the_user_wins() -> None:
    for limit, steps in ((3, 3), (9, 5)):
        vector = gymnasium.make_vec(ID, num_envs=1, max_length=5, max_episode_steps=limit, **SMALL)
        vector.reset(seed=0)
        cut = [bool(vector.step(np.array([9]))[3][0]) for _ in range(5)]
        assert cut.index(True) == steps - 1


def test_what_is_forbidden_is_written_and_worth_nothing() -> None:
    task = Translation(**SMALL)
    state = task.reset(RNG, 4)
    after, reward, ended = task.step(state, np.array([PAD, BOS, UNK, EOS]), RNG)
    assert after.position.tolist() == [1] * 4
    assert ended.tolist() == [False, False, False, True]
    assert not reward.any()
    assert not after.correct.any()
    assert task.metrics(after)["bleu"].tolist() == [0.0] * 4


def test_what_has_ended_or_is_full_stays_as_it_is() -> None:
    task = Translation(max_length=3, **SMALL)
    state = task.reset(RNG, 2)
    for action in ([9, 9], [EOS, 9], [9, 9]):
        state, _, _ = task.step(state, np.array(action), RNG)
    after, reward, _ = task.step(state, np.array([10, 10]), RNG)
    assert not reward.any()
    for field in ("target", "position", "ended", "free", "correct"):
        np.testing.assert_array_equal(getattr(after, field), getattr(state, field))
    assert state.length.tolist() == [1, 3]


@pytest.mark.parametrize("reward", ["bleu", {"name": "bleu", "mode": "delta"}, "repetition"])
def test_a_step_leaves_its_arguments_as_they_were(reward: Any) -> None:
    task = Translation(reward=reward, **SMALL)
    state = task.reset(np.random.default_rng(0), 5)
    for t in range(6):
        kept = {field: getattr(state, field).copy() for field in row_fields(state)}
        action = np.array([4, 5, 6, EOS, 4 + t])
        one, two = task.step(state, action, RNG), task.step(state, action, np.random.default_rng(1))
        task.observe(state)["target"][:] = -1
        task.action_mask(state)[:] = False
        for field, was in kept.items():
            np.testing.assert_array_equal(getattr(state, field), was)
            np.testing.assert_array_equal(getattr(one[0], field), getattr(two[0], field))
            assert not np.shares_memory(getattr(one[0], field), getattr(state, field)), field
        np.testing.assert_array_equal(one[1], two[1])
        assert not np.shares_memory(one[2], one[0].ended)
        state = one[0]


def test_rows_do_not_touch_one_another() -> None:
    task = Translation(references=3, reward={"name": "bleu", "mode": "delta"}, **SMALL)
    rows = np.arange(30)
    actions = near_references(task, rows, seed=1)
    states, rewards, _ = run(task, rows, actions)
    for row in rows:
        alone, own, _ = run(task, rows[row : row + 1], actions[row : row + 1])
        np.testing.assert_array_equal(rewards[: len(own), row], own[:, 0])
        assert alone[-1].target[0].tolist() == states[-1].target[row].tolist()
    mixed = join_rows([take_rows(states[2], [4, 1]), take_rows(states[0], [2])])
    after, _, _ = task.step(mixed, np.array([9, 9, 9]), RNG)
    assert after.position.tolist() == [3, 3, 1]


def test_metrics_say_what_the_class_promises() -> None:
    task = Translation(size=200)
    rows = np.arange(200)
    actions = near_references(task, rows, share=0.05)
    states, _, _ = run(task, rows, actions)
    found = task.metrics(states[-1])
    sacre = BLEU(tokenize="none", effective_order=True)
    words = task.pairs.codecs[1].tokens
    for row in rows:
        written, source = actions[row][:-1], task.pairs.text.source[row]
        reference = task.pairs.codecs[1].encode(task.pairs.text.target[row])
        texts = [" ".join(words(ids)) for ids in (written, reference)]
        assert found["bleu"][row] == pytest.approx(sacre.sentence_score(texts[0], texts[1:]).score, abs=1e-9)
        assert found["exact"][row] == grammar.accepts(source, task.pairs.codecs[1].decode(written))
        assert found["length_ratio"][row] == len(written) / len(reference)
    assert found["eos"].tolist() == [float(len(each) < task.max_steps) for each in actions]  # type: ignore[operator]
    assert 0.2 < found["exact"].mean() < 0.9


# Order, splits, groups.


def test_sentences_are_drawn_evenly_from_the_split() -> None:
    task = Translation(split="val", **SMALL)
    drawn = task.reset(np.random.default_rng(0), 6000).pair
    assert np.bincount(drawn, minlength=60).min() > 60
    assert all(grammar.split_of(source) == "val" for source in task.pairs.text.source)


def test_sequential_order_goes_through_all() -> None:
    vector = gymnasium.make_vec(ID, num_envs=4, order="sequential", autoreset_mode="SameStep", **SMALL)
    vector.reset(seed=0)
    task_vector: Any = vector.unwrapped
    seen: list[list[int]] = [[] for _ in range(4)]
    rng = np.random.default_rng(0)
    while min(map(len, seen)) < 15:
        before = task_vector._state.pair.copy()
        _, _, ended, _, _ = vector.step(random_actions(task_vector.action_masks(), rng))
        for row in np.flatnonzero(ended):
            seen[row].append(int(before[row]))
    for row, each in enumerate(seen):
        assert each[:15] == list(range(row, 60, 4))
    single = gymnasium.make(ID, order="sequential", **SMALL)
    sources = []
    for _ in range(62):
        seen_now, _ = single.reset()
        sources.append(tuple(seen_now["source"]))
    assert len(set(sources)) == 60
    assert sources[60:] == sources[:2]
    assert tuple(single.reset(seed=0)[0]["source"]) == sources[0]
    assert tuple(single.reset(options={"first": 7})[0]["source"]) == sources[7]
    assert tuple(single.reset()[0]["source"]) == sources[8]


def test_rows_of_a_group_translate_the_same() -> None:
    for order in ("random", "sequential"):
        vector = gymnasium.make_vec(ID, num_envs=6, order=order, **SMALL)
        seen, _ = vector.reset(seed=0, options={"group_size": 3})
        first = seen["source"]
        assert (first[:3] == first[0]).all()
        assert (first[3:] == first[3]).all()
        assert (first[0] != first[3]).any()


@pytest.mark.parametrize(
    "options",
    [{"first": 60}, {"first": -1}, {"first": "a"}, {"pairs": [0]}, {"pairs": [0, 1.5]}, {"other": 1}],
)
def test_bad_reset_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(DescantError):
        Translation(**SMALL).reset(RNG, 2, options)


@pytest.mark.parametrize(
    "options",
    [{"order": "sorted"}, {"max_length": 1}, {"split": "dev"}, {"data": "/nowhere"}, {"reward": "blue"}],
)
def test_bad_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(DescantError):
        gymnasium.make(ID, **SMALL | options)


def test_it_reads_files_with_subwords(tmp_path: Path) -> None:
    pairs = grammar.generate("train", 80)
    for name, texts in (("train.en", pairs.source), ("train.xx", pairs.target)):
        (tmp_path / name).write_text("\n".join(texts) + "\n", encoding="utf-8")
    env = gymnasium.make_vec(ID, num_envs=2, data=str(tmp_path), subwords=100)
    task: Any = env.unwrapped.task  # type: ignore[attr-defined]
    assert env.single_action_space.n == 100  # type: ignore[attr-defined]
    ids = [*task.pairs.codecs[1].encode(pairs.target[3]), EOS]
    states, rewards, _ = run(task, np.array([3]), [ids])
    assert rewards.sum() == pytest.approx(1)
    assert task.metrics(states[-1])["exact"].tolist() == [1.0]


# What other code does with it.


def test_rollouts_resume_where_they_stood() -> None:
    vectors = [TaskVectorEnv(Translation(order="sequential", **SMALL), 3) for _ in range(2)]

    def act(observation: Any, masks: Any, starts: Any) -> Any:
        return random_actions(masks, np.random.default_rng(int(observation["position"].sum())))

    whole, first = Collector(vectors[0]), Collector(vectors[1])
    whole.reset(seed=1), first.reset(seed=1)
    rollout = whole.steps(30, act)
    first.steps(13, act)
    again = Collector(TaskVectorEnv(Translation(order="sequential", **SMALL), 3))
    again.set_state(*first.get_state())
    rest = again.steps(17, act)
    np.testing.assert_array_equal(rest.actions, rollout.actions[13:])
    np.testing.assert_array_equal(rest.rewards, rollout.rewards[13:])
    for name, part in rollout.observations.items():
        np.testing.assert_array_equal(rest.observations[name], part[13:])
    assert set(rollout.metrics) == {"bleu", "exact", "length_ratio", "eos"}


def test_sb3s_multi_input_policy_runs_on_it() -> None:
    from stable_baselines3 import PPO

    options = {"size": 20, "max_words": 6}
    bridge: Any = SB3VecEnv(gymnasium.make_vec(ID, num_envs=4, autoreset_mode="SameStep", **options))
    model = PPO("MultiInputPolicy", bridge, n_steps=8, batch_size=16, n_epochs=1, device="cpu").learn(64)
    action, _ = model.predict(bridge.reset())
    assert action.shape == (4,)


@pytest.mark.parametrize("name", ["reinforce", "ppo", "rloo", "em", "sb3/maskable-ppo"])
def test_agents_run_on_it(name: str, tmp_path: Path) -> None:
    env = gymnasium.make_vec(ID, num_envs=8, size=20, max_words=6, autoreset_mode="SameStep")
    agent = descant.make_agent(name, env, **({"n_steps": 8} if "ppo" in name else {}))
    agent.learn(total_timesteps=64).save(tmp_path / "agent")
    seen, _ = env.reset(seed=0)
    loaded = descant.load_agent(tmp_path / "agent")
    one, two = (each.predict(seen, deterministic=True)[0] for each in (agent, loaded))
    np.testing.assert_array_equal(one, two)
    assert env.unwrapped.action_masks()[np.arange(8), one].all()  # type: ignore[attr-defined]


def test_it_is_shown_in_words() -> None:
    task = Translation(size=100)
    row = next(i for i, text in enumerate(task.pairs.text.source) if text.startswith("the man"))
    start = task.reset(RNG, 1, {"pairs": [row]})
    ids = task.pairs.codecs[1].encode(task.pairs.text.target[row])
    drawn = task.render(replay(task, start, [*ids, EOS]), "ansi").split("\n")
    assert drawn[0] == f"   source | {task.pairs.text.source[row]}"
    assert drawn[1] == f"   target | {task.pairs.text.target[row]} <eos>"
    assert drawn[2] == f"reference | {task.pairs.text.target[row]}"
    assert task.render(replay(task, start, ids[:1]), "ansi").split("\n")[1].endswith(" ...")
