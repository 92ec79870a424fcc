"""RLOO and GRPO: their expected gradients are exact, they learn, repeat themselves, keep to mask and prior."""

from __future__ import annotations

import dataclasses
import itertools
import re
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import SyncVectorEnv

from descant import load_agent
from descant.agent import make_config
from descant.agents.groups import GroupAgent, group_episodes, whole_returns
from descant.agents.grpo import GRPO, clipped_loss, group_advantages, length_weights
from descant.agents.rloo import RLOO, leave_one_out
from descant.envs.tokens import Tokens
from descant.errors import DescantError
from descant.rollouts import Collector
from descant.shells import TaskEnv, TaskVectorEnv

from ..tiny_tasks import Dice, Echo, Heap, Recall
from .enumeration import (
    EXACT,
    batch_of,
    every_episode,
    exact_agent,
    gradient_of,
    gradient_of_return,
    log_chance,
    log_policy_of,
    taken,
)

AGENTS: list[type[GroupAgent]] = [RLOO, GRPO]
SMALL: dict[str, Any] = {"hidden": (32,), "learning_rate": 0.02, "group_size": 4}


def agent_on(kind: type[GroupAgent], task: Any, n: int = 32, env: Any = None, **config: Any) -> Any:
    env = TaskVectorEnv(task, n) if env is None else env
    return kind(env, make_config(kind, SMALL | {"num_envs": n} | config))


def weights_of(agent: Any) -> dict[str, torch.Tensor]:
    return {name: torch.as_tensor(weight).clone() for name, weight in agent.parts().weights.items()}


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


# The gradient.


