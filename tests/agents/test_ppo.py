"""PPO: it learns, its gradient is exact at ratio 1, it goes on exactly, it keeps to the mask."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from descant import load_agent, make_agent
from descant.agents.ppo import PPO, clipped_loss, clipped_value_loss, clipped_weights
from descant.control import policy_log_probs
from descant.envs.tokens import Tokens
from descant.errors import DescantError
from descant.returns import gae
from descant.shells import TaskVectorEnv

from ..sequences import (
    acted,
    assert_same,
    expected_update,
    gradient,
    objective,
    random_weights,
    with_true_critic,
)
from ..tiny_tasks import Dice, Echo, Recall
from .on_policy_checks import Strict, cartpole, made_on, options_told, recall, records_of, same, weights_of


def agent_on(task: Any, n: int = 32, **config: Any) -> PPO:
    agent: PPO = made_on(PPO, task, n, **({"minibatch_size": 64} | config))
    return agent


def still(task: Any, n: int = 1, **config: Any) -> PPO:
    """An agent whose gradients can be read, and whose weights stay."""
    plain = {"normalize_advantage": False, "max_grad_norm": 1e12, "gamma": 1.0, "n_epochs": 1}
    agent = agent_on(task, n, learning_rate=1e-30, **(plain | {"minibatch_size": 10**6} | config))
    for network in agent.networks.values():
        random_weights(network)
    return agent


# Learning.


@pytest.mark.parametrize("options", [{}, {"shared": True}, {"clip_range_vf": 0.2}, {"target_kl": 0.02}])
@pytest.mark.parametrize("steps", [1, 3])
def test_it_learns_to_name_what_it_sees(options: dict[str, Any], steps: int) -> None:
    agent = agent_on(Echo(symbols=4, steps=steps), **options).learn(6000)
    assert agent.predict(np.arange(4), deterministic=True)[0].tolist() == [0, 1, 2, 3]
    right = np.exp(agent.log_probs(np.arange(4)))[np.arange(4), np.arange(4)]
    assert right.min() > 0.9


@pytest.mark.parametrize(("n_steps", "shared"), [(6, False), (5, True)])
def test_an_lstm_learns_what_needs_memory(n_steps: int, shared: bool) -> None:
    """Rollouts of 5 steps end within an episode: what was seen before must be carried over."""
    task = Recall(symbols=3, steps=3)
    options = {"n_steps": n_steps, "shared": shared, "gae_lambda": 1.0, "minibatch_size": 1000}
    agent = agent_on(task, n=64, recurrent=True, **options, learning_rate=0.02)  # type: ignore[arg-type]
    agent.learn(16_000)
    assert recall(agent, task) == 1.0


def test_it_improves_on_cartpole() -> None:
    agent = agent_on(None, env=cartpole(), n_steps=32, minibatch_size=128)
    returns = [record["return"] for record in records_of(agent, 16_000) if "return" in record]
    assert np.mean(returns[:3]) < 40
    assert np.mean(returns[-5:]) > 90


# The gradient.


@pytest.mark.parametrize("lam", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("kl_coef", [0.0, 0.5])
@pytest.mark.parametrize("estimator", ["k1", "exact"])
def test_with_the_true_critic_the_expected_gradient_is_exact(
    lam: float, kl_coef: float, estimator: str
) -> None:
    task = Tokens(tokens=3, steps=3)
    agent = still(task, gae_lambda=lam, prior="task", kl_coef=kl_coef, kl_estimator=estimator, ent_coef=0.0)
    network = agent.networks["policy"]
    with_true_critic(agent, task, kl_coef)
    expected = gradient(objective(network, task, kl_coef), network)
    found = expected_update(
        agent, task, lambda rollout: agent.update(agent.assess(rollout, acted(agent, rollout), {}), 0.0)
    )
    assert_same(found, expected)


@pytest.mark.parametrize("recurrent", [False, True])
def test_the_first_gradient_is_the_policy_gradient_of_the_same_advantages(recurrent: bool) -> None:
    agent = agent_on(
        Dice(),
        8,
        recurrent=recurrent,
        learning_rate=1e-30,
        n_epochs=1,
        minibatch_size=10**6,
        max_grad_norm=1e12,
    )
    batch = agent.roll(agent.collector)  # type: ignore[arg-type]
    agent.update(batch, ent_coef=0.0)
    network = agent.networks["policy"]
    found = [p.grad.clone() for p in network.parameters() if p.grad is not None]
    rollout = batch.rollout
    raw = gae(rollout, batch.values, batch.following, agent.config.gamma, agent.config.gae_lambda)
    advantages = (raw - raw[rollout.valid].mean()) / (raw[rollout.valid].std() + 1e-8)
    seen = {k: torch.as_tensor(v) for k, v in rollout.observations.items()}
    heads, _ = network.sequence(seen, torch.as_tensor(rollout.starts))
    logits = torch.where(torch.as_tensor(rollout.masks), heads["policy"], -1e9)
    taken = logits.log_softmax(-1).gather(-1, torch.as_tensor(rollout.actions)[..., None])[..., 0]
    loss = -(torch.as_tensor(advantages) * taken)[torch.as_tensor(rollout.valid)].mean()
    expected = torch.autograd.grad(loss, list(network.parameters()))
    for one, two in zip(found, expected, strict=True):
        torch.testing.assert_close(one, two, atol=1e-6, rtol=1e-3)


def test_losses_by_hand() -> None:
    old = torch.zeros(4)
    now = torch.tensor([1.5, 1.5, 0.5, 0.5]).log()
    advantages = torch.tensor([1.0, -1.0, 1.0, -1.0])
    assert clipped_loss(now, old, advantages, 0.2).item() == pytest.approx(-(1.2 - 1.5 + 0.5 - 0.8) / 4)
    values, before = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 0.0])
    returns = torch.tensor([2.0, 1.0])
    assert clipped_value_loss(values, before, returns, 0.0).item() == pytest.approx(0.25)
    assert clipped_value_loss(values, before, returns, 0.5).item() == pytest.approx(0.5 * (1.5**2 + 1) / 2)


@pytest.mark.parametrize("recurrent", [False, True])
def test_minibatches_hold_every_step_once(recurrent: bool) -> None:
    agent = agent_on(Dice(), 10, recurrent=recurrent)
    batch = agent.roll(agent.collector)  # type: ignore[arg-type]
    number = np.arange(batch.rollout.valid.size, dtype=np.float64).reshape(batch.rollout.valid.shape)
    orders = []
    for _ in range(2):
        parts = list(agent.parts_of(batch, {"number": number}, 20))
        assert len(parts) == round(batch.rollout.steps / 20)
        seen = torch.cat([part["number"] for part, _ in parts])
        assert sorted(seen.tolist()) == sorted(number[batch.rollout.valid].tolist())
        orders.append(seen.tolist())
        for part, heads in parts:
            assert len(heads["policy"]["policy"]) == len(part["actions"]) == len(heads["critic"]["value"])
    assert orders[0] != orders[1]


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_heads_of_minibatches_are_those_of_acting(mode: str, shared: bool) -> None:
    """With memory that was carried over from the rollout before, and episodes that were cut off."""
    agent = agent_on(Dice(), 6, mode=mode, recurrent=True, shared=shared, limit=4, n_steps=6)
    agent.roll(agent.collector)  # type: ignore[arg-type]
    batch = agent.roll(agent.collector)  # type: ignore[arg-type]
    assert batch.states.keys() == ({"policy"} if shared else {"policy", "critic"})
    assert not batch.rollout.starts[0].all()
    columns = {"old": batch.log_policy, "values": batch.values}
    for part, heads in agent.parts_of(batch, columns, 10):
        logits = torch.where(part["masks"], heads["policy"]["policy"], -1e9).log_softmax(-1)
        torch.testing.assert_close(logits, part["old"], atol=1e-5, rtol=1e-5)
        found = heads[agent.critic]["value"][:, 0]
        torch.testing.assert_close(found.double(), part["values"], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_what_follows_a_cut_is_the_value_of_what_was_seen_last(mode: str, recurrent: bool) -> None:
    """The value after a step within an episode is the next one's; after a cut it is seen nowhere else."""
    short = made_on(PPO, Dice(), 12, mode, recurrent=recurrent, limit=3, n_steps=7, gamma=0.9)
    batch = short.roll(short.collector)
    rollout = batch.rollout
    assert len(rollout.cut) > 3
    inside = rollout.valid & ~(rollout.terminated | rollout.truncated)
    np.testing.assert_array_equal(batch.following[:-1][inside[:-1]], batch.values[1:][inside[:-1]])
    assert (batch.following[rollout.terminated] == 0).all()
    network = short.networks["critic"]
    for (t, row), seen in zip(rollout.cut, rollout.cut_observations, strict=True):
        first = max(s for s in range(t + 1) if rollout.starts[s, row])
        story = {k: [rollout.observations[k][s, row] for s in range(first, t + 1)] + [seen[k]] for k in seen}
        starts = torch.zeros(t - first + 2, 1, dtype=torch.bool)
        starts[0] = True
        tensors = {k: torch.as_tensor(np.stack(v))[:, None] for k, v in story.items()}
        with torch.no_grad():
            value = network.sequence(tensors, starts)[0]["value"][-1, 0, 0]
        assert batch.following[t, row] == pytest.approx(float(value), abs=1e-5)


