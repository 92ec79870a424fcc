"""DQN: its targets by hand, every option on a trivial task, masks, seeds, resume, bad input."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode

from descant import make_agent
from descant.agents.dqn import DQN, Config, epsilon_greedy, next_values, q_descent, q_loss, td_target
from descant.buffers import Batch
from descant.errors import DescantError
from descant.evaluation import evaluate
from descant.planning import enumerate_task, optimum
from descant.policies.categorical import MASKED
from descant.policies.heads import DuelingHead
from descant.replay import ReplayAgent
from descant.shells import TaskVectorEnv

from ..test_docs import options_in
from ..tiny_tasks import Dice, Echo, Heap
from .replaying import Records, agent_on, assert_same, check_mask_is_kept, check_resume, check_same_seed

OPTIONS: list[dict[str, Any]] = [
    {},
    {"target": "hard", "target_interval": 20, "double": False, "n_steps": 1},
    {"dueling": True, "n_steps": 3, "prioritized": True},
    {"exploration": "boltzmann", "temperature": 0.2, "lr_schedule": "constant", "activation": "tanh"},
]


def test_next_values_are_of_allowed_actions_only() -> None:
    online = torch.tensor([[1.0, 5.0, 9.0], [3.0, 2.0, 1.0]])
    target = torch.tensor([[10.0, 20.0, 30.0], [1.0, 2.0, 3.0]])
    masks = torch.tensor([[True, True, False], [True, True, True]])
    assert next_values(online, target, masks, double=True).tolist() == [20, 1]
    assert next_values(online, target, masks, double=False).tolist() == [20, 3]


def test_td_target_ends_where_the_episode_does() -> None:
    columns = (torch.tensor([1.0, 2.0]), torch.tensor([0.5, 0.5]), torch.tensor([False, True]))
    assert td_target(*columns, torch.tensor([10.0, MASKED])).tolist() == [6, 2]


def test_q_loss_is_weighted_huber() -> None:
    loss = q_loss(torch.tensor([0.0, 0.0]), torch.tensor([0.5, -3.0]), torch.tensor([1.0, 0.5]))
    assert float(loss) == pytest.approx((0.125 + 0.5 * 2.5) / 2)


def test_epsilon_greedy_shares_among_the_allowed() -> None:
    values = torch.tensor([[1.0, 3.0, MASKED, 2.0], [4.0, MASKED, MASKED, MASKED]])
    assert epsilon_greedy(values, 0.3).exp().tolist()[0] == pytest.approx([0.1, 0.8, 0, 0.1])
    assert epsilon_greedy(values, 0.3).exp().tolist()[1] == pytest.approx([1, 0, 0, 0])
    assert epsilon_greedy(values, 0.0).argmax(-1).tolist() == [1, 0]
    assert epsilon_greedy(values, 0.0)[0, 2] == MASKED


def test_dueling_advantages_have_mean_zero() -> None:
    head, features = DuelingHead(6, 4), torch.randn(5, 6)
    assert torch.allclose(head(features).mean(-1), head.value(features)[:, 0], atol=1e-5)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_option_solves_a_trivial_task(options: dict[str, Any]) -> None:
    agent = agent_on(
        DQN, Echo(), 16, **{"learning_rate": 5e-3, "gamma": 0.9, "gradient_steps": 4, "tau": 0.05} | options
    )
    agent.learn(4000)
    assert np.mean([outcome.score for outcome in evaluate(agent, Echo())]) > 0.95


@pytest.mark.parametrize("interval", [1, 3, 8, 20])
def test_targets_valued_at_once_are_those_of_each_update(
    interval: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the targets move within an iteration; batches are the same, so weights differ by rounding only."""
    options = {"target": "hard", "target_interval": interval, "double": False, "gradient_steps": 8}
    at_once = agent_on(DQN, Heap(), **options).learn(300)
    monkeypatch.setattr(DQN, "draw_and_update", ReplayAgent.draw_and_update)
    one_by_one = agent_on(DQN, Heap(), **options).learn(300)
    assert at_once.updates == one_by_one.updates > 50
    for name, network in at_once.networks.items():
        for mine, other in zip(network.weights, one_by_one.networks[name].weights, strict=True):
            torch.testing.assert_close(mine, other, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(
    ("batch_size", "expected"),
    [(4, [24, 8, 16, 16]), (32, [31, 31, 50, 50])],  # of more draws than transitions there are, those
    ids=str,
)
def test_targets_that_stand_still_are_asked_once(
    batch_size: int, expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    goals = DQN.goals

    def watched(self: DQN, columns: Any) -> torch.Tensor:
        asked.append(len(columns["actions"]))
        return goals(self, columns)

    monkeypatch.setattr(DQN, "goals", watched)
    options = {"target": "hard", "target_interval": 6, "double": False, "gradient_steps": 8}
    agent = agent_on(DQN, Heap(), **options, batch_size=batch_size)
    agent.learn(10_000, callback=lambda a: a.updates < 16)
    assert asked == expected


def test_finds_the_optimum_and_its_values_under_a_mask() -> None:
    """Episodes of different length, states with few ways on."""
    task = Heap((5, 6, 7))
    agent = agent_on(DQN, task, 8, gamma=1.0, learning_rate=3e-3, n_steps=1, tau=0.05)
    agent.learn(6000)
    plan = optimum(enumerate_task(task))
    starts = task.starts()
    values = agent.networks["policy"](torch.as_tensor(task.observe(starts)))["q"].detach().numpy()
    best = np.where(task.action_mask(starts), values, -np.inf).max(axis=1)
    known = np.isfinite(plan.values[0])
    assert best[known] == pytest.approx(plan.values[0][known], abs=0.3)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_resumed_is_as_if_never_stopped(options: dict[str, Any], tmp_path: Path) -> None:
    check_resume(DQN, Heap(), tmp_path / "checkpoint", **options)


def test_resumed_where_the_environment_resets_at_once(tmp_path: Path) -> None:
    def env() -> TaskVectorEnv:
        return TaskVectorEnv(Dice(), 4, autoreset_mode=AutoresetMode.SAME_STEP, max_episode_steps=3)

    whole = agent_on(DQN, Dice(), env=env(), n_steps=2).learn(300)
    calls = iter(range(100))
    part = agent_on(DQN, Dice(), env=env(), n_steps=2).learn(300, callback=lambda a: next(calls) < 20)
    part.save(tmp_path / "checkpoint")
    resumed = DQN.load(tmp_path / "checkpoint", env()).learn(300)
    assert_same(whole, resumed)


def test_same_seed_same_weights() -> None:
    check_same_seed(DQN, Heap(), prioritized=True)


@pytest.mark.parametrize("exploration", ["epsilon-greedy", "boltzmann"])
def test_masked_actions_are_never_taken(exploration: str) -> None:
    check_mask_is_kept(agent_on(DQN, Dice(), exploration=exploration), Dice())


def test_learns_on_cartpole() -> None:
    env = gymnasium.make_vec("CartPole-v1", num_envs=8)
    larger = {"hidden": (64, 64), "batch_size": 64, "gradient_steps": 4, "buffer_size": 10_000}
    agent = agent_on(DQN, Echo(), env=env, learning_rate=2e-3, exploration_fraction=0.3, **larger)
    tracker = Records()
    agent.learn(5000, tracker=tracker)
    returns = [record["return"] for record in tracker.records if "return" in record]
    assert max(returns) > 1.5 * returns[0] > 15


def test_another_number_of_environments_is_refused(tmp_path: Path) -> None:
    agent_on(DQN, Echo()).learn(50).save(tmp_path / "checkpoint")
    with pytest.raises(DescantError, match="trained on 8 environments, not 3"):
        DQN.load(tmp_path / "checkpoint", TaskVectorEnv(Echo(), 3))


def test_predicts_without_an_environment(tmp_path: Path) -> None:
    agent = agent_on(DQN, Echo()).learn(200)
    agent.save(tmp_path / "checkpoint")
    loaded = DQN.load(tmp_path / "checkpoint")
    seen = np.arange(4)
    assert (loaded.log_probs(seen) == agent.log_probs(seen)).all()
    with pytest.raises(DescantError, match="without an environment"):
        loaded.learn(10)


def test_a_reward_that_is_not_a_number_stops_the_learning() -> None:
    class Broken(Echo):
        def step(self, state: Any, action: Any, rng: Any) -> Any:
            after, reward, ended = super().step(state, action, rng)
            return after, np.where(state.seen == 2, np.nan, reward), ended

    with pytest.raises(DescantError, match="reward is not finite at step"):
        agent_on(DQN, Broken()).learn(500)


def test_a_loss_that_is_not_a_number_stops_the_learning() -> None:
    agent = agent_on(DQN, Echo())
    with torch.no_grad():
        next(iter(agent.networks["policy"].parameters())).fill_(np.nan)
    with pytest.raises(DescantError, match="not finite at step"):
        agent.learn(500)


def test_replay_larger_than_the_memory_is_refused_before_any_work() -> None:
    with pytest.raises(DescantError, match="set buffer_size to"):
        make_agent("dqn", TaskVectorEnv(Echo(), 2), buffer_size=10**13)


@pytest.mark.parametrize(
    "wrong",
    [
        *({"gamma": 1.5}, {"tau": 0.0}, {"target": "soft"}, {"exploration": "none"}, {"epsilon_end": 2.0}),
        *({"temperature": 0.0}, {"n_steps": 0}, {"batch_size": 0}, {"hidden": ()}, {"learning_rate": 0.0}),
        *({"priority_beta": 2.0}, {"priority_alpha": -1.0}, {"train_freq": 0}, {"activation": "gelu"}),
    ],
    ids=str,
)
def test_senseless_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(DescantError, match=next(iter(wrong))):
        Config(**wrong)


def test_the_options_are_all_told() -> None:
    document = (Path(__file__).parents[2] / "docs/dqn.md").read_text(encoding="utf-8")
    assert options_in(document) == [field.name for field in dataclasses.fields(Config)]


def test_the_closed_gradient_is_that_of_the_loss() -> None:
    every = torch.tensor([[0.1, 3.0, -1.0], [4.0, 0.0, 2.0], [0.5, 0.6, 0.7]], requires_grad=True)
    actions, targets, weights = (
        torch.tensor([0, 2, 2]),
        torch.tensor([0.4, -5.0, -0.2]),
        torch.tensor([1, 0.5, 2]),
    )
    taken = every.gather(1, actions[:, None])[:, 0]
    loss = q_loss(taken, targets, weights)
    (theirs,) = torch.autograd.grad(loss, every)
    values, mine, gradient = q_descent(every.detach(), actions, targets, weights)
    torch.testing.assert_close(gradient, theirs)
    assert float(mine) == pytest.approx(float(loss.detach()))
    assert values.tolist() == taken.tolist()


def test_an_update_is_stable_baselines3s() -> None:
    """From the same weights by the same batches, of which some transitions ended; also after more than one update."""
    sb3 = pytest.importorskip("stable_baselines3")
    samples = pytest.importorskip("stable_baselines3.common.buffers").ReplayBufferSamples
    plain = {"num_envs": 1, "hidden": (32, 32), "target": "hard", "target_interval": 1000, "double": False}
    mine: Any = make_agent("dqn", "CartPole-v1", **plain, lr_schedule="constant", learning_rate=1e-2)
    form = {"net_arch": [32, 32], "optimizer_kwargs": {"eps": 1e-5}}
    theirs = sb3.DQN("MlpPolicy", "CartPole-v1", 1e-2, policy_kwargs=form, device="cpu")
    theirs._setup_learn(100)
    for network in (theirs.q_net, theirs.q_net_target):
        for own, other in zip(network.parameters(), mine.networks["policy"].weights, strict=True):
            own.data.copy_(other.data)
    rng, everything = np.random.default_rng(0), np.ones((128, 2), bool)
    for _ in range(5):
        seen, later = rng.normal(size=(2, 128, 4)).astype(np.float32)
        rewards, actions, ended = 3 * rng.normal(size=128), rng.integers(2, size=128), rng.random(128) < 0.3
        discounts, ones = np.full(128, 0.9), np.ones(128)
        mine.update(
            Batch(
                seen, everything, actions, rewards, discounts, later, everything, ended, actions, weights=ones
            )
        )
        columns = (
            torch.as_tensor(column).float()[:, None] for column in (actions, ended, rewards, discounts)
        )
        action, done, reward, discount = columns
        drawn = samples(torch.as_tensor(seen), action, torch.as_tensor(later), done, reward, discount)
        theirs.replay_buffer.sample = lambda *_, drawn=drawn, **__: drawn
        theirs.train(1, 128)
    for own, other in zip(theirs.q_net.parameters(), mine.networks["policy"].weights, strict=True):
        torch.testing.assert_close(own, other, atol=1e-6, rtol=1e-5)
