"""The reward `preference`: the same score in a store, in an environment and over its steps; and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import descant
from descant.errors import DescantError
from descant.music.keys import Key
from descant.preferences.clips import counterpoint_clip, melody_clip
from descant.registry import tasks
from descant.reward_models.comparisons import KeepsLine, clip_items
from descant.reward_models.fitting import Fitted
from descant.reward_models.models import Config, make_model
from descant.reward_models.saving import load_reward_model, save_reward_model
from descant.reward_models.views import view_of
from descant.tasks import Episode, needs_line

RNG = np.random.default_rng(0)
COUNTERPOINT, MELODY, TRANSLATION = (f"descant/{n}-v0" for n in ("Counterpoint", "Melody", "Translation"))
OPTIONS: dict[str, dict[str, Any]] = {
    COUNTERPOINT: {"cantus": "fux"},
    MELODY: {"steps": 9, "key": "D", "mode": "dorian"},
    TRANSLATION: {"size": 16},
}
ENVIRONMENTS = list(OPTIONS)
seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of each environment, for whole episodes and by steps. Nothing is fitted: any weights will do."""
    path = tmp_path_factory.mktemp("models")
    for environment in ENVIRONMENTS:
        task = tasks.get(environment)(**OPTIONS[environment], reward=KeepsLine())
        view = view_of(environment, task.reset(RNG, 1))
        for name, per_step, trunk in (("", False, "mlp"), ("-steps", True, "lstm"), ("-alone", True, "mlp")):
            config = Config(models=3, hidden=(8, 8), per_step=per_step, trunk=trunk)  # type: ignore[arg-type]
            model = make_model("btl", view.space, config)
            model.offsets += 0.5
            save_reward_model(path / f"{place(environment)}{name}", Fitted(model, {}), view)
    return path


def place(environment: str, per_step: bool = False) -> str:
    return environment.split("/")[1] + ("-steps" if per_step else "")


def played(task: Any, n: int, seed: int) -> tuple[list[Any], list[Any], Any]:
    """States, actions and rewards [T, n] of random episodes, two steps longer than the longest."""
    rng = np.random.default_rng(seed)
    states, actions, rewards, over, after = [task.reset(rng, n)], [], [], np.zeros(n, bool), 0
    while after < 2:
        mask = task.action_mask(states[-1])
        chosen = np.where(mask.any(1), np.argmax(rng.random(mask.shape) * mask, axis=1), 0)
        state, reward, ended = task.step(states[-1], chosen, rng)
        states.append(state)
        actions.append(chosen)
        rewards.append(reward)
        over |= ended
        after += over.all()
    return states, actions, np.array(rewards)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize(("mode", "model"), [("terminal", ""), ("delta", "-steps"), ("delta", "-alone")])
@pytest.mark.parametrize("aggregate", ["mean", "min", "mean-variance"])
@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=seeds)
def test_steps_sum_to_the_score_of_the_whole(
    folder: Path, environment: str, mode: str, model: str, aggregate: str, seed: int
) -> None:
    spec = {"name": "preference", "path": folder / f"{place(environment)}{model}"}
    reward = descant.make_reward({**spec, "mode": mode, "aggregate": aggregate, "penalty": 0.7})
    task = tasks.get(environment)(**OPTIONS[environment], reward=reward)
    states, actions, rewards = played(task, 4, seed)
    saved = load_reward_model(spec["path"])
    whole = saved.score(saved.view.items(states[-1]), aggregate, 0.7)
    np.testing.assert_allclose(rewards.sum(0), whole, atol=1e-4)
    assert np.abs(whole).min() > 0
    terms = reward.terms(states[0], actions[0], states[1])
    assert list(terms) == ["preference"]
    np.testing.assert_array_equal(terms["preference"], rewards[0])


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=seeds)
def test_steps_that_hang_on_no_other_are_scored_once_and_alike(
    folder: Path, environment: str, seed: int
) -> None:
    path = folder / f"{place(environment)}-alone"
    reward = descant.make_reward({"name": "preference", "path": path, "mode": "delta"})
    task = tasks.get(environment)(**OPTIONS[environment], reward=reward)
    states, actions, rewards = played(task, 4, seed)
    slow = descant.make_reward({"name": "preference", "path": path, "mode": "delta"})
    slow.alone = False
    expected = [slow(*step) for step in zip(states[:-1], actions, states[1:], strict=True)]
    np.testing.assert_allclose(rewards, expected, atol=1e-5)
    seen: list[int] = []
    steps = reward.saved.model.steps
    reward.saved.model.steps = lambda items: seen.append(items.columns.shape[1]) or steps(items)
    reward(states[2], actions[2], states[3])
    assert seen == [1]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_single_and_vector_environments_pay_alike(folder: Path, environment: str) -> None:
    spec = f"preference:{folder / place(environment)}"
    options = OPTIONS[environment] | (
        {"order": "sequential"} if environment == TRANSLATION else {"position": "above"}
    )
    options = {k: v for k, v in options.items() if k != "position" or environment == COUNTERPOINT}
    if environment == COUNTERPOINT:
        options["cantus"] = "dorian"
    single = gymnasium.make(environment, reward=spec, **options)
    vector = gymnasium.make_vec(environment, num_envs=1, reward=spec, **options)
    single.reset(seed=3)
    vector.reset(seed=3)
    rng, total, done = np.random.default_rng(0), 0.0, False
    while not done:
        mask = single.unwrapped.action_masks()  # type: ignore[attr-defined]
        action = int(rng.choice(np.flatnonzero(mask)))
        _, one, done, _, _ = single.step(action)
        _, many, _, _, _ = vector.step(np.array([action]))
        assert one == pytest.approx(float(many[0]))
        assert (one != 0) == done
        total += one
    assert total != 0


