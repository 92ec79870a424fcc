"""Agents that divide their logits by a temperature act and learn as those whose logits are smaller by themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from descant import make_agent
from descant.agents.reference_critics import follow
from descant.envs.tokens import Tokens
from descant.errors import DescantError
from descant.makers import load_agent
from descant.shells import TaskVectorEnv

from ..tiny_tasks import Echo
from .enumeration import EXACT, exact_agent
from .tiny_translations import FORM, tiny

T = 0.4
PRIOR = {"prior": "uniform", "kl_coef": 0.3}
CRITIC = {"critic_hidden": (8,), "gamma": 1.0}
AGENTS: list[tuple[str, dict[str, Any]]] = [
    ("reinforce", {**CRITIC, **PRIOR, "updates": 2}),
    ("reinforce", {**PRIOR, "baseline": "self-critical"}),
    ("actor-critic", {**CRITIC, **PRIOR, "collect": "episodes", "ent_coef": 0.3}),
    ("ppo", {**CRITIC, **PRIOR, "n_epochs": 1, "minibatch_size": 1000, "ent_coef": 0.3}),
    ("ppo", {**CRITIC, "n_epochs": 1, "minibatch_size": 1000, "shared": True}),
    ("rloo", {"group_size": 4, **PRIOR, "ent_coef": 0.3}),
]


def gradients(agent: Any, last: tuple[str, ...], shrink: float) -> list[torch.Tensor]:
    """Of the policy's weights by one iteration; the `last` ones, which make the logits, are made smaller before."""
    policy = agent.networks["policy"]
    ends = {name: weight for name, weight in policy.named_parameters() if name in last}
    assert len(ends) == len(last)
    with torch.no_grad():
        for weight in ends.values():
            weight.div_(shrink)
    if "target_policy" in agent.networks:
        follow(agent.networks, 1.0)
    agent.optimizers.clear()
    agent.learn(1)
    return [
        w.grad / (shrink if n in ends else 1.0) for n, w in policy.named_parameters() if w.grad is not None
    ]


def assert_same(hot: list[torch.Tensor], plain: list[torch.Tensor], exactness: float) -> None:
    assert len(hot) == len(plain) > 2
    for one, other in zip(hot, plain, strict=True):
        torch.testing.assert_close(one, other, atol=exactness, rtol=exactness)
    assert max(float(one.abs().max()) for one in hot) > 1e-3


@pytest.mark.parametrize(("name", "config"), AGENTS)
def test_it_learns_as_one_with_smaller_logits(name: str, config: dict[str, Any]) -> None:
    found = []
    for temperature, shrink in ((T, 1.0), (1.0, T)):
        options = {**EXACT, **config, "temperature": temperature}
        agent: Any = make_agent(name, TaskVectorEnv(Tokens(3, 3, seed=1), 16), **options)
        head = ("heads.policy.weight", "heads.policy.bias")
        found.append(gradients(exact_agent(agent), head, shrink))
    assert_same(*found, exactness=1e-6)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("reinforce", {"baseline": "self-critical", "gamma": 1.0}),
        ("ppo", {"critic_hidden": (8, 8), "n_epochs": 1, "minibatch_size": 1000, "n_steps": 3}),
        (
            "actor-critic",
            {
                "critic_hidden": (8, 8),
                "critic_sees": "reference",
                "collect": "episodes",
                "critic_warmup": 0.0,
            },
        ),
    ],
)
def test_it_translates_likewise(name: str, config: dict[str, Any], tmp_path: Path) -> None:
    found = []
    for temperature, shrink in ((T, 1.0), (1.0, T)):
        agent = make_agent(name, tiny(tmp_path, 32), **FORM, **config, temperature=temperature)
        found.append(gradients(agent, ("bias", "model.norm.weight", "model.norm.bias"), shrink))
    assert_same(*found, exactness=1e-4)  # type: ignore[misc]


@pytest.mark.parametrize("name", ["reinforce", "actor-critic", "ppo"])
def test_a_checkpoint_keeps_the_logits_and_the_temperature(name: str, tmp_path: Path) -> None:
    agent = make_agent(name, TaskVectorEnv(Echo(), 4), hidden=(8,), temperature=T)
    agent.save(tmp_path / "run")
    again = load_agent(tmp_path / "run")
    plain = make_agent(name, TaskVectorEnv(Echo(), 4), hidden=(8,), init=str(tmp_path / "run"))
    seen = np.arange(4)
    np.testing.assert_array_equal(agent.log_probs(seen), again.log_probs(seen))
    divided = torch.log_softmax(torch.as_tensor(plain.log_probs(seen)) / T, -1)
    np.testing.assert_allclose(agent.log_probs(seen), divided, atol=1e-6)


@pytest.mark.parametrize("name", ["reinforce", "actor-critic", "ppo"])
@pytest.mark.parametrize("temperature", [0.0, -1.0, float("inf"), float("nan")])
def test_a_temperature_that_is_none_is_refused(name: str, temperature: float) -> None:
    with pytest.raises(DescantError, match="temperature must be positive"):
        make_agent(name, TaskVectorEnv(Echo(), 4), temperature=temperature)