def expected_step(agent: Any, size: int, every: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """The expectation over all groups of what the agent goes along, and the gradient of J."""
    chances = log_chance(agent, every).exp().detach().numpy()
    log_policy = log_policy_of(agent, every).detach().numpy()
    total = torch.zeros_like(gradient_of_return(agent, every))
    for rows in itertools.product(range(len(chances)), repeat=size):
        picked = np.array(rows)
        batch = batch_of(every, picked)
        step = taken(agent, lambda batch=batch, picked=picked: agent.update(batch, log_policy[:, picked]))
        total += float(np.prod(chances[picked])) * step
    return total, gradient_of_return(agent, every)


@pytest.mark.parametrize(("tokens", "steps", "size"), [(2, 2, 2), (3, 2, 2), (2, 2, 3)])
@pytest.mark.parametrize("kind", AGENTS)
def test_the_expected_step_is_the_gradient_of_the_return(
    kind: type[GroupAgent], tokens: int, steps: int, size: int
) -> None:
    task = Tokens(tokens, steps, seed=1)
    dr_grpo = {"scale": "none", "length": "none", "epochs": 1} if kind is GRPO else {}
    agent = exact_agent(agent_on(kind, task, n=size, group_size=size, **EXACT, **dr_grpo))
    found, exact = expected_step(agent, size, every_episode(task))
    factor = (size - 1) / size if kind is GRPO else 1.0  # GRPO's mean has the episode itself in it
    torch.testing.assert_close(found, factor * exact, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(found, factor * exact, atol=1e-12, rtol=1e-9)
    assert exact.abs().max() > 0.05


def test_the_deviation_turns_the_gradient_another_way() -> None:
    """With scale="std" the expected step is no multiple of the gradient: what Dr. GRPO found."""
    task = Tokens(3, 2, seed=1)
    config = {"scale": "std", "length": "none", "epochs": 1}
    agent = exact_agent(agent_on(GRPO, task, n=3, group_size=3, **EXACT, **config))
    found, exact = expected_step(agent, 3, every_episode(task))
    cosine = float(torch.nn.functional.cosine_similarity(found, exact, dim=0))
    assert 0.5 < cosine < 0.999


@pytest.mark.parametrize("kind", AGENTS)
def test_k1_in_the_reward_descends_the_reverse_kl(kind: type[GroupAgent]) -> None:
    """Its expected step is the gradient of J - c KL(pi || p) over whole sequences."""
    task, c = Tokens(2, 2, seed=1), 0.7
    config = {"prior": "task", "kl_coef": c, "kl_estimator": "k1"}
    config |= {"scale": "none", "length": "none", "epochs": 1} if kind is GRPO else {}
    agent = exact_agent(agent_on(kind, task, n=2, group_size=2, **EXACT, **config))
    every = every_episode(task)
    found, _ = expected_step(agent, 2, every)
    returns, log_prior = (torch.as_tensor(v) for v in task.sequences()[1:])
    log_pi = log_chance(agent, every)
    exact = gradient_of((log_pi.exp() * (returns - c * (log_pi - log_prior))).sum(), agent)
    torch.testing.assert_close(found, exact * (0.5 if kind is GRPO else 1), atol=1e-6, rtol=1e-6)


def test_the_exact_kl_in_the_reward_does_so_too() -> None:
    task, c = Tokens(2, 2, seed=1), 0.7
    agent = exact_agent(agent_on(RLOO, task, n=2, group_size=2, prior="task", kl_coef=c, **EXACT))
    every = every_episode(task)
    found, _ = expected_step(agent, 2, every)
    returns, log_prior = (torch.as_tensor(v) for v in task.sequences()[1:])
    log_pi = log_chance(agent, every)
    exact = gradient_of((log_pi.exp() * (returns - c * (log_pi - log_prior))).sum(), agent)
    torch.testing.assert_close(found, exact, atol=1e-6, rtol=1e-6)


def test_the_kl_in_the_loss_is_exact_in_each_state() -> None:
    task = Tokens(3, 2, seed=1)
    without = exact_agent(agent_on(RLOO, task, n=4, **EXACT))
    with_kl = exact_agent(agent_on(RLOO, task, n=4, prior="task", kl_coef=0.7, kl_in="loss", **EXACT))
    every = every_episode(task)
    batch = batch_of(every, [0, 3, 5, 7])
    log_policy = log_policy_of(without, batch)
    log_prior = torch.as_tensor(with_kl.control.log_prior(batch))
    kl = (log_policy.exp() * (log_policy - log_prior)).sum(-1).sum(0).mean()
    expected = -0.7 * gradient_of(kl, without)
    steps = [taken(a, lambda a=a: a.update(batch, log_policy.detach().numpy())) for a in (without, with_kl)]
    torch.testing.assert_close(steps[1] - steps[0], expected)


# Pure functions.


def test_advantages_by_hand() -> None:
    returns = np.array([1.0, 2.0, 6.0, 0.0, 0.0, 0.0])
    np.testing.assert_allclose(leave_one_out(returns, 3), [-3, -1.5, 4.5, 0, 0, 0])
    np.testing.assert_allclose(group_advantages(returns, 3, "none"), [-2, -1, 3, 0, 0, 0])
    np.testing.assert_allclose(group_advantages(returns, 3)[:3], np.array([-2, -1, 3]) / np.sqrt(14 / 3))


def test_the_clipped_loss_by_hand() -> None:
    ratio = torch.tensor([2.0, 2.0, 0.5, 0.5, 1.1])
    advantages = torch.tensor([1.0, -1.0, 1.0, -1.0, 3.0])
    found = clipped_loss(ratio.log(), torch.zeros(5), advantages, low=0.2, high=0.3)
    torch.testing.assert_close(found, torch.tensor([-1.3, 2.0, -0.5, 0.8, -3.3]))


def test_lengths_by_hand() -> None:
    valid = np.array([[True, True, False], [True, False, False]])
    np.testing.assert_allclose(length_weights(valid, "episode"), [[0.25, 0.5, 0], [0.25, 0, 0]])
    np.testing.assert_allclose(length_weights(valid, "token"), valid / 3)
    np.testing.assert_allclose(length_weights(valid, "none"), valid / 2)


# Groups.


def test_groups_share_their_start_on_any_environment() -> None:
    def starts_of(env: Any) -> Any:
        agent = agent_on(RLOO, None, env=env, n=8)
        return group_episodes(Collector(env), agent.actor(), 5, 4).observations[0]

    for env in (
        TaskVectorEnv(Heap(), 8),
        SyncVectorEnv([lambda: TaskEnv(Heap(tuple(range(5, 60))))] * 8),
        gymnasium.make_vec("CartPole-v1", num_envs=8, vectorization_mode="sync"),
    ):
        seen = starts_of(env)
        assert (seen[:4] == seen[0]).all()
        assert (seen[4:] == seen[4]).all()
    assert not (seen[0] == seen[4]).all()
    with pytest.raises(DescantError, match="vectorization_mode='sync'"):
        starts_of(gymnasium.make_vec("CartPole-v1", num_envs=8))


def test_groups_without_spread_are_dropped_and_counted() -> None:
    agent = agent_on(GRPO, Heap(), drop_equal=True)
    returns = np.array([1.0, 1, 1, 1, 1, 2, 3, 4])
    np.testing.assert_array_equal(agent.credit(returns)[1], [False] * 4 + [True] * 4)
    rollout = group_episodes(agent.collector, agent.actor(), 0, 4)
    rollout.rewards[:] = 0
    before = weights_of(agent)
    record = agent.update(rollout, np.zeros((*rollout.actions.shape, 4)))
    assert record["groups_dropped"] == 8
    assert same(before, weights_of(agent))
    assert agent_on(GRPO, Heap()).credit(returns)[1].all()


# Learning.


@pytest.mark.parametrize("kind", AGENTS)
def test_it_learns_to_name_what_it_sees(kind: type[GroupAgent]) -> None:
    agent = agent_on(kind, Echo(), n=64)
    agent.learn(8000)
    assert agent.predict(np.arange(4), deterministic=True)[0].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "config", [{"clip_high": 0.3, "length": "token", "drop_equal": True}, {"scale": "none", "length": "none"}]
)
def test_dapo_and_dr_grpo_learn_too(config: dict[str, Any]) -> None:
    agent = agent_on(GRPO, Echo(), n=64, minibatches=2, **config)
    agent.learn(8000)
    assert agent.predict(np.arange(4), deterministic=True)[0].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("kind", AGENTS)
def test_an_lstm_learns_what_needs_memory(kind: type[GroupAgent]) -> None:
    task = Recall(symbols=2, steps=2)
    returns: list[float] = []

    class Tracker:
        def log(self, step: int, record: dict[str, float]) -> None:
            returns.append(record["return"])

    agent_on(kind, task, n=64, recurrent=True).learn(10_000, tracker=Tracker())
    assert np.mean(returns[-3:]) > 0.9


@pytest.mark.parametrize("kind", AGENTS)
def test_it_improves_on_cartpole(kind: type[GroupAgent]) -> None:
    env = gymnasium.make_vec("CartPole-v1", num_envs=16, vectorization_mode="sync", max_episode_steps=200)
    returns: list[float] = []

    class Tracker:
        def log(self, step: int, record: dict[str, float]) -> None:
            returns.append(record["return"])

    agent_on(kind, None, env=env, n=16).learn(12_000, tracker=Tracker())
    assert np.mean(returns[:3]) < 35
    assert max(returns[-5:]) > 60


@pytest.mark.parametrize("kind", AGENTS)
@pytest.mark.parametrize("kl_in", ["reward", "loss"])
def test_a_prior_holds_it_back(kind: type[GroupAgent], kl_in: str) -> None:
    task = Tokens(3, 3, seed=2)
    kls = {}
    for c in (0.0, 10.0):
        records: list[dict[str, float]] = []

        class Tracker:
            def log(self, step: int, record: dict[str, float], records: Any = records) -> None:
                records.append(record)

        config = {"prior": "task", "kl_coef": c, "learning_rate": 0.01, "kl_in": kl_in}
        config |= {"scale": "none"} if kind is GRPO else {}
        agent_on(kind, task, n=32, **config).learn(4000, tracker=Tracker())
        kls[c] = records[-1]["kl"]
        assert {"kl_k1", "kl_k2", "kl_k3", "kl_k3_se", "prior_log_prob", "entropy"} <= records[-1].keys()
    assert kls[10.0] < 0.05 < 0.3 < kls[0.0]


# The temperature.


@pytest.mark.parametrize("kind", AGENTS)
def test_it_acts_and_learns_at_one_temperature(kind: type[GroupAgent]) -> None:
    agent = agent_on(kind, Dice(), temperature=0.5, **({"epochs": 1} if kind is GRPO else {}))
    plain = agent_on(kind, Dice())
    for each in (agent, plain):
        for weight in each.networks["policy"].parameters():  # alike, and sure enough to tell
            torch.nn.init.normal_(weight, generator=torch.Generator().manual_seed(weight.numel()))
    seen = agent.collector.env.reset(seed=0)[0]
    hot = torch.as_tensor(plain.log_probs(seen))
    np.testing.assert_allclose(agent.log_probs(seen), torch.log_softmax(2 * hot, -1), atol=1e-5)
    records: list[dict[str, float]] = []

    class Tracker:
        def log(self, step: int, record: dict[str, float]) -> None:
            records.append(record)

    agent.learn(1, tracker=Tracker())
    assert records[0]["policy_moved"] == pytest.approx(0.0, abs=1e-6)  # what is learned from is what acted
    assert records[0]["entropy"] > 0.01


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize(("trained", "temperature"), [(1.0, 0.5), (1.0, 2.0), (0.5, 0.5), (0.5, 1.0)])
def test_a_prior_is_met_at_the_policys_temperature(
    trained: float, temperature: float, recurrent: bool, tmp_path: Path
) -> None:
    """Whatever it was trained at: a checkpoint's logits are not divided."""
    agent_on(RLOO, Echo(), temperature=trained, recurrent=recurrent).learn(500).save(tmp_path / "base")
    base = str(tmp_path / "base")
    options = {"temperature": temperature, "recurrent": recurrent}
    agent = agent_on(RLOO, Echo(), **options, init=base, prior=base, kl_coef=0.1)
    records: list[dict[str, float]] = []

    class Tracker:
        def log(self, step: int, record: dict[str, float]) -> None:
            records.append(record)

    agent.learn(1, tracker=Tracker())
    assert records[0]["kl"] == pytest.approx(0.0, abs=1e-6)


def test_bfloat16_takes_about_the_same_step() -> None:
    def moved(precision: str) -> torch.Tensor:
        env = gymnasium.make_vec("descant/Translation-v0", num_envs=16, size=40, max_words=6)
        form = {"recurrent": True, "trunk": "transformer", "hidden": (16, 16)}
        agent: Any = RLOO(env, make_config(RLOO, {"num_envs": 16, "precision": precision, **form}))
        before = torch.cat([p.detach().clone().ravel() for p in agent.networks["policy"].parameters()])
        agent.learn(1)
        assert not agent.networks["policy"].autocast
        return torch.cat([p.detach().ravel() for p in agent.networks["policy"].parameters()]) - before

    one, two = moved("bfloat16"), moved("float32")
    assert not torch.equal(one, two)
    assert torch.nn.functional.cosine_similarity(one, two, dim=0) > 0.8


def test_bfloat16_is_of_gradient_steps_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the references' cross-entropy too; what acts is exact."""
    env = gymnasium.make_vec("descant/Translation-v0", num_envs=8, size=40, max_words=6)
    form = {"recurrent": True, "trunk": "gru", "hidden": (8, 16)}
    agent: Any = RLOO(env, make_config(RLOO, {"precision": "bfloat16", "xent_coef": 0.1, **form}))
    seen: list[tuple[str, bool]] = []
    for name in ("policy_step", "add_penalty"):
        plain = getattr(agent, name)

        def spy(*told: Any, name: str = name, plain: Any = plain) -> Any:
            seen.append((name, agent.networks["policy"].autocast))
            return plain(*told)

        monkeypatch.setattr(agent, name, spy)
    agent.learn(1)
    assert set(seen) == {("policy_step", False), ("add_penalty", True)}


# Repeating, saving, going on; the mask.


@pytest.mark.parametrize("kind", AGENTS)
@pytest.mark.parametrize("config", [{}, {"recurrent": True}, {"minibatches": 3}, {"prior": "uniform"}])
def test_interrupted_and_resumed_is_uninterrupted(
    kind: type[GroupAgent], config: dict[str, Any], tmp_path: Path
) -> None:
    if kind is RLOO and "minibatches" in config:
        pytest.skip("RLOO takes one step")
    whole = agent_on(kind, Dice(), **config).learn(900)
    half = agent_on(kind, Dice(), **config)
    half.learn(900, callback=lambda agent: agent.num_timesteps < 400)
    assert half.num_timesteps < whole.num_timesteps
    half.save(tmp_path / "half")
    resumed = kind.load(tmp_path / "half", TaskVectorEnv(Dice(), 32)).learn(900)
    assert same(weights_of(whole), weights_of(resumed))
    assert not same(weights_of(whole), weights_of(agent_on(kind, Dice(), seed=1, **config).learn(900)))


@pytest.mark.parametrize("kind", AGENTS)
def test_a_saved_agent_acts_as_before(kind: type[GroupAgent], tmp_path: Path) -> None:
    agent = agent_on(kind, Echo()).learn(500)
    agent.save(tmp_path / "a")
    np.testing.assert_array_equal(
        agent.log_probs(np.arange(4)), load_agent(tmp_path / "a").log_probs(np.arange(4))
    )


@pytest.mark.parametrize("kind", AGENTS)
def test_masked_actions_are_never_taken(kind: type[GroupAgent], monkeypatch: pytest.MonkeyPatch) -> None:
    agent = agent_on(kind, Dice())
    seen = []
    update = kind.update

    def spy(self: Any, rollout: Any, log_policy: Any) -> Any:
        seen.append(np.take_along_axis(rollout.masks, rollout.actions[..., None], 2)[..., 0][rollout.valid])
        return update(self, rollout, log_policy)

    monkeypatch.setattr(kind, "update", spy)
    agent.learn(1500)
    assert np.concatenate(seen).all()


def test_weights_may_be_kept_near_those_it_began_with(tmp_path: Path) -> None:
    agent_on(RLOO, Echo()).learn(100).save(tmp_path / "base")
    config = {"init": str(tmp_path / "base"), "penalty": "l2-sp"}
    moved = []
    for coef in (0.0, 100.0):
        agent = agent_on(RLOO, Echo(), penalty_coef=coef, **config)
        before = torch.cat([p.detach().clone().ravel() for p in agent.networks["policy"].parameters()])
        agent.learn(1000)
        after = torch.cat([p.detach().ravel() for p in agent.networks["policy"].parameters()])
        moved.append(float((after - before).norm()))
    assert moved[1] < 0.3 * moved[0]


# Bad input.


@pytest.mark.parametrize(
    ("kind", "config", "message"),
    [
        (RLOO, {"group_size": 1}, "group_size must be 2 or more"),
        (RLOO, {"num_envs": 30}, "must be a multiple of group_size"),
        (RLOO, {"learning_rate": 0.0}, "must be positive"),
        (RLOO, {"kl_in": "both"}, "kl_in must be"),
        (RLOO, {"ent_coef": -1.0}, "0 or more"),
        (RLOO, {"temperature": 0.0}, "temperature must be positive"),
        (RLOO, {"temperature": -1.0}, "temperature must be positive"),
        (RLOO, {"temperature": float("inf")}, "temperature must be positive"),
        (RLOO, {"temperature": float("nan")}, "temperature must be positive"),
        (RLOO, {"precision": "float16"}, "precision must be"),
        (RLOO, {"precision": "bfloat16"}, "for networks that translate"),
        (RLOO, {"kl_coef": 1.0}, "needs a prior"),
        (GRPO, {"epochs": 0}, "epochs and minibatches"),
        (GRPO, {"recurrent": True, "minibatches": 2}, "set minibatches to 1"),
        (GRPO, {"clip_low": 0.0}, "clip_low must lie"),
        (GRPO, {"scale": "max"}, "scale must be"),
        (GRPO, {"length": "words"}, "length episode"),
        (RLOO, {"prior": "task"}, "carries no prior"),
    ],
)
def test_bad_options_are_refused(kind: type[GroupAgent], config: dict[str, Any], message: str) -> None:
    with pytest.raises(DescantError, match=message):
        agent_on(kind, Echo(), **config)


def test_an_environment_that_groups_do_not_fill_is_refused() -> None:
    with pytest.raises(DescantError, match=r"num_envs \(30\) must be a multiple of group_size \(4\)"):
        RLOO(TaskVectorEnv(Echo(), 30), make_config(RLOO, SMALL))


def test_a_reward_that_is_no_number_stops_the_training() -> None:
    agent = agent_on(RLOO, Echo())
    rollout = group_episodes(agent.collector, agent.actor(), 0, 4)
    rollout.rewards[1, 3] = np.nan
    with pytest.raises(DescantError, match="The reward of step 1 in row 3 is nan"):
        whole_returns(rollout)


def test_a_prior_that_rules_out_what_is_allowed_is_refused() -> None:
    class Half:
        def log_probs(self, observation: Any, state: Any = None, action_masks: Any = None) -> Any:
            return np.log(np.tile([0.5, 0.5, 0.0, 0.0], (len(observation), 1)) + 0.0)

    agent = agent_on(RLOO, Echo())
    agent.control.prior = Half()
    with (
        np.errstate(divide="ignore"),
        pytest.raises(DescantError, match="no chance to an action that is allowed"),
    ):
        agent.learn(100)


def test_the_options_are_all_told() -> None:
    page = (Path(__file__).parents[2] / "docs/grpo.md").read_text(encoding="utf-8")
    table = re.findall(r"^\| `(\w+)` \|", page.split("| Option | Meaning |")[1], re.MULTILINE)
    assert table == [field.name for field in dataclasses.fields(GRPO.Config)]
    common = [field.name for field in dataclasses.fields(RLOO.Config)]
    assert table[: len(common)] == common