def test_epochs_stop_where_the_policy_has_gone_too_far() -> None:
    far = records_of(agent_on(Echo(), n_epochs=20, learning_rate=0.05), 2000)
    near = records_of(agent_on(Echo(), n_epochs=20, learning_rate=0.05, target_kl=0.01), 2000)
    assert all(record["updates"] == far[0]["updates"] for record in far)
    assert near[0]["updates"] < far[0]["updates"] / 2


def test_a_dear_kl_keeps_the_policy_at_its_prior() -> None:
    ends = {c: records_of(agent_on(Echo(), prior="uniform", kl_coef=c), 8000)[-1] for c in (0.0, 20.0)}
    assert ends[20.0]["kl"] < 0.01 < 0.8 < ends[0.0]["kl"]


# Repeating, saving, going on.


@pytest.mark.parametrize("options", [{}, {"recurrent": True, "shared": True}])
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(options: dict[str, Any]) -> None:
    made = []
    for seed in (1, 1, 2):
        torch.randn(seed)
        made.append(weights_of(agent_on(Dice(), seed=seed, **options).learn(600)))
    assert same(made[0], made[1])
    assert not same(made[0], made[2])


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"recurrent": True},
        {"recurrent": True, "shared": True},
        {"prior": "uniform", "kl_coef": 0.1, "kl_target": 0.3, "target_kl": 0.01},
    ],
)
def test_learning_in_two_halves_is_learning_in_one_go(
    tmp_path: Path, options: dict[str, Any], mode: str
) -> None:
    def env() -> Any:
        return TaskVectorEnv(Dice(), 16, autoreset_mode=mode, max_episode_steps=5)

    whole = agent_on(None, env=env(), **options).learn(1500)
    first = agent_on(None, env=env(), **options).learn(1500, callback=lambda a: a.num_timesteps < 700)
    first.save(tmp_path / "last")
    restored = PPO.load(tmp_path / "last", env())
    second = restored.learn(1500)
    assert same(weights_of(whole), weights_of(second))
    assert second.num_timesteps == whole.num_timesteps
    assert not same(weights_of(first), weights_of(second))