def test_a_clip_in_a_store_is_worth_what_it_is_worth_in_the_environment(folder: Path) -> None:
    line = (14, 21, 20, 19, 18, 20, 22, 23, 21, 20, 21)
    melodies = [melody_clip(Key("D", "dorian"), [16, 1, 18, 0, 20, 1, 1, 1, 16], "m")]
    melodies.append(melody_clip(Key("C", "major"), [16, 1, 18, 0, 20, 1, 1, 1, 16], "m"))
    cantus = "D4 F4 E4 D4 G4 F4 A4 G4 F4 E4 D4"
    for clips, options in (
        (melodies, [{"steps": 9, "key": "D", "mode": "dorian"}, {"steps": 9}]),
        ([counterpoint_clip(cantus, side, line, "m") for side in ("above", "below")],
         [{"cantus": cantus, "position": side} for side in ("above", "below")]),
    ):  # fmt: skip
        environment = clips[0].environment
        items, _ = clip_items(clips)
        saved = load_reward_model(folder / place(environment))
        scores = saved.score(items)
        assert scores[0] != scores[1]  # the key and the side are seen
        for clip, own, score in zip(clips, options, scores, strict=True):
            env = gymnasium.make(environment, reward=f"preference:{folder / place(environment)}", **own)
            env.reset(seed=0)
            assert float([env.step(token)[1] for token in clip.tokens][-1]) == pytest.approx(score, abs=1e-5)


def test_models_of_other_environments_and_words_are_refused(folder: Path, tmp_path: Path) -> None:
    for environment in ENVIRONMENTS:
        for other in ENVIRONMENTS:
            env = gymnasium.make(
                environment, reward=f"preference:{folder / place(other)}", **OPTIONS[environment]
            )
            env.reset(seed=0)
            if other == environment:
                env.step(5)
            else:
                with pytest.raises(DescantError, match=f"fitted to {other}"):
                    env.step(5)
    for side in ("source", "target"):
        (tmp_path / side).write_text("a b c\nb c d\n")
    files = {side: str(tmp_path / side) for side in ("source", "target")}
    for changed in ({"size": 16, "max_length": 9}, {"data": files}):
        env = gymnasium.make(TRANSLATION, reward=f"preference:{folder / place(TRANSLATION)}", **changed)
        env.reset(seed=0)
        with pytest.raises(DescantError, match="another vocabulary"):
            env.step(5)


def test_bad_options_are_refused(folder: Path, tmp_path: Path) -> None:
    path = folder / place(MELODY)
    for wrong, words in (
        ({"aggregate": "mode"}, "mean-variance"),
        ({"mode": "dense"}, "terminal"),
        ({"penalty": -1.0}, "penalty"),
        ({"annotator": "ann"}, "does not tell annotators apart"),
        ({"mode": "delta"}, "--per-step"),
        ({"path": tmp_path / "none"}, "no checkpoint"),
    ):
        with pytest.raises(DescantError, match=words):
            descant.make_reward({"name": "preference", "path": path, **wrong})


def test_sums_and_shaping_ask_for_lines_too(folder: Path) -> None:
    preference = {"name": "preference", "path": folder / place(COUNTERPOINT)}
    both = descant.make_reward({"name": "sum", "rewards": ["fux", {**preference, "weight": 2.0}]})
    assert needs_line(both)
    assert not needs_line(descant.make_reward({"name": "sum", "rewards": ["fux"]}))
    assert needs_line(
        descant.make_reward({"name": "shaped", "reward": preference, "potential": lambda s: s.note * 0.1})
    )
    for reward in (both, preference):
        task = tasks.get(COUNTERPOINT)(cantus="dorian", reward=reward)
        _, _, rewards = played(task, 2, 0)
        assert np.isfinite(rewards).all()
    with pytest.raises(DescantError, match="whole lines"):
        task.key(task.starts())


def test_what_is_below_average_is_explained(folder: Path) -> None:
    reward: Any = descant.make_reward(f"preference:{folder / place(COUNTERPOINT)}")
    task = tasks.get(COUNTERPOINT)(cantus="dorian", position="above", reward=reward)
    for seed in range(20):
        states, actions, rewards = played(task, 1, seed)
        states, actions = states[:12], actions[:11]
        episode: Episode[Any] = Episode(tuple(states), tuple(int(a[0]) for a in actions))
        found = reward.explain(episode)
        worth = float(rewards.sum())
        assert [f.cost for f in found] == pytest.approx([-worth] if worth < 0 else [], abs=1e-6)
        assert not reward.explain(Episode(tuple(states[:5]), episode.actions[:4]))
        if found:
            assert (found[0].rule, found[0].position) == ("preference", 11)
            return
    raise AssertionError("no line was below average")
