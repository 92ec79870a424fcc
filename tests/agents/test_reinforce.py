"""REINFORCE: it learns, its gradient is exact, it repeats itself bit for bit, it keeps to the mask."""

from __future__ import annotations

import copy
import dataclasses
import functools
import itertools
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import SyncVectorEnv
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv

import descant.agents.reinforce
from descant import load_agent, make_agent
from descant.agents.reinforce import Config, Reinforce, policy_loss, value_loss
from descant.envs.counterpoint import Counterpoint
from descant.errors import DescantError
from descant.neural import valid_parts
from descant.rollouts import Collector, Rollout
from descant.shells import SB3VecEnv, TaskEnv, TaskVectorEnv
from descant.tasks import Task

from ..tiny_tasks import Dice, Echo, Recall

SMALL: dict[str, Any] = {"hidden": (32,), "critic_hidden": (32,), "learning_rate": 0.01, "ent_coef": 0.1}
ID = "descant/Counterpoint-v0"


def agent_on(task: Any, n: int = 32, mode: str = "NextStep", env: Any = None, **config: Any) -> Reinforce:
    env = TaskVectorEnv(task, n, autoreset_mode=mode) if env is None else env
    made = make_agent("reinforce", env, **(SMALL | config))
    assert isinstance(made, Reinforce)
    return made


def weights_of(agent: Reinforce) -> dict[str, torch.Tensor]:
    return {name: torch.as_tensor(weight).clone() for name, weight in agent.parts().weights.items()}


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


# Learning.


@pytest.mark.parametrize("baseline", ["none", "mean", "learned"])
@pytest.mark.parametrize("steps", [1, 3])
def test_it_learns_to_name_what_it_sees(baseline: str, steps: int) -> None:
    agent = agent_on(Echo(symbols=4, steps=steps), baseline=baseline)
    agent.learn(6000 * steps)
    assert agent.predict(np.arange(4), deterministic=True)[0].tolist() == [0, 1, 2, 3]
    right = np.exp(agent.log_probs(np.arange(4)))[np.arange(4), np.arange(4)]
    assert right.min() > 0.9


def recall(agent: Reinforce, task: Recall) -> float:
    """Share of first symbols that the greedy agent names at the end."""
    env = TaskVectorEnv(task, 60)
    seen, _ = env.reset(seed=9)
    first, state, starts = seen.copy(), None, np.ones(60, bool)
    for _ in range(task.steps):
        action, state = agent.predict(seen, state, starts, deterministic=True)
        seen, reward, *_ = env.step(action)
        starts[:] = False
    assert set(first) == set(range(task.symbols))
    return float(reward.mean())


def test_an_lstm_learns_what_needs_memory() -> None:
    task = Recall(symbols=3, steps=3)
    agent = agent_on(task, n=64, recurrent=True, learning_rate=0.02, normalize_advantage=True)
    agent.learn(16_000)
    assert recall(agent, task) == 1.0


def test_without_memory_it_can_not_be_learned() -> None:
    task = Recall(symbols=3, steps=3)
    agent = agent_on(task, n=64)
    agent.learn(6000)
    assert recall(agent, task) < 0.6


def test_it_improves_on_cartpole() -> None:
    env = gymnasium.make_vec("CartPole-v1", num_envs=16, max_episode_steps=200)
    returns: list[float] = []

    class Tracker:
        def log(self, step: int, record: dict[str, float]) -> None:
            returns.append(record["return"])

    agent = agent_on(None, env=env, gamma=0.99, ent_coef=0.01, hidden=(32, 32))
    agent.learn(20_000, tracker=Tracker())  # type: ignore[arg-type]
    assert np.mean(returns[:3]) < 35
    assert max(returns[-5:]) > 80


# The gradient.


def rollout_of(task: Echo, agent: Reinforce, actions: tuple[int, ...], seen: int) -> Rollout:
    """One episode, its actions given."""
    env = TaskVectorEnv(task, 1)
    collector, script = Collector(env), iter(actions)
    reset = env.reset

    def begin(**options: Any) -> Any:
        reset(**options)
        env._state = dataclasses.replace(env._state, seen=np.array([seen]))
        return np.array([seen]), {}

    env.reset = begin  # type: ignore[method-assign]
    return collector.episodes(lambda *_: np.array([next(script)]))


