"""Actor-critic: it learns, its expected gradient is exact, it goes on exactly, it keeps to the mask."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from descant import make_agent
from descant.agents.actor_critic import ActorCritic, actor_loss, critic_loss
from descant.envs.tokens import Tokens
from descant.errors import DescantError
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

BATCH = {"collect": "episodes"}
MONTE_CARLO = {"collect": "episodes", "critic_target": "monte-carlo"}


def agent_on(task: Any, n: int = 32, **config: Any) -> ActorCritic:
    agent: ActorCritic = made_on(ActorCritic, task, n, **config)
    return agent


# Learning.


@pytest.mark.parametrize(
    "options",
    [{}, {"shared": True}, {"advantage": "n-step", "n_step": 2}, BATCH, MONTE_CARLO],
)
@pytest.mark.parametrize("steps", [1, 3])
def test_it_learns_to_name_what_it_sees(options: dict[str, Any], steps: int) -> None:
    agent = agent_on(Echo(symbols=4, steps=steps), **({"n_steps": 4} | options)).learn(8000 * steps)
    assert agent.predict(np.arange(4), deterministic=True)[0].tolist() == [0, 1, 2, 3]
    right = np.exp(agent.log_probs(np.arange(4)))[np.arange(4), np.arange(4)]
    assert right.min() > 0.9


@pytest.mark.parametrize("options", [{"n_steps": 5}, {"shared": True, **BATCH}])
def test_an_lstm_learns_what_needs_memory(options: dict[str, Any]) -> None:
    task = Recall(symbols=3, steps=3)
    agent = agent_on(task, n=64, recurrent=True, gae_lambda=1.0, **options, learning_rate=0.02)
    agent.learn(32_000)
    assert recall(agent, task) == 1.0


def test_it_improves_on_cartpole() -> None:
    agent = agent_on(None, env=cartpole(), n_steps=16, learning_rate=0.01)
    returns = [record["return"] for record in records_of(agent, 30_000) if "return" in record]
    assert np.mean(returns[:3]) < 40
    assert np.mean(returns[-10:]) > 80


# The gradient.


@pytest.mark.parametrize(
    "options",
    [
        *({"gae_lambda": lam, "shared": shared} for lam in (0.0, 0.6, 1.0) for shared in (False, True)),
        *({"advantage": "n-step", "n_step": n} for n in (1, 2, 9)),
        {"gae_lambda": 0.6, **MONTE_CARLO},
        {"gae_lambda": 0.6, "prior": "task", "kl_coef": 0.5},
        {"gae_lambda": 0.6, "prior": "task", "kl_coef": 0.5, "kl_estimator": "k1"},
        {"gae_lambda": 0.6, "prior": "task", "recurrent": True},
    ],
)
def test_with_the_true_critic_the_expected_gradient_is_exact(options: dict[str, Any]) -> None:
    """The critic's own gradient aside, where it shares the network."""
    task = Tokens(tokens=3, steps=3)
    plain: dict[str, Any] = {"normalize_advantage": False, "max_grad_norm": 1e12, "gamma": 1.0}
    plain |= {"learning_rate": 1e-30, "vf_coef": 0.0}
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)  # an LSTM begins with zeros of the default type
    try:
        agent = agent_on(task, 1, **(plain | options))
        for network in agent.networks.values():
            random_weights(network)
        network = agent.networks["policy"]
        if not options.get("recurrent"):
            with_true_critic(agent, task, agent.config.kl_coef)
        else:  # its values depend on all that it saw, so take the critic for a baseline alone
            object.__setattr__(agent.config, "gae_lambda", 1.0)
        expected = gradient(objective(network, task, agent.config.kl_coef), network)
        found = expected_update(
            agent, task, lambda rollout: agent.update(agent.assess(rollout, acted(agent, rollout), {}), 0.0)
        )
        assert_same(found, expected)
    finally:
        torch.set_default_dtype(before)


def test_a_wrong_critic_biases_what_is_bootstrapped_and_not_what_is_not() -> None:
    task = Tokens(tokens=3, steps=3)
    errors = {}
    for lam in (0.0, 1.0):
        plain: dict[str, Any] = {"normalize_advantage": False, "max_grad_norm": 1e12, "gamma": 1.0}
        agent = agent_on(task, 1, learning_rate=1e-30, gae_lambda=lam, **plain)
        for network in agent.networks.values():
            random_weights(network)
        network = agent.networks["policy"]
        expected = gradient(objective(network, task), network)
        found = expected_update(
            agent, task, lambda rollout, a=agent: a.update(a.assess(rollout, acted(a, rollout), {}), 0.0)
        )
        errors[lam] = max(float((a - b).abs().max()) for a, b in zip(found, expected, strict=True))
    assert errors[1.0] < 1e-6 < 1e-2 < errors[0.0]


