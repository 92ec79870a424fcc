"""psi, g and kl-q: their targets lead to the exact optimum, the networks come near it, priors and masks hold."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from torch import Tensor

from descant import load_agent, make_agent
from descant.agents.g import G, g_target
from descant.agents.kl_q import KLQ, kl_q_target
from descant.agents.psi import Psi, psi_target
from descant.agents.soft_q import SoftQ
from descant.envs.tokens import Tokens
from descant.errors import DescantError
from descant.evaluation import evaluate
from descant.planning import Graph, enumerate_task
from descant.policies.categorical import MASKED
from descant.shells import TaskVectorEnv

from ..test_docs import options_in
from ..tiny_tasks import Dice, Echo, Heap
from .replaying import Records, agent_on, check_mask_is_kept, check_resume, check_same_seed

AGENTS: list[type[SoftQ]] = [Psi, G, KLQ]
RNG = np.random.default_rng(0)  # for tasks that draw nothing

# Exactness.


def objective(task: Tokens, c: float, log_policy: Callable[[Any], Any]) -> tuple[float, float]:
    """log Z and L(pi) = E[R / c] - KL(pi || p), by listing all sequences."""
    sequences, total, log_prior = task.sequences()
    state, log_chance = task.reset(RNG, len(sequences)), np.zeros(len(sequences))
    for column in sequences.T:
        log_chance += log_policy(task.observe(state))[np.arange(len(sequences)), column]
        state, _, _ = task.step(state, column, RNG)
    value = total / c + log_prior
    return float(np.logaddexp.reduce(value)), float(np.exp(log_chance) @ (value - log_chance))


@dataclasses.dataclass(frozen=True)
class Table:
    """All transitions of a task, its states numbered through, for targets that take tensors."""

    observations: np.ndarray
    source: Tensor
    action: Tensor
    reward: Tensor
    target: Tensor
    terminated: Tensor
    log_prior: Tensor  # [S, A]

    @classmethod
    def of(cls, task: Tokens) -> Table:
        graph: Graph = enumerate_task(task)
        first = np.cumsum([0] + [len(layer) for layer in graph.layers])
        rows: list[list[Any]] = [[], [], [], [], []]
        for depth, layer in enumerate(graph.layers):
            onward = np.where(layer.target < 0, 0, layer.target + first[depth + 1])
            columns = (layer.source + first[depth], layer.action, layer.reward, onward, layer.target < 0)
            for row, column in zip(rows, columns, strict=True):
                row.append(column)
        seen = np.concatenate([task.observe(layer.states) for layer in graph.layers])
        tensors = [torch.as_tensor(np.concatenate(row)) for row in rows]
        return cls(seen, *tensors, torch.as_tensor(task.prior_log_probs(seen)))

    def fixed_point(self, target: Callable[..., Tensor]) -> Tensor:
        """Values float64[S, A] after as many sweeps over all transitions as change something."""
        values = torch.zeros_like(self.log_prior)
        discounts = torch.ones_like(self.reward)
        for _ in range(50):
            taken = self.log_prior[self.source, self.action]
            columns = (self.reward, discounts, self.terminated, values[self.target])
            following = values.clone()
            following[self.source, self.action] = target(taken, *columns, self.log_prior[self.target])
            if torch.equal(following, values):
                return values
            values = following
        raise AssertionError("no fixed point")

    def policy(self, logits: Tensor) -> Callable[[Any], Any]:
        """Log-probabilities of observations."""
        where = {row.tobytes(): i for i, row in enumerate(self.observations)}
        log_probs = torch.log_softmax(logits, -1).numpy()
        return lambda seen: log_probs[[where[row.tobytes()] for row in seen]]


@pytest.mark.parametrize("c", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_tabular_psi_and_g_are_the_exact_optimum(c: float, seed: int) -> None:
    task = Tokens(4, 5, seed=seed)
    table = Table.of(task)
    psi = table.fixed_point(lambda p, r, d, end, v, next_p: psi_target(p, r, d, end, v, c))
    g = table.fixed_point(lambda p, r, d, end, v, next_p: g_target(r, d, end, v, next_p, c))
    assert torch.allclose(psi, table.log_prior + g, atol=1e-9)
    for logits in (psi, table.log_prior + g):
        log_z, value = objective(task, c, table.policy(logits))
        assert value == pytest.approx(log_z, abs=1e-9)
        assert float(torch.logsumexp(logits[0], -1)) == pytest.approx(log_z, abs=1e-9)
    # pi* itself, from its definition: p exp(R / c) / Z of the first token, summed over all that may follow.
    sequences, total, log_prior = task.sequences()
    weight = np.exp(log_prior + total / c)
    first = np.bincount(sequences[:, 0], weights=weight) / weight.sum()
    assert torch.softmax(psi[0], -1).numpy() == pytest.approx(first, abs=1e-9)


def hard_max_regret(task: Tokens, c: float) -> tuple[float, float]:
    """What kl-q must leave at its fixed point, in nats: acting by softmax of the values, and greedily."""
    table = Table.of(task)
    values = table.fixed_point(lambda p, r, d, end, v, next_p: kl_q_target(p, r, d, end, v, c))
    log_z, value = objective(task, c, table.policy(values))
    _, total, log_prior = task.sequences()
    best = float((total / c + log_prior).max())
    assert float(values[0].max()) == pytest.approx(best, abs=1e-9)  # the best single sequence
    greedy = torch.where(values == values.amax(-1, keepdim=True), 0.0, -1e4)
    assert objective(task, c, table.policy(greedy))[1] == pytest.approx(best, abs=1e-6)
    return log_z - value, log_z - best


@pytest.mark.parametrize("c", [0.3, 1.0, 4.0])
def test_the_hard_max_leaves_a_regret(c: float) -> None:
    soft, greedy = hard_max_regret(Tokens(4, 5), c)
    assert 0.01 < soft < greedy


def test_targets_stop_at_the_end_and_leave_out_what_is_masked() -> None:
    log_prior, reward, discount = (torch.tensor([x, x], dtype=torch.float64) for x in (-0.5, 3.0, 0.9))
    end = torch.tensor([True, False])
    following = torch.tensor([[MASKED, MASKED], [2.0, MASKED]], dtype=torch.float64)
    onward = torch.tensor([[MASKED, MASKED], [0.0, MASKED]], dtype=torch.float64)
    assert psi_target(log_prior, reward, discount, end, following, 2.0).tolist() == [1.0, 2.8]
    assert kl_q_target(log_prior, reward, discount, end, following, 2.0).tolist() == [1.0, 2.8]
    assert g_target(reward, discount, end, following, onward, 2.0).tolist() == pytest.approx([1.5, 3.3])


# Learning.


def regret(agent: Any, task: Tokens) -> float:
    log_z, value = objective(task, agent.config.c, agent.log_probs)
    return log_z - value


SOFT: dict[str, Any] = {"prior": "task", "learning_rate": 5e-3, "gradient_steps": 4, "tau": 0.05}


@pytest.mark.parametrize("kind", [Psi, G])
def test_comes_near_the_optimum_of_tokens(kind: type[SoftQ]) -> None:
    task = Tokens(3, 3)
    agent = agent_on(kind, task, **SOFT)
    before = regret(agent, task)
    tracker = Records()
    agent.learn(2000, tracker=tracker)
    assert regret(agent, task) < 0.02 < 0.3 < before
    record = tracker.records[-1]
    assert {
        "kl",
        "kl_k1",
        "kl_k2",
        "kl_k3",
        "kl_k3_se",
        "entropy",
        "prior_log_prob",
        "return",
    } < record.keys()
    assert record["kl"] == pytest.approx(record["kl_k1"], abs=5 * record["kl_k1_se"])


def test_kl_q_comes_to_the_regret_of_its_fixed_point() -> None:
    task = Tokens(3, 3)
    agent = agent_on(KLQ, task, **SOFT).learn(2000)
    assert regret(agent, task) == pytest.approx(hard_max_regret(task, 1.0)[0], abs=0.05)


@pytest.mark.parametrize("kind", AGENTS)
def test_solves_a_trivial_task(kind: type[SoftQ]) -> None:
    options = {"c": 0.1, "gamma": 0.9, "learning_rate": 5e-3, "gradient_steps": 4, "tau": 0.05}
    agent = agent_on(kind, Echo(), 16, prior="uniform", **options).learn(3000)
    assert np.mean([outcome.score for outcome in evaluate(agent, Echo())]) > 0.95


@pytest.mark.parametrize("kind", AGENTS)
def test_learns_on_cartpole(kind: type[SoftQ]) -> None:
    env = gymnasium.make_vec("CartPole-v1", num_envs=8)
    options = {"hidden": (64, 64), "gamma": 0.98, "learning_rate": 2e-3, "gradient_steps": 4}
    agent = agent_on(kind, Echo(), env=env, prior="uniform", c=0.2, buffer_size=10_000, **options)
    tracker = Records()
    agent.learn(6100, tracker=tracker)
    returns = [record["return"] for record in tracker.records if "return" in record]
    assert max(returns) > 1.3 * returns[0] > 15


# Masks, seeds, checkpoints.


@pytest.mark.parametrize("kind", AGENTS)
def test_masked_actions_are_never_taken(kind: type[SoftQ]) -> None:
    check_mask_is_kept(agent_on(kind, Dice(), prior="uniform"), Dice(), total=400)


def test_kl_q_can_act_greedily_with_a_share_of_chance() -> None:
    agent = agent_on(KLQ, Dice(), prior="uniform", exploration="epsilon-greedy", epsilon_end=0.1)
    check_mask_is_kept(agent, Dice(), total=400)
    task = Dice()
    states = task.reset(np.random.default_rng(1), 20)
    masks = task.action_mask(states)
    chances = np.exp(agent.log_probs(task.observe(states), action_masks=masks))
    allowed = masks.sum(axis=1)
    assert chances.max(axis=1) == pytest.approx(0.9 + 0.1 / allowed, abs=0.01)


@pytest.mark.parametrize("kind", AGENTS)
def test_resumed_is_as_if_never_stopped(kind: type[SoftQ], tmp_path: Path) -> None:
    check_resume(kind, Heap(), tmp_path / "checkpoint", prior="uniform")


@pytest.mark.parametrize("kind", AGENTS)
def test_same_seed_same_weights(kind: type[SoftQ]) -> None:
    check_same_seed(kind, Tokens(3, 3), prior="task")


@pytest.mark.parametrize("name", ["psi", "g", "kl-q"])
def test_predicts_without_an_environment(name: str, tmp_path: Path) -> None:
    env = gymnasium.make_vec("descant/Tokens-v0", num_envs=4, tokens=3, steps=3, seed=2)
    agent = make_agent(name, env, prior="task", hidden=(16,)).learn(100)
    agent.save(tmp_path / "checkpoint")
    seen = Tokens(3, 3).observe(Tokens(3, 3).starts())
    assert (load_agent(tmp_path / "checkpoint").log_probs(seen) == agent.log_probs(seen)).all()


# Priors.


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A checkpoint of a network that has learned something, to be a prior."""
    env = TaskVectorEnv(Tokens(3, 3), 16)
    agent = make_agent("reinforce", env, hidden=(16, 16), learning_rate=0.05).learn(16 * 3 * 20)
    agent.save(tmp_path / "prior")
    return tmp_path / "prior"