def exact_return(agent: Reinforce, task: Echo) -> torch.Tensor:
    """Mean return over first symbols, summed over every sequence of actions, in float64."""
    symbols = torch.arange(task.symbols)
    probs = agent.networks["policy"](symbols)["policy"].softmax(-1)
    total = torch.zeros((), dtype=torch.float64)
    for seen in range(task.symbols):
        for actions in itertools.product(range(task.symbols), repeat=task.steps):
            chance, value = torch.ones((), dtype=torch.float64), 0.0
            for t, action in enumerate(actions):
                chance = chance * probs[(seen + t) % task.symbols, action]
                value += float(action == (seen + t) % task.symbols)
            total = total + chance * value
    return total / task.symbols


@pytest.mark.parametrize("baseline", ["none", "learned"])
@pytest.mark.parametrize("reward_to_go", [True, False])
def test_the_expected_gradient_is_the_gradient_of_the_expected_return(
    baseline: str, reward_to_go: bool
) -> None:
    task = Echo(symbols=2, steps=3)
    options = {"ent_coef": 0.0, "ent_coef_final": 0.0, "normalize_advantage": False, "max_grad_norm": 1e12}
    agent = agent_on(
        task, baseline=baseline, reward_to_go=reward_to_go, gamma=1.0, learning_rate=1e-30, **options
    )
    agent.networks["policy"].double()
    for parameter in agent.networks["policy"].parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    expected = torch.autograd.grad(exact_return(agent, task), list(agent.networks["policy"].parameters()))
    probs = agent.networks["policy"](torch.arange(2))["policy"].softmax(-1).detach()
    found = [torch.zeros_like(gradient) for gradient in expected]
    for seen in range(2):
        for actions in itertools.product(range(2), repeat=3):
            rollout = rollout_of(task, agent, actions, seen)
            assert rollout.actions[:, 0].tolist() == list(actions)
            assert rollout.observations[:, 0].tolist() == [(seen + t) % 2 for t in range(3)]
            chance = np.prod([float(probs[(seen + t) % 2, action]) for t, action in enumerate(actions)])
            agent.update(rollout, ent_coef=0.0)
            for total, parameter in zip(found, agent.networks["policy"].parameters(), strict=True):
                total -= 0.5 * chance * 3 * parameter.grad  # the loss is a mean over 3 steps
    for total, gradient in zip(found, expected, strict=True):
        torch.testing.assert_close(total, gradient, atol=1e-6, rtol=1e-6)
    assert max(gradient.abs().max() for gradient in expected) > 0.01


def test_losses_by_hand() -> None:
    log_probs, advantages = torch.tensor([-1.0, -2.0]), torch.tensor([3.0, -1.0])
    entropies = torch.tensor([0.5, 1.5])
    assert policy_loss(log_probs, advantages, entropies, 0.1).item() == pytest.approx(-(-3.0 + 2.0) / 2 - 0.1)
    assert value_loss(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 2.0])).item() == pytest.approx(1.0)


class Flat(Echo):
    """Pays the same whatever is done."""

    def step(self, state: Any, action: Any, rng: Any) -> Any:
        after, reward, ended = super().step(state, action, rng)
        return after, np.full_like(reward, 7.0), ended


@pytest.mark.parametrize("baseline", ["none", "mean", "learned"])
def test_what_the_baseline_foresaw_is_not_learned_from(baseline: str) -> None:
    agent = agent_on(Flat(steps=1), baseline=baseline, normalize_advantage=False, learning_rate=1e-30)
    if baseline == "learned":
        for parameter in agent.networks["critic"].parameters():
            torch.nn.init.zeros_(parameter)
        torch.nn.init.constant_(agent.networks["critic"].heads["value"].bias, 7.0)
    agent.update(Collector(agent.env).episodes(agent.actor(), seed=0), ent_coef=0.0)  # type: ignore[arg-type]
    largest = max(p.grad.abs().max() for p in agent.networks["policy"].parameters() if p.grad is not None)
    assert (largest > 0.01) == (baseline == "none")
    assert (largest == 0.0) == (baseline != "none")


def gradients(agent: Reinforce, rollout: Rollout) -> list[torch.Tensor]:
    agent.update(rollout, ent_coef=0.1)
    parameters = [parameter for network in agent.networks.values() for parameter in network.parameters()]
    return [parameter.grad.clone() for parameter in parameters if parameter.grad is not None]


