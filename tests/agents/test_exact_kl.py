"""The exact KL-regularised optimum, float64, against all sequences of enumerated worlds."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

import descant
from descant.agents.exact_kl import Config, log_prior_of, prior_of
from descant.envs.counterpoint import Counterpoint
from descant.envs.gridworld import GridWorld
from descant.envs.tokens import Tokens
from descant.errors import DescantError
from descant.evaluation import play
from descant.planning import enumerate_task, optimum, soft_optimum
from descant.rollouts import Collector
from descant.shells import TaskVectorEnv
from descant.tasks import Floats

from ..tiny_tasks import Echo, Heap

WORLDS = [(seed, c) for seed in range(4) for c in (0.1, 1.0, 4.0)]


def log_sum(values: Floats) -> float:
    return float(np.logaddexp.reduce(values))


def log_probs_of(task: Tokens, policy: Callable[[Any], Floats]) -> Floats:
    """Log-probability of every sequence under a policy over all actions."""
    every, _, _ = task.sequences()
    state, total = task.reset(np.random.default_rng(0), len(every)), np.zeros(len(every))
    rng = np.random.default_rng(0)
    for column in every.T:
        total += policy(task.observe(state))[np.arange(len(every)), column]
        state, _, _ = task.step(state, column, rng)
    return total


def solved(seed: int, c: float) -> tuple[Tokens, Any]:
    env = gymnasium.make_vec("descant/Tokens-v0", seed=seed)
    agent = descant.make_agent("exact-kl", env, prior="task", c=c).learn(1)
    return env.unwrapped.task, agent  # type: ignore[attr-defined]


@pytest.mark.parametrize(("seed", "c"), WORLDS)
def test_the_start_is_worth_log_z(seed: int, c: float) -> None:
    task, agent = solved(seed, c)
    _, returns, log_prior = task.sequences()
    assert agent.start_value() == pytest.approx(log_sum(log_prior + returns / c), abs=1e-10)


@pytest.mark.parametrize(("seed", "c"), WORLDS)
def test_the_policy_tilts_the_prior_by_the_reward(seed: int, c: float) -> None:
    task, agent = solved(seed, c)
    _, returns, log_prior = task.sequences()
    constant = log_probs_of(task, agent.log_probs) - log_prior - returns / c
    assert np.ptp(constant) < 1e-9
    assert constant.mean() == pytest.approx(-agent.start_value(), abs=1e-9)


@pytest.mark.parametrize(("seed", "c"), WORLDS)
def test_what_a_policy_lacks_is_its_kl_to_the_optimum(seed: int, c: float) -> None:
    task, agent = solved(seed, c)
    _, returns, log_prior = task.sequences()
    best = log_probs_of(task, agent.log_probs)
    rng = np.random.default_rng(seed)
    for scale in (0.1, 1.0, 3.0):
        logits = scale * rng.standard_normal((task.steps + 1, 5, 5, task.tokens))
        table = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
        log_pi = log_probs_of(task, lambda seen, table=table: table[tuple(seen.T)])
        pi = np.exp(log_pi)
        objective = (pi * (returns / c - (log_pi - log_prior))).sum()
        regret = agent.start_value() - objective
        assert regret == pytest.approx((pi * (log_pi - best)).sum(), abs=1e-9)
        assert regret > 0


@pytest.mark.parametrize(("seed", "c"), WORLDS)
def test_psi_is_log_p_plus_g(seed: int, c: float) -> None:
    task = Tokens(tokens=3, steps=4, seed=seed)
    graph = enumerate_task(task)
    log_prior = log_prior_of(graph, task, prior_of("task", task))
    soft = soft_optimum(graph, log_prior, c)
    after: Floats | None = None  # log sum p' exp G' of the next layer's states
    for t in reversed(range(len(graph.layers))):
        layer = graph.layers[t]
        g = layer.reward / c + (0.0 if after is None else after[layer.target])
        assert soft.psi[t] == pytest.approx(log_prior[t] + g, abs=1e-10)
        after = np.array([log_sum((log_prior[t] + g)[layer.source == s]) for s in range(len(layer))])


def test_c_leads_from_the_reward_to_the_prior() -> None:
    greedy, near = solved(1, 1e-3), solved(1, 1e6)
    task = greedy[0]
    _, returns, log_prior = task.sequences()
    assert (np.exp(log_probs_of(task, greedy[1].log_probs)) * returns).sum() == pytest.approx(
        returns.max(), abs=1e-6
    )
    assert log_probs_of(near[0], near[1].log_probs) == pytest.approx(log_prior, abs=1e-4)


def test_counterpoint_with_the_uniform_prior() -> None:
    task = Counterpoint(cantus="dorian", position="above", mask="rules")
    env = TaskVectorEnv(task)
    plan = optimum(enumerate_task(task))
    sharp = descant.make_agent("exact-kl", env, prior="uniform", c=1e-3).learn(1)
    _, returns = play(sharp, task, task.starts())
    assert returns == pytest.approx(plan.values[0], abs=1e-9)
    mild = descant.make_agent("exact-kl", env, prior="uniform", c=0.1).learn(1)
    # log Z by its definition, an expectation over the prior, from the numbers of each layer.
    graph = plan.graph
    z = np.ones(1)
    for layer in reversed(graph.layers):
        share = 1 / np.bincount(layer.source, minlength=len(layer))
        terms = share[layer.source] * np.exp(layer.reward / 0.1) * np.append(z, 1.0)[layer.target]
        z = np.bincount(layer.source, weights=terms, minlength=len(layer))
    assert mild.start_value() == pytest.approx(np.log(z[0]), abs=1e-9)  # type: ignore[attr-defined]
    log_probs = mild.log_probs(task.observe(graph.layers[3].states))
    mask = task.action_mask(graph.layers[3].states)
    assert np.isneginf(log_probs[~mask]).all()


def test_dead_ends_are_never_entered() -> None:
    task = Heap((5,))
    graph = enumerate_task(task)
    mask = task.action_mask(graph.layers[0].states)
    log_prior = [-np.log(np.bincount(layer.source)[layer.source].astype(float)) for layer in graph.layers]
    soft = soft_optimum(graph, log_prior, 0.5)
    assert np.isfinite(soft.values[0]).all()
    assert np.exp(soft.log_policy(0)).sum() == pytest.approx(1)
    assert mask.sum() == 3
    for t, layer in enumerate(graph.layers[:-1]):
        dead = np.append(np.isneginf(soft.values[t + 1]), False)[layer.target]
        assert np.isneginf(soft.psi[t][dead]).all()


def test_the_identity_is_solved() -> None:
    agent = descant.make_agent("exact-kl", TaskVectorEnv(Echo(), num_envs=2), prior="uniform", c=0.05)
    assert agent.predict(np.arange(4), deterministic=True)[0].tolist() == [0, 1, 2, 3]


def test_saved_and_loaded_acts_alike(tmp_path: Path) -> None:
    task, agent = solved(2, 1.0)
    seen = task.observe(task.starts())
    agent.save(tmp_path / "full")
    env = gymnasium.make_vec("descant/Tokens-v0", seed=2)
    descant.make_agent("exact-kl", env, prior="task").save(tmp_path / "empty")
    for folder in ("full", "empty"):
        assert (descant.load_agent(tmp_path / folder).log_probs(seen) == agent.log_probs(seen)).all()


def test_a_trained_prior_is_followed(tmp_path: Path) -> None:
    env = gymnasium.make_vec("descant/Tokens-v0", num_envs=8)
    trained = descant.make_agent("reinforce", env, hidden=(8,), critic_hidden=(8,)).learn(200)
    trained.save(tmp_path / "prior")
    agent = descant.make_agent("exact-kl", env, prior=str(tmp_path / "prior"), c=1e6)
    seen = env.unwrapped.task.observe(env.unwrapped.task.starts())  # type: ignore[attr-defined]
    assert agent.log_probs(seen) == pytest.approx(trained.log_probs(seen), abs=1e-4)
    recurrent = descant.make_agent("reinforce", env, hidden=(8,), critic_hidden=(8,), recurrent=True)
    recurrent.save(tmp_path / "recurrent")
    with pytest.raises(DescantError, match="recurrent"):
        descant.make_agent("exact-kl", env, prior=str(tmp_path / "recurrent"))
    other = gymnasium.make_vec("descant/Tokens-v0", tokens=3)
    with pytest.raises(DescantError, match="trained on"):
        descant.make_agent("exact-kl", other, prior=str(tmp_path / "prior"))


def test_rows_that_await_their_reset_do_no_harm() -> None:
    env = gymnasium.make_vec("descant/Tokens-v0", num_envs=4)
    agent = descant.make_agent("exact-kl", env, prior="task")

    def act(observation: Any, masks: Any, starts: Any) -> Any:
        return agent.predict(observation, None, starts, False, masks)[0]

    assert Collector(env).steps(20, act).steps == 4 * (20 - 3)


@pytest.mark.parametrize(
    ("env", "options", "words"),
    [
        ("descant/Tokens-v0", {}, "needs a prior"),
        ("descant/Tokens-v0", {"prior": "task", "c": 0.0}, "c must be above 0"),
        ("descant/Tokens-v0", {"prior": "task", "c": float("nan")}, "c must be above 0"),
        ("descant/Tokens-v0", {"prior": "task", "max_edges": 0}, "max_edges"),
        ("descant/GridWorld-v0", {"prior": "task"}, "no prior of its own"),
        ("CartPole-v1", {"prior": "uniform"}, "has none"),
    ],
)
def test_bad_input_is_refused_before_any_work(env: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(DescantError, match=words):
        descant.make_agent("exact-kl", env, **options)


def test_what_can_not_be_planned_is_refused() -> None:
    with pytest.raises(DescantError, match="stochastic"):
        descant.make_agent("exact-kl", TaskVectorEnv(GridWorld()), prior="uniform").learn(1)
    with pytest.raises(DescantError, match="c must be above 0"):
        soft_optimum(enumerate_task(Echo()), [], 0.0)


def test_the_page_tells_all_options() -> None:
    page = (Path(__file__).parents[2] / "docs/exact_kl.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert told == [field.name for field in dataclasses.fields(Config)]
