"""VINE: what it finds other actions to be worth against playing them one by one, its gradient, and that it learns."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from descant.agents.vine import Vine, branch_credits, branch_points, tried_actions
from descant.branching import branch_returns
from descant.envs.tokens import Tokens
from descant.errors import DescantError
from descant.makers import load_agent, make_agent
from descant.shells import TaskVectorEnv
from descant.tasks import take_rows

from ..tiny_tasks import Dice, Echo
from .enumeration import (
    EXACT,
    batch_of,
    every_episode,
    exact_agent,
    gradient_of_return,
    log_chance,
    log_policy_of,
    taken,
)
from .on_policy_checks import options_told, records_of, same, weights_of


class Sequence:
    """A number of its own for every translation: what an untrained model writes has no BLEU."""

    def __call__(self, state: Any, action: Any, next_state: Any) -> Any:
        done = (next_state.position > state.position) & (
            next_state.ended | (next_state.position == state.limit)
        )
        weights = np.sin(np.arange(1, next_state.limit + 1))
        return np.where(done, np.sin(next_state.target.astype(float) @ weights), 0.1)

    def terms(self, state: Any, action: Any, next_state: Any) -> Any:
        return {"sequence": self(state, action, next_state)}

    def explain(self, episode: Any) -> list[Any]:
        return []


TRANSLATION = {"size": 60, "max_words": 8, "reward": Sequence()}
GRU: dict[str, Any] = {"recurrent": True, "trunk": "gru", "hidden": (8, 16)}
TRANSFORMER: dict[str, Any] = {"recurrent": True, "trunk": "transformer", "hidden": (16, 16, 16)}
LSTM: dict[str, Any] = {"recurrent": True, "hidden": (8, 16)}
FORMS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("descant/Tokens-v0", {}, {"hidden": (16,)}),
    ("descant/Counterpoint-v0", {"pool": 20}, {"hidden": (16, 16)}),
    ("descant/Melody-v0", {"steps": 8}, LSTM),
    ("descant/Melody-v0", {"steps": 8}, {"recurrent": True, "trunk": "transformer", "hidden": (16, 16)}),
    ("descant/Translation-v0", TRANSLATION, GRU),
    ("descant/Translation-v0", TRANSLATION, TRANSFORMER),
    ("descant/Translation-v0", TRANSLATION | {"max_length": 5, "force_eos": False}, TRANSFORMER),
    ("descant/Translation-v0", TRANSLATION | {"max_length": 5, "force_eos": False}, GRU),
]


def uneven(agent: Any, std: float) -> Any:
    """The agent with weights that make its policy depend on what it sees."""
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in agent.networks["policy"].parameters():
            parameter.add_(torch.randn_like(parameter) * std)
    return agent


def branched(agent: Any, seed: int = 0) -> tuple[Any, tuple[Any, Any], Any, Any, int]:
    """A trail of the agent, and what the actions tried on it are worth."""
    agent.generator.manual_seed(seed)
    trail, log_policy = agent.play(agent.collector)
    rng = np.random.default_rng(seed)
    where = np.nonzero(branch_points(log_policy, trail.rollout.valid, agent.config.points, rng))
    tried = tried_actions(log_policy[where], trail.rollout.actions[where], agent.config.actions)
    allowed = np.take_along_axis(log_policy[where], tried, axis=1) > -1e8
    values, steps = branch_returns(agent, trail, where, tried, allowed, rng)
    return trail, where, tried, np.where(allowed, values, np.nan), steps


def played_alone(agent: Any, trail: Any, step: int, row: int, action: int) -> tuple[float, int]:
    """The same as one episode that is acted from its beginning, everything read anew at each step."""
    task, rng = trail.task, np.random.default_rng(0)
    state, memory, total, steps = take_rows(trail.states[0], [row]), None, 0.0, 0
    for t in itertools.count():
        starts, cached = np.array([t == 0]), agent.networks["policy"].cached
        log_probs, memory = agent.policy_step(
            task.observe(state), task.action_mask(state), starts, None if cached else memory
        )
        chosen = (
            trail.rollout.actions[t, row] if t < step else action if t == step else int(log_probs.argmax())
        )
        state, reward, terminated = task.step(state, np.array([chosen]), rng)
        total += float(reward[0]) if t >= step else 0.0
        steps += t >= step
        if terminated[0] or t + 1 >= trail.limit:
            return total, steps
    raise AssertionError


@pytest.mark.parametrize(("name", "options", "form"), FORMS)
def test_actions_are_worth_what_they_are_when_played_alone(
    name: str, options: dict[str, Any], form: dict[str, Any]
) -> None:
    env = gymnasium.make_vec(name, num_envs=5, **options)
    agent = uneven(make_agent("vine", env, points=3, actions=3, **form), 0.4)
    trail, where, tried, values, steps = branched(agent)
    seen, count = set(), 0
    for p, (step, row) in enumerate(zip(*where, strict=True)):
        for k, action in enumerate(tried[p]):
            if np.isnan(values[p, k]):
                continue
            exact, length = played_alone(agent, trail, step, row, action)
            assert values[p, k] == pytest.approx(exact, abs=1e-5)
            count += length if action != trail.rollout.actions[step, row] else 0
            seen.add(round(exact, 4))
    assert len(seen) > 3
    assert steps == count
    assert len(where[0]) >= 10


def test_where_episodes_are_cut_what_is_played_on_is_cut_too() -> None:
    env = gymnasium.make_vec("descant/GridWorld-v0", num_envs=4, max_episode_steps=7)
    agent = uneven(make_agent("vine", env, points=0, actions=0, hidden=(8,)), 0.5)
    trail, where, tried, values, steps = branched(agent)
    assert trail.limit == 7
    assert (where[0] <= 6).all()
    assert steps <= sum(7 - t for t in where[0]) * tried.shape[1]
    last = where[0] == 6
    assert last.any()
    assert np.isfinite(values).all()


def q_values(agent: Any, task: Tokens, every: Any) -> np.ndarray:
    """Exact values of the policy float[T, N, A] at the states of every sequence: what comes after, by chance."""
    steps, rows = every.actions.shape
    log_probs = log_policy_of(agent, every).detach().numpy()
    chances = np.take_along_axis(log_probs, every.actions[..., None], -1)[..., 0]
    found = np.full((steps, rows, agent.action_space.n), np.nan)
    for t, row in itertools.product(range(steps), range(rows)):
        for a in range(agent.action_space.n):
            same = (every.actions[:t] == every.actions[:t, [row]]).all(axis=0) & (every.actions[t] == a)
            weights = np.exp(chances[t + 1 :, same].sum(axis=0))
            assert weights.sum() == pytest.approx(1)
            found[t, row, a] = (weights * every.rewards[t:, same].sum(axis=0)).sum()
    return found


def test_with_all_points_and_actions_drawn_it_is_the_gradient_of_the_return() -> None:
    """Over all episodes by their chances, with values as they are in expectation."""
    task = Tokens(3, 3, seed=1)
    agent: Any = exact_agent(
        make_agent("vine", TaskVectorEnv(task, 1), points=0, actions=0, follow="sampled", **EXACT)  # type: ignore[arg-type]
    )
    every = every_episode(task)
    chances = log_chance(agent, every).exp().detach().numpy()
    log_policy, worth = log_policy_of(agent, every).detach().numpy(), q_values(agent, task, every)
    total = torch.zeros(())
    for row, chance in enumerate(chances):
        one = batch_of(every, [row])
        where, tried = np.nonzero(one.valid), np.tile(np.arange(3), (3, 1))
        step = taken(
            agent,
            lambda one=one, where=where, tried=tried, row=row: agent.update(
                one, log_policy[:, [row]], where, tried, worth[:, row]
            ),
        )
        total = total + float(chance) * step
    exact = gradient_of_return(agent, every)
    torch.testing.assert_close(total, exact, atol=1e-7, rtol=1e-6)
    assert exact.abs().max() > 0.05


def test_a_loss_is_a_mean_over_episodes() -> None:
    task = Tokens(3, 2, seed=1)
    agent: Any = exact_agent(make_agent("vine", TaskVectorEnv(task, 2), points=0, actions=0, **EXACT))  # type: ignore[arg-type]
    every = every_episode(task)
    log_policy = log_policy_of(agent, every).detach().numpy()

    def step(rows: list[int]) -> torch.Tensor:
        where = np.nonzero(np.ones((2, len(rows)), bool))
        tried, values = (
            np.tile(np.arange(3), (2 * len(rows), 1)),
            np.sin(np.arange(6 * len(every.actions[0]))),
        )
        worth = values.reshape(2, -1, 3)[:, rows][where]
        return taken(
            agent, lambda: agent.update(batch_of(every, rows), log_policy[:, rows], where, tried, worth)
        )

    torch.testing.assert_close(step([1, 5]), (step([1]) + step([5])) / 2, atol=1e-7, rtol=1e-6)


def test_what_is_drawn_is_worth_what_is_expected() -> None:
    task = Tokens(3, 3, seed=1)
    agent: Any = make_agent(
        "vine", TaskVectorEnv(task, 4000), points=1, actions=0, follow="sampled", hidden=(8,)
    )
    uneven(agent, 0.5)
    trail, where, _tried, values, _ = branched(agent)
    every = every_episode(task)
    agent.networks["policy"].double()
    worth = q_values(agent, task, every)
    seen = 0
    for t, a in itertools.product(range(3), range(3)):
        for prefix in itertools.product(range(3), repeat=t):
            row = int(np.flatnonzero((np.array(prefix, int) == every.actions[:t].T).all(axis=1))[0])
            points = (where[0] == t) & (np.array(prefix, int) == trail.rollout.actions[:t, where[1]].T).all(
                axis=1
            )
            if points.sum() < 50:
                continue
            drawn = values[points, a]
            error = drawn.std() / np.sqrt(len(drawn))
            assert abs(drawn.mean() - worth[t, row, a]) <= 4.5 * error + 1e-6
            seen += 1
    assert seen > 20


def test_credits_are_the_derivative_of_the_expected_value() -> None:
    rng = np.random.default_rng(0)
    log_probs, values = np.log(rng.dirichlet(np.ones(6), 5))[:, :4], rng.normal(size=(5, 4))
    logits = torch.tensor(log_probs, requires_grad=True)
    (torch.softmax(logits, 1) * torch.tensor(values)).sum().backward()  # type: ignore[no-untyped-call]
    found = branch_credits(log_probs, values)
    np.testing.assert_allclose(found, logits.grad, atol=1e-12)
    np.testing.assert_allclose(branch_credits(log_probs, values + 3), found, atol=1e-12)
    assert np.abs(branch_credits(log_probs, np.ones((5, 4)))).max() < 1e-12


def test_points_are_where_the_policy_is_unsure() -> None:
    rng = np.random.default_rng(0)
    best = np.array([0.5, 0.9, 0.8, 1.0, 0.4])  # the last is not of the episode
    probs = np.stack([best, 1 - best], axis=1)
    with np.errstate(divide="ignore"):
        log_policy = np.tile(np.log(probs)[:, None], (1, 40_000, 1))
    log_policy[4] = np.log(0.5)
    valid = np.ones((5, 40_000), bool)
    valid[4] = False
    one = branch_points(log_policy, valid, 1, rng)
    np.testing.assert_allclose(one.mean(axis=1), [0.625, 0.125, 0.25, 0, 0], atol=0.01)
    assert (one.sum(axis=0) == 1).all()
    assert (branch_points(log_policy, valid, 2, rng).sum(axis=0) == 2).all()
    for points in (0, 5):
        assert branch_points(log_policy, valid, points, rng).mean(axis=1).tolist() == [1, 1, 1, 0, 0]


def test_the_likeliest_actions_are_tried_and_the_one_that_was_taken() -> None:
    log_probs = np.log([[0.1, 0.4, 0.2, 0.3], [0.1, 0.4, 0.2, 0.3]])
    assert tried_actions(log_probs, np.array([1, 0]), 2).tolist() == [[1, 3], [1, 0]]
    assert tried_actions(log_probs, np.array([2, 2]), 3).tolist() == [[1, 3, 2], [1, 3, 2]]
    assert tried_actions(log_probs, np.array([2, 2]), 0).tolist() == [[0, 1, 2, 3]] * 2
    assert tried_actions(log_probs, np.array([2, 2]), 9).tolist() == [[0, 1, 2, 3]] * 2


@pytest.mark.parametrize("follow", ["greedy", "sampled"])
def test_it_learns_the_identity(follow: str) -> None:
    agent = make_agent("vine", TaskVectorEnv(Echo(), 16), hidden=(16,), learning_rate=0.02, follow=follow)
    agent.learn(6000)
    assert agent.predict(np.arange(4), deterministic=True)[0].tolist() == [0, 1, 2, 3]


def test_it_comes_to_the_optimum_where_one_step_at_a_time_leads_there() -> None:
    env = gymnasium.make_vec("descant/Tokens-v0", num_envs=32, tokens=4, steps=4)
    agent: Any = make_agent("vine", env, hidden=(32,), learning_rate=0.01, actions=0, points=0)
    records = records_of(agent, 20_000)
    best = float(env.unwrapped.task.sequences()[1].max())
    assert records[-1]["return"] == pytest.approx(best, abs=1e-6)
    assert records[0]["return"] < best - 1
    assert records[0]["better_found"] > 0.3
    assert records[-1]["better_found"] == 0 == records[-1]["gain"]


def test_steps_that_are_played_on_count_and_the_learning_rate_falls() -> None:
    agent: Any = make_agent("vine", TaskVectorEnv(Echo(4, 3), 5), hidden=(8,), points=0, actions=0, seed=1)
    agent.learn(400, callback=lambda agent: False)
    assert agent.num_timesteps == 5 * 3 + 5 * 3 * (3 + 2 + 1)
    assert agent.optimizers["adam"].param_groups[0]["lr"] == 1e-3
    agent.learn(420)
    assert agent.num_timesteps == 4 * 105
    assert agent.optimizers["adam"].param_groups[0]["lr"] == pytest.approx(1e-3 / 4)
    steady: Any = make_agent("vine", TaskVectorEnv(Echo(), 5), hidden=(8,), lr_schedule="constant").learn(400)
    assert steady.optimizers["adam"].param_groups[0]["lr"] == 1e-3


def test_forbidden_actions_are_not_tried() -> None:
    env = gymnasium.make_vec("descant/Translation-v0", num_envs=4, size=40, max_words=8)
    agent: Any = make_agent("vine", env, **GRU, actions=0, points=1)
    trail, where, tried, values, steps = branched(agent)
    masks = trail.rollout.masks[where]
    assert steps <= (masks.sum(axis=1) - 1) @ (trail.limit - where[0])
    assert (np.isnan(values) == ~np.take_along_axis(masks, tried, 1)).all()
    assert (~masks).any()
    record = agent.iterate(agent.collector, 10_000)
    assert np.isfinite(list(record.values())).all()


@pytest.mark.parametrize("kl_coef", [0.7, 0.0])
def test_a_kl_to_the_prior_is_in_the_loss_and_the_entropy(kl_coef: float) -> None:
    """Where all is worth the same, the step is down the mean KL of the states that were seen, and up the entropy."""
    task = Tokens(3, 2, seed=1)
    options = {"prior": "task", "kl_coef": kl_coef, "points": 0, "actions": 0, "ent_coef": 0.2}
    agent: Any = exact_agent(make_agent("vine", TaskVectorEnv(task, 9), **EXACT, **options))  # type: ignore[arg-type]
    every = every_episode(task)
    log_policy = log_policy_of(agent, every)
    tried = np.tile(np.arange(3), (18, 1))
    found = taken(
        agent,
        lambda: agent.update(
            every, log_policy.detach().numpy(), np.nonzero(every.valid), tried, np.ones((18, 3))
        ),
    )
    log_prior = torch.as_tensor(agent.control.log_prior(every))
    kl = (log_policy.exp() * (log_policy - log_prior)).sum() / 9
    spread = -(log_policy.exp() * log_policy).sum() / 9
    exact = torch.autograd.grad(0.2 * spread - kl_coef * kl, list(agent.networks["policy"].parameters()))
    torch.testing.assert_close(found, torch.cat([g.ravel() for g in exact]), atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize("tried_only", [False, True])
def test_a_reward_that_is_no_number_is_refused(tried_only: bool) -> None:
    class Poisoned(Sequence):
        def __call__(self, state: Any, action: Any, next_state: Any) -> Any:
            poison = len(action) != 4 if tried_only else True
            return np.full(len(action), np.nan if poison else 0.1)

    env = gymnasium.make_vec("descant/Translation-v0", num_envs=4, size=40, max_words=8, reward=Poisoned())
    agent: Any = make_agent("vine", env, **GRU)
    before = {k: v.clone() for k, v in agent.networks["policy"].state_dict().items()}
    with pytest.raises(DescantError, match=r"not finite.*mend the environment"):
        agent.learn(1000)
    assert same(before, agent.networks["policy"].state_dict())


def test_where_nothing_is_unsure_nothing_is_learned() -> None:
    agent: Any = make_agent("vine", TaskVectorEnv(Echo(), 4), hidden=(8,))
    with torch.no_grad():
        head = agent.networks["policy"].heads["policy"]
        head.weight.zero_()
        head.bias.copy_(torch.tensor([1e4, 0, 0, 0]))
    before = {k: v.clone() for k, v in agent.networks["policy"].state_dict().items()}
    record = agent.iterate(agent.collector, 1000)
    assert record["points"] == 0
    assert record["grad_norm"] == 0
    assert same(before, agent.networks["policy"].state_dict())


@pytest.mark.parametrize("more", [{}, {"follow": "sampled", "xent_coef": 0.2}, {"precision": "bfloat16"}])
def test_it_goes_on_exactly(more: dict[str, Any], tmp_path: Path) -> None:
    def env() -> Any:
        return gymnasium.make_vec("descant/Translation-v0", num_envs=8, size=40, max_words=8)

    options = {**TRANSFORMER, "seed": 3, **more}
    whole = make_agent("vine", env(), **options).learn(2500)
    half = make_agent("vine", env(), **options)
    half.learn(2500, callback=lambda agent: agent.num_timesteps < 1000)
    half.save(tmp_path / "half")
    resumed = load_agent(tmp_path / "half", env()).learn(2500)
    assert same(weights_of(whole), weights_of(resumed))  # type: ignore[arg-type]


def test_what_can_not_be_is_refused() -> None:
    with pytest.raises(DescantError, match="copies of states"):
        make_agent("vine", gymnasium.make_vec("CartPole-v1", num_envs=2))
    env = TaskVectorEnv(Dice(), 4)
    for config, said in (
        ({"actions": 1}, "nothing to be compared"),
        ({"points": -1}, "points 0"),
        ({"follow": "best"}, "greedy or sampled"),
        ({"learning_rate": 0}, "must be positive"),
        ({"precision": "half"}, "float32 or bfloat16"),
        ({"precision": "bfloat16"}, "networks that translate"),
        ({"prior": "uniform", "kl_estimator": "k1"}, "leave kl_estimator exact"),
    ):
        with pytest.raises(DescantError, match=said):
            make_agent("vine", env, **config)  # type: ignore[arg-type]


def test_its_page_tells_all_options() -> None:
    assert options_told("vine.md") == [field.name for field in dataclasses.fields(Vine.Config)]