@pytest.mark.parametrize("recurrent", [False, True])
def test_what_did_not_happen_is_not_learned_from(recurrent: bool) -> None:
    """Rows of steps that are not valid may hold anything."""
    agent = agent_on(Dice(), recurrent=recurrent, learning_rate=1e-30)
    rollout = Collector(agent.env).episodes(agent.actor(), seed=3)  # type: ignore[arg-type]
    assert not rollout.valid.all()
    spoiled = copy.deepcopy(rollout)
    spoiled.rewards[~spoiled.valid] = 1e6
    spoiled.actions[~spoiled.valid] = 0
    clean, dirty = gradients(agent, rollout), gradients(agent, spoiled)
    assert all(torch.equal(a, b) for a, b in zip(clean, dirty, strict=True))


def test_a_rollout_in_parts_gives_the_gradient_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = agent_on(Dice(), learning_rate=1e-30)
    rollout = Collector(agent.env).episodes(agent.actor(), seed=3)  # type: ignore[arg-type]
    whole = gradients(agent, rollout)
    small = functools.partial(valid_parts, size=7)
    monkeypatch.setattr(descant.agents.reinforce, "valid_parts", small)
    parts = gradients(agent, rollout)
    for a, b in zip(whole, parts, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)


def test_the_bonus_on_entropy_keeps_a_policy_open() -> None:
    spread = {}
    for bonus in (0.0, 3.0):
        agent = agent_on(Echo(), ent_coef=bonus, ent_coef_final=bonus)
        agent.learn(6000)
        log_probs = agent.log_probs(np.arange(4))
        spread[bonus] = -(np.exp(log_probs) * log_probs).sum(axis=1).mean()
    assert spread[0.0] < 0.2 < 0.8 < spread[3.0]


def test_schedules_go_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []
    bonuses: list[float] = []
    update = Reinforce.update

    def spy(self: Reinforce, rollout: Rollout, ent_coef: float, **more: Any) -> dict[str, float]:
        rates.extend({g["lr"] for optimizer in self.optimizers.values() for g in optimizer.param_groups})
        bonuses.append(ent_coef)
        return update(self, rollout, ent_coef, **more)

    monkeypatch.setattr(Reinforce, "update", spy)
    agent_on(Echo(steps=1), n=10, ent_coef=0.5, ent_coef_final=0.1).learn(50)
    np.testing.assert_allclose(rates, 0.01 * np.array([1, 0.8, 0.6, 0.4, 0.2]))
    np.testing.assert_allclose(bonuses, [0.5, 0.42, 0.34, 0.26, 0.18])
    rates.clear()
    agent_on(Echo(steps=1), n=10, lr_schedule="constant").learn(50)
    assert rates == [0.01] * 5


# Repeating, saving, going on.


@pytest.mark.parametrize("recurrent", [False, True])
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(recurrent: bool) -> None:
    made = []
    for seed in (1, 1, 2):
        torch.randn(seed)  # what others draw does not matter
        made.append(weights_of(agent_on(Dice(), seed=seed, recurrent=recurrent).learn(600)))
    assert same(made[0], made[1])
    assert not same(made[0], made[2])


def test_learning_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    agent_on(Echo()).learn(200)
    assert torch.equal(before, torch.get_rng_state())


def test_both_ways_to_reset_give_the_same_weights() -> None:
    one, two = (weights_of(agent_on(Echo(), mode=mode).learn(1000)) for mode in ("NextStep", "SameStep"))
    assert same(one, two)


@pytest.mark.parametrize("options", [{}, {"recurrent": True}, {"baseline": "mean"}])
def test_a_saved_agent_acts_as_before(tmp_path: Path, options: dict[str, Any]) -> None:
    agent = agent_on(Dice(), **options).learn(300)
    agent.save(tmp_path / "last")
    seen, _ = TaskVectorEnv(Dice(), 20).reset(seed=0)
    masks = np.random.default_rng(0).random((20, 7)) < 0.5
    masks[:, 0] = True
    for loaded in (
        load_agent(tmp_path / "last"),
        Reinforce.load(tmp_path / "last"),
        load_agent(tmp_path / "last", TaskVectorEnv(Dice(), 3)),
    ):
        assert isinstance(loaded, Reinforce)
        assert same(weights_of(agent), weights_of(loaded))
        np.testing.assert_array_equal(loaded.log_probs(seen), agent.log_probs(seen))
        np.testing.assert_array_equal(
            loaded.log_probs(seen, action_masks=masks), agent.log_probs(seen, action_masks=masks)
        )
        assert (loaded.config, loaded.num_timesteps) == (agent.config, agent.num_timesteps)
        assert loaded.manifest() == agent.manifest()


