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
from descant.agents.reference_critics import Answered, advantages_of, critic_error, expected_values, goals
from descant.envs.tokens import Tokens
from descant.errors import DescantError
from descant.makers import load_agent
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
from .enumeration import every_episode, exact_agent, gradient_of, taken
from .on_policy_checks import Strict, cartpole, made_on, options_told, recall, records_of, same, weights_of
from .tiny_translations import ALL, FORM, every_translation, log_chances, rows_of, tiny

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


# A critic that sees the reference.

SEEING: dict[str, Any] = {"collect": "episodes", "critic_sees": "reference", "critic_hidden": (8, 8)}


def values_along(agent: Any, every: Any) -> dict[tuple[int, ...], torch.Tensor]:
    """Q of the policy in each state of the tiny language, by what is written: float64[A], 0 where it is not allowed."""
    chances = log_chances(agent, every).sum(0).exp().detach().numpy()
    returns = np.where(every.valid, every.rewards, 0.0).sum(axis=0)
    found: dict[tuple[int, ...], torch.Tensor] = {}
    for start in [(), (4,), (5,), (4, 4), (4, 5), (5, 4), (5, 5)]:
        row = torch.zeros(6, dtype=torch.float64)
        for action in range(6):
            mine = [i for i, words in enumerate(ALL) if words[: len(start) + 1] == (*start, action)]
            if mine:
                row[action] = float((chances[mine] * returns[mine]).sum() / chances[mine].sum())
        found[start] = row
    return found


def test_with_the_true_values_the_expected_step_is_the_gradient_of_the_return(tmp_path: Path) -> None:
    form = {**FORM, **SEEING, "gamma": 1.0, "normalize_advantage": False, "ent_coef": 0.0}
    agent: Any = exact_agent(make_agent("actor-critic", tiny(tmp_path, 1), **form))  # type: ignore[arg-type]
    every = every_translation(tmp_path, 2)
    table = values_along(agent, every)
    chances = log_chances(agent, every).sum(0).exp()
    returns = torch.as_tensor(np.where(every.valid, every.rewards, 0.0).sum(axis=0))
    exact = gradient_of((chances * returns).sum(), agent)

    def told(self: Any, critic: Any) -> torch.Tensor:
        seen, places = self.rollout.observations, np.argwhere(self.rollout.valid)
        rows = [table[tuple(seen["target"][t, n, :t].tolist())] for t, n in places]
        return torch.stack(rows)

    total = torch.zeros(())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Answered, "values", told)
        for row, chance in enumerate(chances.detach().numpy()):
            batch = rows_of(every, [row])
            step = taken(agent, lambda b=batch: agent._actor_step(Answered(b, agent.known), None, 0.0))
            total = total + float(chance) * step * batch.steps
    torch.testing.assert_close(total, exact, atol=1e-7, rtol=1e-6)
    assert exact.abs().max() > 0.005


def test_goals_by_hand() -> None:
    rollout = every_episode(Tokens(2, 2, seed=0))
    rollout.rewards[:] = np.array([[1.0], [10.0]])
    values = np.array([[5.0] * 4, [7.0] * 4])
    np.testing.assert_allclose(goals(rollout, values, 0.5, 0.0)[:, 0], [1 + 0.5 * 7, 10])
    np.testing.assert_allclose(goals(rollout, values, 0.5, 1.0)[:, 0], [1 + 0.5 * 10, 10])
    np.testing.assert_allclose(goals(rollout, values, 0.5, 0.2)[:, 0], [1 + 0.5 * (0.8 * 7 + 0.2 * 10), 10])
    rollout.valid[1, 2] = False
    np.testing.assert_allclose(goals(rollout, values, 0.5, 0.2)[:, 2], [1, 0])


def test_its_losses_by_hand() -> None:
    values = torch.tensor([[1.0, 3.0, 50.0]])
    log_probs = torch.tensor([[0.25, 0.75, 1.0]]).log() + torch.tensor([[0.0, 0.0, -1e9]])
    assert float(expected_values(log_probs, values)) == pytest.approx(2.5)
    error = critic_error(values, log_probs, torch.tensor([0]), torch.tensor([2.0]), 0.1)
    assert float(error) == pytest.approx(0.5 + 0.1 * 2)  # the masked one is no part of the mean
    np.testing.assert_allclose(advantages_of(log_probs, values)[0, :2].numpy(), [-1.5, 0.5], rtol=1e-6)