def test_on_other_environments_episodes_begin_anew_after_a_resume(tmp_path: Path) -> None:
    agent = agent_on(None, env=cartpole(4), recurrent=True).learn(100)
    agent.save(tmp_path / "last")
    again = PPO.load(tmp_path / "last", cartpole(4))
    assert again.memory == {}
    again.learn(200)


def test_a_saved_agent_acts_as_before(tmp_path: Path) -> None:
    agent = agent_on(Dice(), shared=True).learn(300)
    agent.save(tmp_path / "last")
    seen, _ = TaskVectorEnv(Dice(), 20).reset(seed=0)
    loaded = PPO.load(tmp_path / "last")
    np.testing.assert_array_equal(loaded.log_probs(seen), agent.log_probs(seen))


def test_what_is_logged() -> None:
    records = records_of(agent_on("descant/Counterpoint-v0", 8, n_steps=20), 600)
    expected = {"return", "policy_loss", "entropy", "value_loss", "explained_variance", "grad_norm", "legal"}
    assert {*expected, "kl_old", "clip_fraction", "updates"} <= records[0].keys()
    assert all(np.isfinite(value) for record in records for value in record.values())


def test_returns_are_of_whole_episodes_though_rollouts_are_short() -> None:
    class Sure(Echo):
        def step(self, state: Any, action: Any, rng: Any) -> Any:
            after, _, ended = super().step(state, action, rng)
            return after, np.ones(len(action)), ended

    records = records_of(agent_on(Sure(steps=7), 4, n_steps=3), 200)
    returns = [record["return"] for record in records if "return" in record]
    assert set(returns) == {7.0}
    assert len(returns) > 3


# The mask, and bad input.