@pytest.mark.parametrize("options", [{}, {"recurrent": True}, {"baseline": "none"}])
def test_learning_in_two_halves_is_learning_in_one_go(tmp_path: Path, options: dict[str, Any]) -> None:
    whole = agent_on(Dice(), **options).learn(2000)
    first = agent_on(Dice(), **options).learn(2000, callback=lambda agent: agent.num_timesteps < 900)
    assert 900 <= first.num_timesteps < 1500
    first.save(tmp_path / "last")
    second = load_agent(tmp_path / "last", TaskVectorEnv(Dice(), 32)).learn(2000)
    assert isinstance(second, Reinforce)
    assert same(weights_of(whole), weights_of(second))
    assert second.num_timesteps == whole.num_timesteps >= 2000
    assert not same(weights_of(first), weights_of(second))


def test_steps_that_did_not_happen_are_not_counted() -> None:
    agent = agent_on(Echo(steps=1), n=10)
    counted: list[int] = []
    agent.learn(25, callback=lambda agent: counted.append(agent.num_timesteps) or True)
    assert counted == [10, 20, 30]
    agent.learn(30)
    assert agent.num_timesteps == 30


def test_what_is_logged() -> None:
    records: list[tuple[int, dict[str, float]]] = []

    class Tracker:
        def log(self, step: int, record: dict[str, float]) -> None:
            records.append((step, record))

    agent_on(ID, n=8).learn(200, tracker=Tracker())  # type: ignore[arg-type]
    step, first = records[0]
    assert step == 8 * first["length"]
    expected = {"return", "return_std", "policy_loss", "entropy", "value_loss", "explained_variance"}
    assert {*expected, "grad_norm", "length", "legal", "errors"} <= first.keys()
    assert first["return"] == pytest.approx(sum(v for k, v in first.items() if k.startswith("terms/")))
    assert all(np.isfinite(value) for value in first.values())
    assert first["entropy"] <= np.log(52)


# Acting.


def test_predict_takes_one_observation_or_many() -> None:
    agent = agent_on(Echo()).learn(3000)
    one, state = agent.predict(np.int64(2), deterministic=True)
    assert (int(one), np.shape(one), state) == (2, (), None)
    many, _ = agent.predict(np.array([2, 0]), deterministic=True)
    assert many.tolist() == [2, 0]


def test_stochastic_predictions_follow_the_policy() -> None:
    agent = agent_on(Echo())
    for parameter in agent.networks["policy"].parameters():
        torch.nn.init.normal_(parameter)
    probs = np.exp(agent.log_probs(np.array([1]))[0])
    drawn, _ = agent.predict(np.ones(20_000, np.int64))
    np.testing.assert_allclose(np.bincount(drawn, minlength=4) / 20_000, probs, atol=0.015)
    assert probs.sum() == pytest.approx(1)


def test_masked_actions_are_never_drawn_nor_likely() -> None:
    agent = agent_on(Echo())
    masks = np.array([[True, False, True, False]] * 500)
    for deterministic in (True, False):
        actions, _ = agent.predict(np.arange(500) % 4, deterministic=deterministic, action_masks=masks)
        assert set(actions) <= {0, 2}
    log_probs = agent.log_probs(np.arange(4), action_masks=masks[:4])
    assert (log_probs[:, [1, 3]] < -1e8).all()
    np.testing.assert_allclose(np.exp(log_probs).sum(axis=1), 1, rtol=1e-5)


def test_a_state_is_cleared_where_an_episode_starts() -> None:
    agent = agent_on(Recall(), recurrent=True)
    for parameter in agent.networks["policy"].parameters():
        torch.nn.init.normal_(parameter)
    _, state = agent.predict(np.array([0, 1]), None, np.array([True, True]))
    fresh = agent.log_probs(np.array([2, 2]))
    going_on = agent.log_probs(np.array([2, 2]), state)
    assert not np.allclose(fresh, going_on)
    _, cleared = agent.predict(np.array([2, 2]), state, np.array([True, False]))
    _, begun = agent.predict(np.array([2, 2]), None, np.array([True, True]))
    torch.testing.assert_close(cleared[0][:, 0], begun[0][:, 0])
    assert not torch.allclose(cleared[0][:, 1], begun[0][:, 1])


class Strict(Counterpoint):
    """Does not take a masked action."""

    def step(self, state: Any, action: Any, rng: Any) -> Any:
        assert self.action_mask(state)[np.arange(len(action)), action].all(), "masked"
        return super().step(state, action, rng)