def test_losses_by_hand() -> None:
    log_probs, advantages = torch.tensor([-1.0, -2.0]), torch.tensor([3.0, -1.0])
    assert actor_loss(log_probs, advantages).item() == pytest.approx(-(-3.0 + 2.0) / 2)
    assert critic_loss(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 2.0])).item() == pytest.approx(1.0)


@pytest.mark.parametrize("target", ["bootstrap", "monte-carlo"])
def test_the_critic_learns_the_values_of_the_policy(target: str) -> None:
    """Of uniform play: half a point a step on two symbols."""
    task = Echo(symbols=2, steps=3)
    agent = agent_on(
        task, 64, critic_target=target, collect="episodes", ent_coef=1e3, ent_coef_final=1e3, gamma=1.0
    )
    agent.learn(40_000)
    batch = agent.roll(agent.collector, whole=True)  # type: ignore[arg-type]
    # What is seen tells nothing of the time: the value is the mean over 3, 2 and 1 steps to go, or what explains it.
    assert batch.values.mean() == pytest.approx(1.0, abs=0.15)


def test_a_dear_kl_keeps_the_policy_at_its_prior() -> None:
    ends = {c: records_of(agent_on(Echo(), prior="uniform", kl_coef=c), 12_000)[-1] for c in (0.0, 20.0)}
    assert ends[20.0]["kl"] < 0.01 < 0.8 < ends[0.0]["kl"]


# Repeating, saving, going on.


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    made = []
    for seed in (1, 1, 2):
        torch.randn(seed)
        made.append(weights_of(agent_on(Dice(), seed=seed).learn(600)))
    assert same(made[0], made[1])
    assert not same(made[0], made[2])


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        BATCH,
        {"recurrent": True, "shared": True},
        {"recurrent": True, "prior": "uniform", "kl_coef": 0.1, "kl_target": 0.3},
    ],
)
def test_learning_in_two_halves_is_learning_in_one_go(
    tmp_path: Path, options: dict[str, Any], mode: str
) -> None:
    def env() -> Any:
        return TaskVectorEnv(Dice(), 16, autoreset_mode=mode, max_episode_steps=5)

    whole = agent_on(None, env=env(), **options).learn(1200)
    first = agent_on(None, env=env(), **options).learn(1200, callback=lambda a: a.num_timesteps < 600)
    first.save(tmp_path / "last")
    second = ActorCritic.load(tmp_path / "last", env()).learn(1200)
    assert same(weights_of(whole), weights_of(second))
    assert second.num_timesteps == whole.num_timesteps
    assert not same(weights_of(first), weights_of(second))


def test_what_is_logged() -> None:
    records = records_of(agent_on("descant/Counterpoint-v0", 8, n_steps=20), 600)
    expected = {"return", "policy_loss", "entropy", "value_loss", "explained_variance", "grad_norm", "legal"}
    assert expected <= records[0].keys()
    assert all(np.isfinite(value) for record in records for value in record.values())


# The mask, and bad input.


@pytest.mark.parametrize("options", [{}, {"recurrent": True}, BATCH])
def test_training_keeps_to_the_mask(options: dict[str, Any]) -> None:
    agent_on(Strict(cantus="fux", mask="rules"), 8, mode="SameStep", **options).learn(400)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"critic_target": "monte-carlo"}, "pass collect='episodes'"),
        ({"critic_target": "exact"}, "critic_target must be"),
        ({"collect": "some"}, "collect must be"),
        ({"advantage": "some"}, "advantage must be"),
        ({"advantage": "n-step", "n_step": 0}, "n_step"),
        ({"gae_lambda": -0.1}, "gae_lambda"),
        ({"penalty": "ewc"}, "pass init"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DescantError, match=message):
        make_agent("actor-critic", TaskVectorEnv(Echo(), 2), **options)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_loss_that_is_not_finite_stops_the_learning_and_spares_the_weights() -> None:
    class Broken(Echo):
        def step(self, state: Any, action: Any, rng: Any) -> Any:
            after, reward, ended = super().step(state, action, rng)
            return after, np.where(action == 2, np.nan, reward), ended

    agent = agent_on(Broken())
    before = {name: p.clone() for name, p in agent.networks["policy"].state_dict().items()}
    with pytest.raises(DescantError, match="not finite at step 0"):
        agent.learn(500)
    assert all(torch.equal(p, before[name]) for name, p in agent.networks["policy"].state_dict().items())


def test_all_options_are_told() -> None:
    assert options_told("actor-critic.md") == [field.name for field in dataclasses.fields(ActorCritic.Config)]