def differs_from_prior(agent: Any, path: Path) -> float:
    seen = Table.of(Tokens(3, 3)).observations
    prior = load_agent(path).log_probs(seen)
    assert np.ptp(prior) > 0.5
    return float(np.abs(agent.log_probs(seen) - prior).max())


@pytest.mark.parametrize("kind", [Psi, KLQ])
def test_begins_as_the_network_of_its_prior(kind: type[SoftQ], trained: Path) -> None:
    agent = agent_on(kind, Tokens(3, 3), prior=str(trained), hidden=(16, 16))
    assert not agent.residual
    assert differs_from_prior(agent, trained) < 1e-5
    fresh = agent_on(kind, Tokens(3, 3), prior=str(trained), hidden=(16, 16), initialize=False)
    assert fresh.residual


@pytest.mark.parametrize(("kind", "hidden"), [(Psi, (16, 16)), (Psi, (24,)), (G, (16, 16))])
def test_comes_near_the_optimum_beside_a_network(
    kind: type[SoftQ], hidden: tuple[int, ...], trained: Path
) -> None:
    """Whether it began as the prior, or adds log p to what it learns from scratch."""
    agent = agent_on(kind, Tokens(3, 3), **SOFT | {"prior": str(trained), "hidden": hidden}).learn(3000)
    task, prior = Tokens(3, 3), load_agent(trained)
    sequences, total, _ = task.sequences()

    def log_chance(log_policy: Any) -> Any:
        state, found = task.reset(RNG, len(sequences)), np.zeros(len(sequences))
        for column in sequences.T:
            found += log_policy(task.observe(state))[np.arange(len(sequences)), column]
            state, _, _ = task.step(state, column, RNG)
        return found

    value, mine = total + log_chance(prior.log_probs), log_chance(agent.log_probs)
    assert np.logaddexp.reduce(value) - np.exp(mine) @ (value - mine) < 0.03


