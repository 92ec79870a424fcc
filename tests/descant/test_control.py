"""KL control: what it costs, where it goes, and that it comes back from a checkpoint."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from descant import load_agent, make_agent
from descant.agents.reinforce import Reinforce
from descant.control import Control, ControlConfig, adapted, kl_loss
from descant.envs.tokens import Tokens
from descant.errors import DescantError
from descant.priors import Uniform
from descant.rollouts import Collector
from descant.shells import TaskVectorEnv

from ..sequences import assert_same, expected_update, gradient, objective, random_weights
from ..tiny_tasks import Dice, Echo, Recall

SMALL: dict[str, Any] = {"hidden": (16,), "critic_hidden": (16,), "learning_rate": 0.01}


def agent_on(task: Any, n: int = 16, **config: Any) -> Reinforce:
    made = make_agent("reinforce", TaskVectorEnv(task, n), **(SMALL | config))
    assert isinstance(made, Reinforce)
    return made


def still(task: Any, **config: Any) -> Reinforce:
    """An agent whose gradients can be read, and whose weights stay."""
    plain = {"ent_coef": 0.0, "normalize_advantage": False, "max_grad_norm": 1e12, "gamma": 1.0}
    agent = agent_on(task, 1, learning_rate=1e-30, **(plain | config))
    for network in agent.networks.values():
        random_weights(network)
    return agent


@pytest.mark.parametrize("baseline", ["none", "learned"])
@pytest.mark.parametrize("estimator", ["k1", "exact"])
@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_reward_minus_kl_goes_up_the_regularised_objective(
    estimator: str, baseline: str, scale: float
) -> None:
    """With no reward at all, this is the gradient of -KL(pi || p)."""
    task = Tokens(tokens=3, steps=3, unary_scale=scale, pair_scale=scale, triple_scale=scale)
    agent = still(task, prior="task", kl_coef=0.7, kl_estimator=estimator, baseline=baseline)
    network = agent.networks["policy"]
    expected = gradient(objective(network, task, 0.7), network)
    found = expected_update(agent, task, lambda rollout: agent.update(rollout, ent_coef=0.0))
    assert_same(found, expected)


def test_the_exact_kl_in_the_reward_alone_would_not() -> None:
    task = Tokens(tokens=3, steps=3, unary_scale=0, pair_scale=0, triple_scale=0)
    agent = still(task, prior="task", kl_coef=0.7, baseline="none")
    network = agent.networks["policy"]
    expected = gradient(objective(network, task, 0.7), network)

    def without_loss(rollout: Any) -> None:
        kept = Control.in_loss
        try:
            Control.in_loss = False  # type: ignore[assignment, method-assign]
            agent.update(rollout, ent_coef=0.0)
        finally:
            Control.in_loss = kept  # type: ignore[method-assign]

    found = expected_update(agent, task, without_loss)
    assert max(float((a - b).abs().max()) for a, b in zip(found, expected, strict=True)) > 0.01


def test_k3_in_the_loss_descends_the_other_kl() -> None:
    """E_pi[grad k3] is the gradient of KL(p || pi), not of KL(pi || p)."""
    torch.manual_seed(0)
    logits = torch.randn(5, dtype=torch.float64, requires_grad=True)
    prior = torch.randn(5, dtype=torch.float64).log_softmax(-1)

    def of(value: torch.Tensor) -> torch.Tensor:
        return torch.autograd.grad(value, logits)[0]

    log_pi = logits.log_softmax(-1)
    ratio = prior - log_pi
    k3 = ratio.exp() - 1 - ratio
    expected_k3 = of((log_pi.detach().exp() * k3).sum())  # actions drawn from pi, k3 differentiated
    forward = of((prior.exp() * (prior - logits.log_softmax(-1))).sum())
    reverse = of(kl_loss(logits.log_softmax(-1), prior))
    torch.testing.assert_close(expected_k3, forward, atol=1e-12, rtol=0)
    assert float((expected_k3 - reverse).abs().max()) > 0.05
    cost = (logits.log_softmax(-1) - prior).detach()
    log_pi = logits.log_softmax(-1)
    k1_in_reward = of((log_pi.detach().exp() * cost * log_pi).sum())
    torch.testing.assert_close(k1_in_reward, reverse, atol=1e-12, rtol=0)


def test_advantages_of_unit_deviation_scale_the_kl_of_the_loss_too() -> None:
    task = Tokens(tokens=3, steps=3)
    options = {"prior": "task", "kl_coef": 0.7, "baseline": "mean"}
    one, two = still(task, **options), still(task, normalize_advantage=True, **options)
    rollout = Collector(TaskVectorEnv(task, 32)).episodes(one.actor(), seed=0)
    for agent in (one, two):
        agent.update(rollout, ent_coef=0.0)
    ratios = [
        (a.grad / b.grad)[b.grad.abs() > 1e-6]  # type: ignore[operator, union-attr]
        for a, b in zip(one.networks["policy"].parameters(), two.networks["policy"].parameters(), strict=True)
    ]
    ratio = torch.cat(ratios)
    torch.testing.assert_close(ratio, ratio[0].expand_as(ratio), rtol=1e-4, atol=0)
    assert abs(float(ratio[0]) - 1) > 0.01


@pytest.mark.parametrize("task", [Dice(), Tokens(tokens=3, steps=3)])
def test_costs_are_those_of_the_estimators(task: Any) -> None:
    agent = agent_on(task)
    rollout = Collector(agent.env).episodes(agent.actor(), seed=0)  # type: ignore[arg-type]
    actions = int(task.action_space.n)
    log_policy = np.log(np.full((*rollout.actions.shape, actions), 1e-300))
    masks = np.ones_like(log_policy, bool) if rollout.masks is None else rollout.masks
    shares = np.where(masks, np.arange(1.0, actions + 1), 0)
    shares /= np.maximum(shares.sum(-1, keepdims=True), 1)
    log_policy = np.log(np.maximum(shares, 1e-300))
    costs = {}
    for kind in ("k1", "exact"):
        control = Control(ControlConfig(prior="uniform", kl_coef=2.0, kl_estimator=kind), agent.env)  # type: ignore[arg-type]
        log_prior = control.log_prior(rollout)
        costs[kind] = control.price(rollout, log_policy, log_prior)
    for t, row in np.ndindex(*rollout.actions.shape):
        if not rollout.valid[t, row]:
            assert costs["k1"][t, row] == costs["exact"][t, row] == 0
            continue
        pi = shares[t, row][masks[t, row]]
        even = 1 / masks[t, row].sum()
        taken = shares[t, row, rollout.actions[t, row]]
        assert costs["k1"][t, row] == pytest.approx(2 * np.log(taken / even))
        assert costs["exact"][t, row] == pytest.approx(2 * (pi * np.log(pi / even)).sum())


def test_the_coefficient_moves_towards_its_target() -> None:
    assert adapted(1.0, 2.0, 1.0, 0.1) == pytest.approx(1.02)  # far above: the largest step
    assert adapted(1.0, 1.1, 1.0, 0.1) == pytest.approx(1.01)
    assert adapted(1.0, 1.0, 1.0, 0.1) == 1.0
    assert adapted(2.0, 0.0, 1.0, 0.1) == pytest.approx(1.96)


def records_of(agent: Any, steps: int) -> list[dict[str, float]]:
    records: list[dict[str, float]] = []

    class Tracker:
        def log(self, step: int, record: dict[str, float]) -> None:
            records.append(record)

    agent.learn(steps, tracker=Tracker())
    return records


def test_a_target_is_held() -> None:
    """The coefficient swings about what holds the target: so the mean over many rollouts is looked at."""
    options = {"prior": "uniform", "ent_coef": 0.0, "ent_coef_final": 0.0, "lr_schedule": "constant"}
    free = records_of(agent_on(Echo(), n=64, kl_coef=0.1, **options), 40_000)
    held = records_of(agent_on(Echo(), n=64, kl_coef=0.1, kl_target=0.3, **options), 100_000)
    assert np.mean([record["kl"] for record in free[100:]]) > 1
    assert np.mean([record["kl"] for record in held[220:]]) == pytest.approx(0.3, rel=0.2)
    assert {record["kl_coef"] for record in free} == {0.1}


def test_a_dear_kl_keeps_the_policy_at_its_prior_and_the_meter_runs_always() -> None:
    ends = {}
    for coef in (0.0, 20.0):
        records = records_of(agent_on(Echo(), n=64, prior="uniform", kl_coef=coef, ent_coef=0.0), 16_000)
        assert {"kl", "kl_k1", "kl_k1_se", "kl_k3", "prior_log_prob", "kl_coef"} <= records[0].keys()
        ends[coef] = records[-1]
    assert ends[20.0]["kl"] < 0.01 < 0.8 < ends[0.0]["kl"]
    assert ends[0.0]["return"] > 2.5 > 1.5 > ends[20.0]["return"]


def test_a_prior_that_costs_nothing_changes_nothing_but_the_log() -> None:
    one, two = agent_on(Dice()).learn(500), agent_on(Dice(), prior="uniform").learn(500)
    for name, weight in one.parts().weights.items():
        assert torch.equal(torch.as_tensor(weight), torch.as_tensor(two.parts().weights[name]))


@pytest.mark.parametrize(
    "form", [{}, {"recurrent": True}, {"recurrent": True, "trunk": "transformer", "hidden": (16, 16)}]
)
def test_a_run_is_a_prior_and_its_own_kl_is_nothing(tmp_path: Path, form: dict[str, Any]) -> None:
    agent = agent_on(Recall(), **form).learn(500)
    agent.save(tmp_path / "prior")
    again = agent_on(Recall(), **form, prior=str(tmp_path / "prior"), init=str(tmp_path / "prior"))
    first = records_of(again, 10)[0]
    assert first["kl"] == pytest.approx(0, abs=1e-6)
    assert records_of(again, 2000)[-1]["kl"] > 1e-4


@pytest.mark.parametrize("options", [{"kl_target": 0.2}, {"kl_estimator": "k1"}])
def test_learning_in_two_halves_is_learning_in_one_go(tmp_path: Path, options: dict[str, Any]) -> None:
    options = {"prior": "uniform", "kl_coef": 0.5, **options}
    whole = agent_on(Dice(), **options).learn(1000)
    first = agent_on(Dice(), **options).learn(1000, callback=lambda agent: agent.num_timesteps < 500)
    first.save(tmp_path / "last")
    second = load_agent(tmp_path / "last", TaskVectorEnv(Dice(), 16)).learn(1000)
    assert isinstance(second, Reinforce)
    assert second.control.coef == whole.control.coef
    for name, weight in whole.parts().weights.items():
        assert torch.equal(torch.as_tensor(weight), torch.as_tensor(second.parts().weights[name])), name


def test_a_trained_agent_outlives_its_prior(tmp_path: Path) -> None:
    agent_on(Echo()).save(tmp_path / "prior")
    agent = agent_on(Echo(), prior=str(tmp_path / "prior"), init=str(tmp_path / "prior"))
    agent.learn(100).save(tmp_path / "last")
    (tmp_path / "prior").rename(tmp_path / "moved")
    for env in (None, TaskVectorEnv(Echo(), 4)):
        loaded = load_agent(tmp_path / "last", env)
        np.testing.assert_array_equal(loaded.log_probs(np.arange(4)), agent.log_probs(np.arange(4)))
    with pytest.raises(DescantError, match="prior"):
        loaded.learn(200)


def test_an_object_can_be_the_prior() -> None:
    agent = agent_on(Echo())
    agent.control.prior = Uniform(4)
    assert records_of(agent, 10)[0]["kl"] == pytest.approx(0, abs=0.01)


def test_a_prior_that_rules_out_what_is_allowed_is_refused() -> None:
    class Sure:
        def log_probs(self, observation: Any, state: Any = None, action_masks: Any = None) -> Any:
            return np.where(np.arange(4) == 0, 0.0, -np.inf)[None].repeat(len(observation), 0)

    agent = agent_on(Echo())
    agent.control.prior = Sure()
    with pytest.raises(DescantError, match="gives no chance to an action that is allowed"):
        agent.learn(100)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kl_coef": 1.0}, "kl_coef needs a prior"),
        ({"prior": "uniform", "kl_coef": -1.0}, "kl_coef and kl_target must be 0 or more"),
        ({"prior": "uniform", "kl_target": 1.0}, "pass a kl_coef above 0"),
        ({"prior": "uniform", "kl_coef": 1.0, "kl_gain": 0.0}, "kl_gain"),
        ({"prior": "uniform", "kl_estimator": "k2"}, "must be k1 or exact"),
        ({"prior": "task"}, "carries no prior of its own"),
        ({"prior": "/nowhere/at/all"}, "nowhere"),
    ],
)
def test_bad_options_are_refused_before_any_work(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DescantError, match=message):
        agent_on(Echo(), **options)


def test_a_prior_of_another_environment_is_refused(tmp_path: Path) -> None:
    agent_on(Echo(symbols=5)).save(tmp_path / "prior")
    for name in ("prior", "init"):
        with pytest.raises(DescantError, match=r"train a prior on this environment|another network"):
            agent_on(Echo(symbols=4), **{name: str(tmp_path / "prior")})


def test_rewards_of_the_rollout_are_left_as_they_were() -> None:
    agent = agent_on(Echo(), prior="uniform", kl_coef=1.0)
    rollout = Collector(agent.env).episodes(agent.actor(), seed=0)  # type: ignore[arg-type]
    before = copy.deepcopy(rollout.rewards)
    record = agent.update(rollout, ent_coef=0.0)
    np.testing.assert_array_equal(rollout.rewards, before)
    assert record["return"] == pytest.approx(before.sum(0).mean())
