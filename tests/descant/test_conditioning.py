"""Tasks that are for somebody: what the agent sees, what the reward asks, and policies that read or do not read it."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env

from descant.compositions import write_compositions
from descant.conditioning import Blind, Conditioned, Conditions, Given, beneath, code_of, with_code
from descant.errors import DescantError
from descant.makers import load_agent, make_agent, make_reward
from descant.music.melody_states import State as MelodyState
from descant.reward_models.comparisons import KeepsLine, make_comparisons
from descant.reward_models.fitting import Fitted
from descant.reward_models.models import config_of, make_model
from descant.reward_models.saving import load_reward_model, save_reward_model
from descant.reward_models.views import view_of
from descant.shells import TaskVectorEnv, make_task
from descant.tasks import Bools, Floats, Ints, Task, join_rows, take_rows

COUNTERPOINT, MELODY = "descant/Counterpoint-v0", "descant/Melody-v0"
OPTIONS: dict[str, dict[str, Any]] = {COUNTERPOINT: {"cantus": "fux"}, MELODY: {"steps": 6}}
NAMES = ("ann", "bob", "carl")
KINDS: dict[str, dict[str, Any]] = {
    "vpl": {"models": 2, "width": 8, "dimensions": 3},
    "vpl-spo": {"width": 8, "scaling": "spo"},
    "per-user": {"models": 2, "dimensions": 3},
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of each kind and environment that tells three apart. Nothing is fitted: any weights will do."""
    path, rng = tmp_path_factory.mktemp("models"), np.random.default_rng(0)
    for environment, options in OPTIONS.items():
        task = make_task(environment, **options, reward=KeepsLine())
        view = view_of(environment, task.reset(rng, 1))
        for name, own in KINDS.items():
            kind = name.removesuffix("-spo")
            model: Any = make_model(kind, view.space, config_of(kind)(hidden=(8, 8), seed=3, **own), NAMES)
            if kind == "vpl":
                model.codes.normal_()
                model.references.normal_()
            model.offsets += 0.5
            save_reward_model(path / f"{environment[8:]}-{name}", Fitted(model, {}), view)
    return path


def spec(models: Path, environment: str, kind: str = "vpl", **whose: Any) -> dict[str, Any]:
    whose = whose or {"annotators": "all"}
    return {"name": "preference", "path": str(models / f"{environment[8:]}-{kind}"), **whose}


def played(task: Task[Any], state: Any, seed: int) -> tuple[list[Any], Floats]:
    """The states of episodes played at random, to where all have ended, and the sums of their rewards."""
    rng, states, total = np.random.default_rng(seed), [state], 0.0
    over: Bools = np.zeros(len(task.action_mask(state)), bool)
    while not over.all():
        mask = task.action_mask(states[-1])
        chosen = np.where(mask.any(1), (rng.random(mask.shape) * mask).argmax(axis=1), 0)
        state, reward, ended = task.step(states[-1], chosen, rng)
        states.append(state)
        total, over = total + reward * ~over, over | ended
    return states, np.asarray(total)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("environment", OPTIONS)
def test_each_episode_is_worth_what_its_annotator_says(models: Path, environment: str, kind: str) -> None:
    task = make_task(environment, **OPTIONS[environment], reward=spec(models, environment, kind))
    whose = [NAMES[i] for i in (2, 0, 1, 2, 2, 0)]
    start = task.reset(np.random.default_rng(1), 6, {"annotator": whose})
    states, total = played(task, start, 2)
    codes = task.conditions.codes  # type: ignore[attr-defined]
    assert all((code_of(state) == codes[[NAMES.index(name) for name in whose]]).all() for state in states)
    for i, name in enumerate(NAMES):
        rows = np.flatnonzero(np.array(whose) == name)
        for own in ({"annotator": name}, {"code": codes[i].tolist()}):
            plain = make_task(
                environment, **OPTIONS[environment], reward=spec(models, environment, kind, **own)
            )
            alone: Any = plain.reward  # type: ignore[attr-defined]
            assert np.allclose(total[rows], alone.score(take_rows(states[-1], rows)), atol=1e-6)
    assert len(np.unique(total)) == len(total)  # they differ at all