@pytest.mark.parametrize("kind", AGENTS)
def test_begins_as_any_other_prior_too(kind: type[SoftQ]) -> None:
    task = Tokens(3, 3)
    seen = Table.of(task).observations
    found = agent_on(kind, task, prior="task").log_probs(seen)
    assert found == pytest.approx(task.prior_log_probs(seen), abs=1e-6)


def test_one_that_was_initialised_predicts_when_the_prior_is_gone(trained: Path, tmp_path: Path) -> None:
    agent = agent_on(Psi, Tokens(3, 3), prior=str(trained), hidden=(16, 16)).learn(100)
    agent.save(tmp_path / "checkpoint")
    trained.rename(tmp_path / "elsewhere")
    seen = Tokens(3, 3).observe(Tokens(3, 3).starts())
    assert (Psi.load(tmp_path / "checkpoint").log_probs(seen) == agent.log_probs(seen)).all()


@pytest.mark.parametrize("kind", AGENTS)
def test_a_missing_prior_is_refused_before_any_work(kind: type[SoftQ]) -> None:
    assert kind.needs_prior
    with pytest.raises(DescantError, match="needs a prior: set prior to"):
        agent_on(kind, Tokens(3, 3))


@pytest.mark.parametrize("kind", AGENTS)
@pytest.mark.parametrize("c", [0.0, -1.0, float("nan"), float("inf")])
def test_a_temperature_of_nothing_is_refused(kind: type[SoftQ], c: float) -> None:
    with pytest.raises(DescantError, match="c must be above 0"):
        kind.Config(c=c)