def test_the_critic_sees_the_reference_and_not_the_source(tmp_path: Path) -> None:
    made = make_agent("actor-critic", tiny(tmp_path, 3), **FORM, **SEEING)
    agent: Any = made
    rollout = agent.collector.episodes(agent.actor(), seed=1)
    told = Answered(rollout, agent.known)
    answers = agent.known.of({key: part[0] for key, part in rollout.observations.items()})
    assert told.answered["source"][0].tolist() == answers.tolist()
    assert told.seen["source"].tolist() == rollout.observations["source"].tolist()
    before = told.values(agent.networks["critic"])
    told.answered["source"] = told.answered["source"].clone()
    told.answered["source"][:, :, 0] = 9 - told.answered["source"][:, :, 0]
    assert (told.values(agent.networks["critic"]) - before).abs().max() > 1e-4


def test_targets_follow_slowly_and_the_critic_begins_alone(tmp_path: Path) -> None:
    agent: Any = make_agent("actor-critic", tiny(tmp_path, 8), **FORM, **SEEING, tau=0.25, critic_warmup=0.5)
    old = {n: [p.detach().clone() for p in agent.networks[n].parameters()] for n in ("policy", "critic")}
    for name, weights in old.items():
        for one, two in zip(weights, agent.networks[f"target_{name}"].parameters(), strict=True):
            assert torch.equal(one, two)
    agent.learn(200, callback=lambda _: False)
    for one, two in zip(old["policy"], agent.networks["policy"].parameters(), strict=True):
        assert torch.equal(one, two)
    moved = list(agent.networks["critic"].parameters())
    for one, now, target in zip(
        old["critic"], moved, agent.networks["target_critic"].parameters(), strict=True
    ):
        torch.testing.assert_close(target, one + 0.25 * (now - one))
        assert not target.requires_grad
    assert not all(torch.equal(one, now) for one, now in zip(old["critic"], moved, strict=True))
    agent.learn(200)
    assert not all(
        torch.equal(one, two)
        for one, two in zip(old["policy"], agent.networks["policy"].parameters(), strict=True)
    )


@pytest.mark.parametrize(
    "more", [{}, {"xent_coef": 0.2, "prior": "uniform", "kl_coef": 0.1, "critic_updates": 2}]
)
def test_with_references_it_goes_on_exactly(more: dict[str, Any], tmp_path: Path) -> None:
    options = {**FORM, **SEEING, "seed": 3, **more}
    whole: Any = make_agent("actor-critic", tiny(tmp_path, 8), **options).learn(300)
    half: Any = make_agent("actor-critic", tiny(tmp_path, 8), **options)
    half.learn(300, callback=lambda agent: agent.num_timesteps < 120)
    half.save(tmp_path / "half")
    resumed: Any = load_agent(tmp_path / "half", tiny(tmp_path, 8)).learn(300)
    assert same(weights_of(whole), weights_of(resumed))


def test_it_learns_to_translate(tmp_path: Path) -> None:
    form = {"recurrent": True, "trunk": "gru", "hidden": (16, 16), "critic_updates": 2}
    options = {**SEEING, **form, "critic_hidden": (16, 16), "learning_rate": 0.01, "gamma": 1.0}
    records = records_of(
        make_agent("actor-critic", tiny(tmp_path, 32), **options, ent_coef=0.1, seed=1), 5000
    )
    returns = [r["return"] for r in records]
    assert np.mean(returns[-5:]) > np.mean(returns[:5]) + 0.15


def test_references_are_refused_where_there_are_none(tmp_path: Path) -> None:
    gru = {"recurrent": True, "trunk": "gru"}
    with pytest.raises(DescantError, match="this environment has none"):
        make_agent("actor-critic", TaskVectorEnv(Recall(), 4), **SEEING, **gru)
    for bad in (
        {"collect": "steps"},
        {"recurrent": False, "trunk": "lstm"},
        {"trunk": "lstm"},
        {"shared": True},
    ):
        with pytest.raises(DescantError, match="pass collect episodes"):
            make_agent("actor-critic", tiny(tmp_path, 4), **{**SEEING, **gru, **bad})
    for bad in ({"tau": 0.0}, {"critic_warmup": 1.0}, {"critic_updates": 0}, {"q_spread": -1.0}):
        with pytest.raises(DescantError, match="critic_warmup must be"):
            make_agent("actor-critic", tiny(tmp_path, 4), **{**SEEING, **gru, **bad})
    with pytest.raises(DescantError, match="critic_sees must be"):
        make_agent("actor-critic", tiny(tmp_path, 4), **{**SEEING, **gru, "critic_sees": "all"})
