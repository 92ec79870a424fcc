"""The off-policy actor-critic: targets by hand and against the exact solution, masks, seeds, resume."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode

from descant.agents.off_policy_ac import Config, OffPolicyAC, actor_loss, soft_value
from descant.errors import DescantError
from descant.evaluation import evaluate
from descant.policies.categorical import masked_log_softmax
from descant.shells import TaskVectorEnv

from ..test_docs import options_in
from ..tiny_tasks import Dice, Echo, Heap
from .replaying import Records, agent_on, assert_same, check_mask_is_kept, check_resume, check_same_seed


def test_soft_value_is_the_expectation_over_allowed_actions() -> None:
    log_probs = masked_log_softmax(torch.tensor([[0.0, 0.0, 9.0]]), torch.tensor([[True, True, False]]))
    values = torch.tensor([[1.0, 3.0, 100.0]])
    assert float(soft_value(log_probs, values, 0.0)) == pytest.approx(2)
    assert float(soft_value(log_probs, values, 0.5)) == pytest.approx(2 + 0.5 * np.log(2))


def test_actor_loss_is_least_at_the_softmax_of_the_values() -> None:
    """For alpha > 0 the best policy is softmax(Q / alpha), and the value is alpha logsumexp(Q / alpha)."""
    values = torch.tensor([[1.0, 2.0, -1.0]], dtype=torch.float64)
    logits = (values / 0.7).requires_grad_()
    loss = actor_loss(torch.log_softmax(logits, -1), values, 0.7)
    assert float(loss.detach()) == pytest.approx(-0.7 * float(torch.logsumexp(values / 0.7, -1)))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient.abs().max() < 1e-12


def test_gradient_of_the_actor_is_that_of_finite_differences() -> None:
    values = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    logits = values.flip(0).clone().requires_grad_()
    masks = torch.tensor([[True, True, False], [True, True, True], [False, True, True], [True, False, False]])
    assert torch.autograd.gradcheck(
        lambda x: actor_loss(masked_log_softmax(x, masks), values, 0.3), (logits,)
    )
    loss = actor_loss(masked_log_softmax(logits, masks), values, 0.3)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert (gradient[~masks] == 0).all()


@pytest.mark.parametrize("options", [{}, {"target": "hard", "ent_coef_final": 0.0}], ids=str)
def test_solves_a_trivial_task(options: dict[str, Any]) -> None:
    settings = {"gamma": 0.9, "learning_rate": 5e-3, "gradient_steps": 4, "tau": 0.05, "target_interval": 20}
    agent = agent_on(OffPolicyAC, Echo(), 16, **settings | options).learn(4000)
    assert np.mean([outcome.score for outcome in evaluate(agent, Echo())]) > 0.95


def test_learns_the_soft_values_of_a_tiny_task() -> None:
    """One step, rewards known: pi is softmax(r / alpha), Q is r."""
    options = {"ent_coef": 0.5, "ent_coef_final": 0.5, "learning_rate": 5e-3, "gradient_steps": 4}
    agent = agent_on(OffPolicyAC, Echo(3, 1), 16, **options).learn(4000)
    seen = np.arange(3)
    reward = np.eye(3)
    exact = np.exp(reward / 0.5) / np.exp(reward / 0.5).sum(axis=1, keepdims=True)
    assert np.exp(agent.log_probs(seen)) == pytest.approx(exact, abs=0.02)
    values = agent.networks["critic"](torch.as_tensor(seen))["q"].detach().numpy()
    assert values == pytest.approx(reward, abs=0.02)


def test_learns_on_cartpole() -> None:
    env = gymnasium.make_vec("CartPole-v1", num_envs=8)
    options = {"hidden": (64, 64), "learning_rate": 2e-3, "gradient_steps": 4, "buffer_size": 10_000}
    agent = agent_on(OffPolicyAC, Echo(), env=env, **options)
    tracker = Records()
    agent.learn(6100, tracker=tracker)
    returns = [record["return"] for record in tracker.records if "return" in record]
    assert max(returns) > 1.5 * returns[0] > 15


def test_masked_actions_are_never_taken() -> None:
    check_mask_is_kept(agent_on(OffPolicyAC, Dice()), Dice())


@pytest.mark.parametrize("target", ["hard", "polyak"])
def test_resumed_is_as_if_never_stopped(target: str, tmp_path: Path) -> None:
    check_resume(OffPolicyAC, Heap(), tmp_path / "checkpoint", target=target, target_interval=7)


def test_resumed_where_the_environment_resets_at_once(tmp_path: Path) -> None:
    def agent() -> Any:
        return agent_on(OffPolicyAC, Dice(), env=env())

    def env() -> TaskVectorEnv:
        return TaskVectorEnv(Dice(), 4, autoreset_mode=AutoresetMode.SAME_STEP, max_episode_steps=3)

    whole, calls = agent().learn(300), iter(range(100))
    agent().learn(300, callback=lambda a: bool(a.save(tmp_path / "c")) or next(calls) < 20)
    assert_same(whole, OffPolicyAC.load(tmp_path / "c", env()).learn(300))


def test_same_seed_same_weights() -> None:
    check_same_seed(OffPolicyAC, Heap())


@pytest.mark.parametrize("wrong", [{"ent_coef": -1.0}, {"gamma": 2.0}, {"batch_size": 0}], ids=str)
def test_senseless_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(DescantError, match=next(iter(wrong))):
        Config(**wrong)


def test_the_options_are_all_told() -> None:
    document = (Path(__file__).parents[2] / "docs/off-policy-ac.md").read_text(encoding="utf-8")
    assert options_in(document) == [field.name for field in dataclasses.fields(Config)]