def test_a_prior_of_other_spaces_is_refused(trained: Path) -> None:
    with pytest.raises(DescantError, match="was trained on"):
        agent_on(Psi, Tokens(4, 3), prior=str(trained))


def test_a_prior_with_memory_is_refused(tmp_path: Path) -> None:
    agent = make_agent("reinforce", TaskVectorEnv(Tokens(3, 3), 2), hidden=(8,), recurrent=True)
    agent.save(tmp_path / "prior")
    with pytest.raises(DescantError, match="recurrent prior"):
        agent_on(G, Tokens(3, 3), prior=str(tmp_path / "prior"))


def test_a_prior_that_rules_out_what_is_allowed_is_refused() -> None:
    task = Tokens(3, 3)
    task.log_prior[:, 1] = -np.inf
    with pytest.raises(DescantError, match="no probability"):
        agent_on(Psi, task, prior="task").learn(50)


@pytest.mark.parametrize("kind", AGENTS)
def test_the_options_are_all_told(kind: type[SoftQ]) -> None:
    document = (Path(__file__).parents[2] / "docs/soft-q.md").read_text(encoding="utf-8")
    told = options_in(document)
    fields = [field.name for field in dataclasses.fields(kind.Config)]
    assert [name for name in told if name in fields] == fields
    everything = {field.name for agent in AGENTS for field in dataclasses.fields(agent.Config)}
    assert set(told) == everything
