"""Penalties on weights: EWC is the KL to second order, and what is held stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from descant import load_agent, make_agent
from descant.agents.reinforce import Reinforce
from descant.errors import DescantError
from descant.penalties import PenaltyConfig, fisher_diagonal, held, quadratic, states_of
from descant.policies.categorical import masked_log_softmax
from descant.policies.networks import Network
from descant.rollouts import Collector
from descant.shells import TaskVectorEnv

from ..sequences import random_weights
from ..tiny_tasks import Dice, Echo, Recall

SMALL: dict[str, Any] = {"hidden": (16,), "critic_hidden": (16,), "learning_rate": 0.01}


def agent_on(task: Any, n: int = 16, **config: Any) -> Reinforce:
    made = make_agent("reinforce", TaskVectorEnv(task, n), **(SMALL | config))
    assert isinstance(made, Reinforce)
    return made


class Rows:
    """Observations with masks, and the policy's log-probabilities on them."""

    def __init__(self, recurrent: bool) -> None:
        self.task = Recall(symbols=3, steps=3) if recurrent else Echo(symbols=4)
        space = self.task.observation_space
        self.network = Network(space, {"policy": 4, "value": 1}, (6, 5), recurrent)
        random_weights(self.network)
        rng = np.random.default_rng(0)
        self.seen = torch.as_tensor(rng.integers(4, size=(3, 5)))
        self.starts = torch.zeros(3, 5, dtype=torch.bool)
        self.starts[0] = True
        self.masks = torch.as_tensor(rng.random((3, 5, 4)) < 0.7) | (torch.arange(4) == 2)

    def log_probs(self) -> torch.Tensor:
        heads, _ = self.network.sequence(self.seen, self.starts)
        return masked_log_softmax(heads["policy"], self.masks).reshape(-1, 4)


def kl(one: torch.Tensor, two: torch.Tensor) -> float:
    return float((one.exp() * (one - two)).sum(-1).mean())


@pytest.fixture
def _float64() -> Any:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)  # an LSTM begins with zeros of the default type
    yield
    torch.set_default_dtype(before)


@pytest.mark.usefixtures("_float64")
@pytest.mark.parametrize("recurrent", [False, True])
def test_ewc_agrees_with_the_kl_to_second_order(recurrent: bool) -> None:
    rows = Rows(recurrent)
    fisher = fisher_diagonal(rows.network, iter(rows.log_probs()))
    parameters = held(rows.network)
    start = {name: p.detach().clone() for name, p in parameters.items()}
    before = rows.log_probs().detach()
    rng, checked = np.random.default_rng(1), 0
    for name, parameter in parameters.items():
        for i in rng.integers(parameter.numel(), size=8):
            errors = []
            for step in (2e-3, 1e-3):
                with torch.no_grad():
                    parameter.view(-1)[i] += step
                    pair = (
                        kl(before, rows.log_probs()),
                        float(quadratic(parameters, start, fisher)),
                    )
                    parameter.copy_(start[name])
                errors.append(abs(pair[0] - pair[1]))
                assert errors[-1] <= 0.02 * pair[1] + 1e-12
            if pair[1] > 1e-9:
                checked += 1
                assert errors[1] <= errors[0] / 6 + 1e-13, (
                    "the error is of third order: an eighth at half the step"
                )
    assert checked > 10


@pytest.mark.parametrize("recurrent", [False, True])
def test_the_fisher_information_of_a_rollout_leaves_out_what_did_not_happen(recurrent: bool) -> None:
    agent = agent_on(Dice(), n=4, recurrent=recurrent)
    network = agent.networks["policy"]
    rollout = Collector(agent.env).episodes(agent.actor(), seed=1)  # type: ignore[arg-type]
    drawn = list(states_of(network, rollout, 10_000, torch.Generator().manual_seed(0)))
    assert len(drawn) == rollout.steps < rollout.valid.size
    fisher = fisher_diagonal(network, iter(drawn))
    slow = {name: torch.zeros_like(p) for name, p in held(network).items()}
    heads, _ = network.sequence(
        {k: torch.as_tensor(v) for k, v in rollout.observations.items()}, torch.as_tensor(rollout.starts)
    )
    log_probs = masked_log_softmax(heads["policy"], torch.as_tensor(rollout.masks))
    for t, row in np.argwhere(rollout.valid):
        for action in np.flatnonzero(rollout.masks[t, row]):  # type: ignore[index]
            value = log_probs[t, row, action]
            gradients = torch.autograd.grad(value, list(held(network).values()), retain_graph=True)
            for name, part in zip(slow, gradients, strict=True):
                slow[name] += value.detach().exp() * part**2 / rollout.steps
    for name, value in slow.items():
        torch.testing.assert_close(fisher[name], value, rtol=1e-3, atol=1e-6)
    few = list(states_of(network, rollout, 3, torch.Generator()))
    assert recurrent or len(few) == 3


def learned(path: Path, task: Any = None, **options: Any) -> str:
    agent_on(task or Echo(), **options).learn(3000).save(path)
    return str(path)