@pytest.mark.parametrize("environment", OPTIONS)
def test_it_is_an_environment_as_any_other_that_shows_whom_it_is_for(models: Path, environment: str) -> None:
    options = OPTIONS[environment] | {"reward": spec(models, environment)}
    check_env(gymnasium.make(environment, **options).unwrapped, skip_render_check=True)
    env = gymnasium.make_vec(environment, num_envs=64, **options)
    codes = env.unwrapped.task.conditions.codes.astype(np.float32)  # type: ignore[attr-defined]
    seen, _ = env.reset(seed=0)
    first = seen["code"]
    assert seen in env.observation_space
    assert {tuple(row) for row in first.tolist()} == {tuple(row) for row in codes.tolist()}
    env.unwrapped.watch_terms(True)  # type: ignore[attr-defined]
    ended = np.zeros(64, bool)
    for _ in range(60):
        was, before = ended, seen["code"]
        mask = env.unwrapped.action_masks()  # type: ignore[attr-defined]
        seen, rewards, ended, _, _ = env.step(mask.argmax(axis=1))
        assert (seen["code"][~was] == before[~was]).all()  # until the next episode
        (term,) = env.unwrapped.terms().values()  # type: ignore[attr-defined]
        assert np.allclose(term, rewards)
        if was.all():
            break
    assert (seen["code"] != before).any()  # then somebody else is drawn


def test_rows_go_with_their_codes(models: Path) -> None:
    task = make_task(MELODY, steps=6, reward=spec(models, MELODY))
    rng = np.random.default_rng(0)
    state = task.reset(rng, 5)
    assert isinstance(state, MelodyState)
    both = join_rows([take_rows(state, [3, 1]), take_rows(state, slice(0, 1))])
    assert (code_of(both) == code_of(state)[[3, 1, 0]]).all()
    other = with_code(state, code_of(state) * 2)
    assert type(other) is type(state)
    assert (code_of(other) == code_of(state) * 2).all()
    vector = TaskVectorEnv(task, 6)
    vector.reset(seed=1, options={"group_size": 3})  # rows that start alike are for the same
    assert (code_of(vector.state)[:3] == code_of(vector.state)[0]).all()
    arrays, plain = vector.get_state()
    again = TaskVectorEnv(task, 6)
    again.set_state(arrays, plain)
    assert (code_of(again.state) == code_of(vector.state)).all()
    assert (copy.deepcopy(task).observe(state)["code"] == code_of(state).astype(np.float32)).all()


def test_a_reset_says_whom_it_is_for(models: Path) -> None:
    task: Any = make_task(MELODY, steps=6, reward=spec(models, MELODY))
    rng, codes = np.random.default_rng(0), task.conditions.codes
    assert (code_of(task.reset(rng, 3, {"annotator": "bob"})) == codes[1]).all()
    assert (code_of(task.reset(rng, 2, {"code": codes[:2] * 2})) == codes[:2] * 2).all()
    primed = task.reset(rng, 2, {"annotator": "bob", "primer": "D4"})
    assert task.action_mask(primed).sum() == 2
    for options, words in (
        ({"annotator": "bo"}, r"for 'bo' here\. Did you mean 'bob'"),
        ({"annotator": "bob", "code": codes[1]}, "give one of the two"),
        ({"code": [1.0]}, r"6 finite numbers, the same for all or for each of 3 rows, not \(1,\)"),
        ({"code": np.full(6, np.nan)}, "finite"),
        ({"annotater": "bob"}, "Unknown reset option 'annotater'"),
    ):
        with pytest.raises(DescantError, match=words):
            task.reset(rng, 3, options)


def test_what_can_t_be_is_refused(models: Path) -> None:
    for whose, words in (
        ({"annotators": ["ann", "bo"]}, "knows no annotator 'bo'"),
        ({"annotators": []}, "name one at least"),
        ({"annotators": "all", "annotator": "ann"}, "give only one"),
        ({"code": [1.0, 2.0]}, r"6 finite numbers, not \(2,\)"),
    ):
        with pytest.raises(DescantError, match=words):
            make_reward(spec(models, MELODY, **whose))
    reward: Any = make_reward(spec(models, MELODY))
    plain = make_task(MELODY, steps=6, reward="rl-tuner")
    state = plain.reset(np.random.default_rng(0), 2)
    with pytest.raises(
        DescantError, match=r"this one is for nobody: make the environment by gymnasium\.make"
    ):
        reward(state, np.zeros(2, np.int64), state)
    twice = {"name": "sum", "rewards": [spec(models, MELODY), spec(models, MELODY)]}
    with pytest.raises(DescantError, match="Two parts of a sum"):
        make_reward(twice)
    translation = make_task("descant/Translation-v0", size=16)
    with pytest.raises(DescantError, match="Translation-v0 can't be for several annotators at once"):
        Conditioned(translation, Conditions(("ann",), np.zeros((1, 2))))
    with pytest.raises(DescantError, match="does not see whom it is for"):
        Given(make_agent("random", TaskVectorEnv(plain, 1)), np.zeros(2))