@pytest.mark.parametrize("options", [{}, {"recurrent": True}])
def test_training_keeps_to_the_mask(options: dict[str, Any]) -> None:
    agent = agent_on(Strict(cantus="fux", mask="rules"), 8, mode="SameStep", **options)
    agent.learn(400)
    masks = np.array([[True, False, True, False, *[False] * 48]] * 200)
    seen = np.repeat(agent.collector._observation[:1], 200, axis=0)  # type: ignore[union-attr]
    assert set(agent.predict(seen, action_masks=masks)[0]) <= {0, 2}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gamma": 1.5}, "gamma and gae_lambda"),
        ({"n_steps": 0}, "n_steps"),
        ({"n_epochs": 0}, "n_epochs"),
        ({"clip_range": 0.0}, "clip_range"),
        ({"kl_coef": 1.0}, "needs a prior"),
        ({"hidden": ()}, "hidden"),
        ({"seed": -1}, "seed"),
        ({"epochs": 3}, "no option 'epochs'"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DescantError, match=message):
        make_agent("ppo", TaskVectorEnv(Echo(), 2), **options)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_stops_the_learning_and_spares_the_weights(bad: float) -> None:
    class Broken(Echo):
        def step(self, state: Any, action: Any, rng: Any) -> Any:
            after, reward, ended = super().step(state, action, rng)
            return after, np.where(action == 2, bad, reward), ended

    agent = agent_on(Broken())
    before = {name: p.clone() for name, p in agent.networks["policy"].state_dict().items()}
    with pytest.raises(DescantError, match="not finite at step 0"):
        agent.learn(500)
    assert all(torch.equal(p, before[name]) for name, p in agent.networks["policy"].state_dict().items())


@pytest.mark.parametrize("form", [{}, {"trunk": "transformer", "hidden": (16, 16)}])
@pytest.mark.parametrize("shared", [False, True])
def test_it_can_be_a_prior(form: dict[str, Any], shared: bool, tmp_path: Path) -> None:
    form = form | {"recurrent": True, "shared": shared}
    agent_on(Recall(), **form).learn(300).save(tmp_path / "prior")
    prior = str(tmp_path / "prior")
    agent = agent_on(Recall(), **form, prior=prior, init=prior, kl_coef=0.1, n_steps=5)
    batches = [agent.roll(agent.collector) for _ in range(3)]  # type: ignore[arg-type]
    for batch in batches:  # the prior's memory goes on as the policy's does
        assert batch.record["kl"] == pytest.approx(0, abs=1e-6)
    assert policy_log_probs(load_agent(prior).networks["policy"], batches[0].rollout).shape == (5, 32, 3)  # type: ignore[attr-defined]


def test_all_options_are_told() -> None:
    assert options_told("ppo.md") == [field.name for field in dataclasses.fields(PPO.Config)]


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_weights_give_the_gradient_of_the_clipped_loss(sign: float) -> None:
    old = torch.linspace(-2.0, -1.0, 21, dtype=torch.float64)
    now = (old + torch.linspace(-0.5, 0.5, 21, dtype=torch.float64)).requires_grad_()
    advantages = sign * torch.linspace(0.5, 2.0, 21, dtype=torch.float64)
    loss = clipped_loss(now, old, advantages, 0.2)
    (theirs,) = torch.autograd.grad(loss, now)
    weights, same = clipped_weights(now.detach(), old, advantages, 0.2)
    torch.testing.assert_close(-weights / 21, theirs)
    torch.testing.assert_close(same, loss.detach())
    assert 0 < (weights == 0).sum() < 21


def test_a_shared_network_weighs_the_critics_loss() -> None:
    agents = [agent_on(Echo(symbols=4), shared=True, vf_coef=weight) for weight in (0.0, 0.5)]
    for agent, moves in zip(agents, (False, True), strict=True):
        before = agent.networks["policy"].heads["value"].weight.clone()
        agent.learn(100)
        assert torch.equal(agent.networks["policy"].heads["value"].weight, before) != moves


@pytest.mark.parametrize("shared", [False, True])
def test_all_networks_have_the_activation_that_was_chosen(shared: bool) -> None:
    env = TaskVectorEnv(Echo(), 2)
    for network in make_agent("ppo", env, activation="tanh", shared=shared).networks.values():
        kinds = {type(layer) for layer in network.trunk.layers} - {torch.nn.Linear}
        assert kinds == {torch.nn.Tanh}
    with pytest.raises(DescantError, match="activation must be relu or tanh"):
        make_agent("ppo", env, activation="none")