@pytest.mark.parametrize("mask", ["range", "rules"])
@pytest.mark.parametrize("deterministic", [True, False])
def test_sb3_evaluates_it_and_it_keeps_to_the_mask(tmp_path: Path, mask: str, deterministic: bool) -> None:
    options = {"cantus": "fux", "mask": mask}
    strict = Strict(**options)  # type: ignore[arg-type]
    native = make_agent("reinforce", gymnasium.make_vec(ID, num_envs=4, **options), **SMALL)
    single = make_agent("reinforce", gymnasium.make(ID, **options), **SMALL)
    native.learn(100)
    native.save(tmp_path / "last")
    vector = SB3VecEnv(TaskVectorEnv(strict, 3, autoreset_mode="SameStep"))
    for agent in (native, single, load_agent(tmp_path / "last")):
        for env in (vector, DummyVecEnv([lambda: TaskEnv(strict)]), TaskEnv(strict)):
            mean, _ = evaluate_policy(agent, env, n_eval_episodes=4, deterministic=deterministic, warn=False)  # type: ignore[arg-type]
            assert mean <= 0


def test_training_keeps_to_the_mask() -> None:
    agent_on(Strict(cantus="fux", mask="rules"), mode="SameStep", n=8).learn(300)
    env = SyncVectorEnv([lambda: TaskEnv(Strict(cantus="dorian", mask="rules"))] * 3)
    with pytest.raises(AssertionError, match="masked"):
        Collector(env).episodes(lambda *_: np.zeros(3, np.int64))
    agent_on(None, env=env).learn(60)


# Bad input.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"learning_rat": 0.1},
            r"Agent 'reinforce' has no option 'learning_rat'\. Did you mean 'learning_rate'\?",
        ),
        ({"baseline": "median"}, "baseline must be one of none, mean, learned, self-critical, not 'median'"),
        ({"gamma": 1.5}, "gamma must lie between 0 and 1"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"hidden": ()}, "hidden"),
        ({"num_envs": 0}, "num_envs"),
        ({"seed": -1}, "seed must be 0 or more"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DescantError, match=message):
        agent_on(Echo(), **options)


def test_a_checkpoint_of_another_environment_is_refused(tmp_path: Path) -> None:
    agent_on(Echo(symbols=4)).save(tmp_path / "last")
    for other in (Echo(symbols=5), Dice(), Recall(symbols=4)):
        with pytest.raises(
            DescantError, match=r"This checkpoint was trained on .* Give the one it was trained on"
        ):
            load_agent(tmp_path / "last", TaskVectorEnv(other, 2))
    with pytest.raises(DescantError, match=r"use descant\.load_agent"):
        type("Other", (Reinforce,), {"name": "other"}).load(tmp_path / "last")


def test_a_loaded_agent_needs_an_environment_to_learn(tmp_path: Path) -> None:
    agent_on(Echo()).save(tmp_path / "last")
    with pytest.raises(DescantError, match="pass env to learn on"):
        load_agent(tmp_path / "last").learn(10)


def test_continuous_actions_are_refused() -> None:
    with pytest.raises(DescantError, match="needs discrete actions"):
        make_agent("reinforce", "Pendulum-v1", num_envs=1)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    ("bad", "baseline", "message"),
    [
        (np.nan, "none", "reward is not finite at step 0"),
        (np.nan, "learned", "reward is not finite at step 0"),
        (np.inf, "none", "reward is not finite at step 0"),
        (1e300, "learned", "not finite at step 0: lower learning_rate"),  # the critic's loss in 32 bits
    ],
)
def test_what_is_not_finite_stops_the_learning_and_spares_the_weights(
    bad: float, baseline: str, message: str
) -> None:
    class Broken(Echo):
        def step(self, state: Any, action: Any, rng: Any) -> Any:
            after, reward, ended = super().step(state, action, rng)
            return after, np.where(action == 2, bad, reward), ended

    agent = agent_on(Broken(), baseline=baseline)
    before = weights_of(agent)
    with pytest.raises(DescantError, match=message):
        agent.learn(500)
    after = weights_of(agent)
    assert same(before, {name: after[name] for name in before})


def test_config_says_what_it_can() -> None:
    assert Reinforce.supports_recurrence
    assert not Reinforce.needs_prior
    assert dataclasses.asdict(Config())["seed"] == 0
    assert isinstance(Echo(), Task)