def test_a_model_of_one_taste_has_no_codes(tmp_path: Path) -> None:
    view = view_of(MELODY, make_task(MELODY, steps=6).reset(np.random.default_rng(0), 1))
    model = make_model("btl", view.space, config_of("btl")(models=1, hidden=(8,)))
    save_reward_model(tmp_path / "btl", Fitted(model, {}), view)
    for whose in ({"annotators": "all"}, {"code": [1.0]}):
        with pytest.raises(
            DescantError, match="kind btl knows no annotators: fit one of kind vpl or per-user"
        ):
            make_reward({"name": "preference", "path": str(tmp_path / "btl"), **whose})


@pytest.mark.parametrize("kind", ["vpl", "per-user"])
def test_a_code_is_read_off_comparisons_of_somebody_new(models: Path, kind: str) -> None:
    saved = load_reward_model(models / f"Melody-v0-{kind}")
    task, rng = make_task(MELODY, steps=6), np.random.default_rng(0)
    last = played(task, task.reset(rng, 20), 0)[0][-1]
    pairs = rng.permuted(np.tile(np.arange(20), (12, 1)), axis=1)[:, :2]
    data = make_comparisons(saved.view.items(last), pairs, rng.integers(0, 2, 12), np.full(12, 1))
    code = saved.model.read_code(data)
    assert code.shape == saved.model.codes_of_annotators()[0].shape
    wanted: Any = saved.model
    if kind == "vpl":
        zeros = dataclasses.replace(data, annotators=data.annotators * 0)
        expected = wanted.with_code(saved.view.items(last), wanted.posterior(zeros).mean[:, 0])
    else:
        expected = wanted.with_head(saved.view.items(last), wanted.head(data))
    found = wanted.scores_by_code(saved.view.items(last), code.expand(20, -1))
    assert np.allclose(found, (expected - wanted.offsets[:, None]).detach(), atol=1e-5)


@pytest.mark.parametrize("recurrent", [False, True])
def test_a_policy_may_begin_as_a_prior_that_sees_no_code(
    models: Path, tmp_path: Path, recurrent: bool
) -> None:
    shape = {"hidden": (8, 8), "recurrent": recurrent}
    plain = gymnasium.make_vec(MELODY, num_envs=4, steps=6)
    prior = make_agent("reinforce", plain, **shape).learn(48)
    prior.save(tmp_path / "prior")
    env = gymnasium.make_vec(MELODY, num_envs=4, steps=6, reward=spec(models, MELODY))
    kept = {"prior": str(tmp_path / "prior"), "kl_coef": 0.1, "init": str(tmp_path / "prior")}
    agent: Any = make_agent("reinforce", env, **shape, **kept)
    task: Any = env.unwrapped.task  # type: ignore[attr-defined]
    assert isinstance(agent.control.prior, Blind)
    options = {"annotator": "ann"}
    found = write_compositions(agent, task, 64, prior=agent.control.prior, options=options)
    assert np.abs(found.kl).max() < 1e-12  # type: ignore[arg-type]
    agent.learn(480)
    found = write_compositions(agent, task, 64, prior=agent.control.prior, options=options)
    given = Given(agent, task.conditions.of(["ann"])[0])
    assert given.observation_space == plain.single_observation_space
    alone = write_compositions(given, make_task(MELODY, steps=6), 64, prior=prior)
    assert (alone.actions == found.actions).all()
    assert np.allclose(alone.log_policy, found.log_policy, atol=1e-6)
    assert np.allclose(alone.kl, found.kl, atol=1e-6)  # type: ignore[arg-type]
    assert found.kl.mean() > 1e-4  # type: ignore[union-attr]
    with pytest.raises(DescantError, match="another network than this agent"):
        make_agent("reinforce", env, hidden=(9, 9), recurrent=recurrent, init=kept["init"])