def distance(agent: Reinforce, start: dict[str, torch.Tensor]) -> float:
    return (
        sum(float(((p.detach() - start[n]) ** 2).sum()) for n, p in held(agent.networks["policy"]).items())
        ** 0.5
    )


@pytest.mark.parametrize("kind", ["l2-sp", "ewc"])
def test_a_penalty_keeps_the_weights_near_their_start(tmp_path: Path, kind: str) -> None:
    class Other(Echo):
        def step(self, state: Any, action: Any, rng: Any) -> Any:
            after, reward, ended = super().step(state, action, rng)
            return after, 1 - reward, ended

    init = learned(tmp_path / "init")
    moved, kept = {}, {}
    for name, coef in (("none", 0.0), (kind, 3.0), (kind, 300.0)):
        agent = agent_on(Other(), n=64, init=init, penalty=name, penalty_coef=coef)
        start = {n: p.detach().clone() for n, p in held(agent.networks["policy"]).items()}
        before = agent.log_probs(np.arange(4))
        agent.learn(6000)
        after = agent.log_probs(np.arange(4))
        moved[coef] = distance(agent, start)
        kept[coef] = float((np.exp(before) * (before - after)).sum(1).mean())
    assert kept[0.0] > kept[3.0] > kept[300.0]
    assert kept[300.0] < 0.2 * kept[0.0]
    assert kind == "ewc" or moved[0.0] > moved[3.0] > moved[300.0]


def test_init_takes_the_policy_and_leaves_the_rest(tmp_path: Path) -> None:
    init = learned(tmp_path / "init", seed=3)
    agent, fresh = agent_on(Echo(), init=init), agent_on(Echo())
    np.testing.assert_array_equal(
        agent.log_probs(np.arange(4)), load_agent(tmp_path / "init").log_probs(np.arange(4))
    )
    for name, weight in fresh.networks["critic"].state_dict().items():
        assert torch.equal(weight, agent.networks["critic"].state_dict()[name])


@pytest.mark.parametrize("kind", ["l2-sp", "ewc"])
@pytest.mark.parametrize("recurrent", [False, True])
def test_learning_in_two_halves_is_learning_in_one_go(tmp_path: Path, kind: str, recurrent: bool) -> None:
    init = learned(tmp_path / "init", Dice(), recurrent=recurrent)
    options = {"init": init, "penalty": kind, "fisher_states": 20, "recurrent": recurrent}
    whole = agent_on(Dice(), **options).learn(600)
    first = agent_on(Dice(), **options).learn(600, callback=lambda agent: agent.num_timesteps < 300)
    first.save(tmp_path / "last")
    (tmp_path / "init").rename(tmp_path / "moved")
    second = load_agent(tmp_path / "last", TaskVectorEnv(Dice(), 16)).learn(600)
    ones, twos = whole.parts().weights, second.parts().weights
    assert ones.keys() == twos.keys()
    assert any(name.startswith("keep.fisher") for name in ones) == (kind == "ewc")
    for name, weight in ones.items():
        assert torch.equal(torch.as_tensor(weight), torch.as_tensor(twos[name])), name


def test_only_what_the_policy_depends_on_is_held() -> None:
    network = Network(Echo().observation_space, {"policy": 4, "value": 1}, (6, 5))
    assert {name for name, _ in network.named_parameters()} - held(network).keys() == {
        "heads.value.weight",
        "heads.value.bias",
    }


def test_another_architecture_is_refused(tmp_path: Path) -> None:
    init = learned(tmp_path / "init")
    for options in ({"hidden": (8,)}, {"hidden": (16, 16)}, {"recurrent": True}):
        with pytest.raises(DescantError, match="another network than this agent"):
            agent_on(Echo(), init=init, **options)


def test_another_kind_of_memory_is_refused_with_the_option_that_chooses_it(tmp_path: Path) -> None:
    form: dict[str, Any] = {"recurrent": True, "hidden": (16, 16), "trunk": "transformer"}
    agent_on(Echo(), **form).save(tmp_path / "init")
    with pytest.raises(DescantError, match=r"another network .* hidden, recurrent and trunk"):
        agent_on(Echo(), init=str(tmp_path / "init"), **form | {"trunk": "lstm"})
    agent_on(Echo(), init=str(tmp_path / "init"), penalty="l2-sp", **form).learn(100)
    with pytest.raises(DescantError, match="set recurrent too"):
        agent_on(Echo(), **form | {"recurrent": False})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"penalty": "ewc"}, "pass init"),
        ({"penalty": "l3", "init": "x"}, "must be none, l2-sp or ewc"),
        ({"penalty": "ewc", "init": "x", "penalty_coef": -1.0}, "penalty_coef"),
        ({"penalty": "ewc", "init": "x", "fisher_states": 0}, "fisher_states"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DescantError, match=message):
        PenaltyConfig(**options)
    with pytest.raises(DescantError):
        agent_on(Echo(), init="/nowhere")