def test_the_prior_without_a_network_of_its_own_is_asked_without_the_code(
    models: Path, tmp_path: Path
) -> None:
    plain = gymnasium.make_vec(MELODY, num_envs=4, steps=6)
    make_agent("random", plain).save(tmp_path / "random")
    env = gymnasium.make_vec(MELODY, num_envs=4, steps=6, reward=spec(models, MELODY))
    agent: Any = make_agent("psi", env, prior=str(tmp_path / "random"), hidden=(8,), learning_starts=16)
    agent.learn(96)
    assert not hasattr(agent.prior, "policy_step")
    assert agent.num_timesteps == 96


def test_a_run_goes_on_as_if_never_stopped(models: Path, tmp_path: Path) -> None:
    def env() -> Any:
        return gymnasium.make_vec(MELODY, num_envs=4, steps=6, reward=spec(models, MELODY))

    small = {
        "hidden": (8,),
        "critic_hidden": (8,),
        "n_steps": 5,
        "num_envs": 4,
        "lr_schedule": "constant",
        "ent_coef": 0.0,
    }
    whole = make_agent("ppo", env(), **small).learn(120)
    make_agent("ppo", env(), **small).learn(60).save(tmp_path / "half")
    resumed: Any = load_agent(tmp_path / "half", env()).learn(120)
    for one, other in zip(
        whole.networks["policy"].parameters(),  # type: ignore[attr-defined]
        resumed.networks["policy"].parameters(),
        strict=True,
    ):
        assert (one == other).all()


@dataclass(frozen=True)
class Wait:
    left: Ints


class Pleasing(Task[Wait]):
    """Two symbols are written; each that the listener's code points to is worth 1."""

    name = "test/Pleasing-v0"

    def __init__(self) -> None:
        self.observation_space, self.action_space = spaces.Discrete(3), spaces.Discrete(3)

    def reset(self, rng: np.random.Generator, n: int, options: Mapping[str, Any] | None = None) -> Wait:
        return Wait(np.full(n, 2))

    def step(self, state: Wait, action: Ints, rng: np.random.Generator) -> tuple[Wait, Floats, Bools]:
        after = Wait(state.left - 1)
        return after, (code_of(state).argmax(axis=1) == action).astype(float), after.left <= 0

    def observe(self, state: Wait) -> Ints:
        return state.left.copy()

    def action_mask(self, state: Wait) -> Bools:
        return np.ones((len(state.left), 3), bool)


@pytest.mark.parametrize("name", ["reinforce", "ppo", "dqn"])
def test_one_policy_learns_to_please_whoever_listens(name: str) -> None:
    task = Conditioned(Pleasing(), Conditions(NAMES, np.eye(3)))
    config = {"hidden": (32,), "learning_rate": 0.01}
    steps = 4000 if name == "dqn" else 16_000
    agent: Any = make_agent(name, TaskVectorEnv(task, 16), **config).learn(steps)
    for i in range(3):
        best, _ = Given(agent, np.eye(3)[i]).predict(np.array([2, 1]), deterministic=True)
        assert (best == i).all()


def test_only_the_space_of_such_a_task_has_something_beneath() -> None:
    inner = spaces.Discrete(3)
    code = spaces.Box(-1, 1, (2,))
    assert beneath(spaces.Dict({"code": code, "observation": inner})) == inner
    assert beneath(spaces.Dict({"code": code, "observation": inner, "more": inner})) is None
    assert beneath(inner) is None


def test_a_sum_and_shaping_hand_on_whom_they_ask_for(models: Path) -> None:
    own = spec(models, MELODY, annotators=["bob"])
    for reward in (
        {"name": "sum", "rewards": ["rl-tuner", own | {"weight": 2.0}]},
        {
            "name": "shaped",
            "reward": own,
            "potential": lambda state: np.zeros(len(state.step)),
            "ended": lambda state: state.step == 6,
        },
    ):
        task: Any = make_task(MELODY, steps=6, reward=reward)
        assert task.conditions.annotators == ("bob",)
        states, total = played(task, task.reset(np.random.default_rng(0), 3), 1)
        alone: Any = make_reward(spec(models, MELODY, annotator="bob"))
        score = alone.score(states[-1])
        if reward["name"] == "sum":
            rules = make_task(MELODY, steps=6)
            plain = played(rules, rules.reset(np.random.default_rng(0), 3), 1)[1]
            assert np.allclose(total, plain + 2 * score, atol=1e-5)
        else:
            assert np.allclose(total, score, atol=1e-5)
    assert json.dumps(own)  # what the command line takes
