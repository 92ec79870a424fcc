"""MIXER: its schedule, its gradient by enumeration, its baseline, what it refuses, and that it goes on exactly."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from descant.agents.mixer import Config, Mixer, tail_of
from descant.errors import DescantError
from descant.makers import load_agent, make_agent
from descant.shells import TaskVectorEnv
from descant.text.vocabularies import EOS, PAD

from ..tiny_tasks import Echo
from .enumeration import exact_agent, gradient_of, taken
from .on_policy_checks import options_told, records_of, same, weights_of
from .tiny_translations import ALL, FORM, every_translation, log_chances, rows_of, tiny

GRU = {"trunk": "gru", "hidden": (8, 16)}
DATA = {"size": 40, "max_words": 8}


def env(n: int = 8, **options: Any) -> Any:
    return gymnasium.make_vec("descant/Translation-v0", num_envs=n, **DATA, **options)


def test_the_schedule_by_hand() -> None:
    config = Config(xent=0.2, anneal=0.6, delta=3)
    tails = [tail_of(done, config, 8) for done in (0.0, 0.19, 0.2, 0.49, 0.51, 0.79, 0.81, 1.0)]
    assert tails == [0, 0, 3, 3, 6, 6, 8, 8]
    assert [tail_of(d, Config(delta=2, anneal=1.0, tokens=4), 9) for d in (0.0, 0.9, 1.0)] == [2, 2, 4]
    assert tail_of(0.0, Config(xent=0.0, anneal=0.0), 7) == 7
    assert tail_of(0.9, Config(xent=1.0, anneal=0.0), 7) == 0
    assert tail_of(0.5, Config(tokens=50), 7) <= 7


@pytest.mark.parametrize("tail", [0, 1, 2, 3])
@pytest.mark.parametrize("pair", [0, 2])
def test_the_expected_step_is_the_gradient_of_both_parts(tail: int, pair: int, tmp_path: Path) -> None:
    """log-likelihood of the words given, and the expected return of what is written on from them."""
    every = every_translation(tmp_path, pair)
    agent: Any = exact_agent(make_agent("mixer", tiny(tmp_path, 1), **FORM))  # type: ignore[arg-type]
    target = agent.known.of({key: part[0, :1] for key, part in every.observations.items()})[0]
    begun = max(int((target != PAD).sum()) - tail, 0)
    rows = [i for i, words in enumerate(ALL) if list(words[:begun]) == target[:begun].tolist()]
    own = (np.arange(3)[:, None] >= begun) & every.valid
    log_probs = log_chances(agent, every)
    after = (log_probs * torch.as_tensor(own)).sum(0)
    returns = torch.as_tensor(np.where(own, every.rewards, 0.0).sum(axis=0))
    found = torch.zeros(())
    for row in rows:
        batch = rows_of(every, [row])
        step = taken(agent, lambda batch=batch, row=row: agent.update(batch, own[:, [row]]))
        found = found + after[row].exp().detach() * step * batch.steps
    assert float(after[rows].exp().sum().detach()) == pytest.approx(1)
    value = (after[rows].exp() * returns[rows]).sum() + log_probs[:begun, rows[0]].sum()
    exact = gradient_of(value, agent)
    torch.testing.assert_close(found, exact, atol=1e-6, rtol=1e-6)
    assert exact.abs().max() > 0.005


def test_references_lead_and_the_policy_ends(tmp_path: Path) -> None:
    agent: Any = make_agent("mixer", env(8), **GRU)
    with torch.no_grad():
        agent.networks["policy"].bias[EOS] = -20.0  # so that it never ends as the reference does
    for tail in (0, 2, 9):
        rollout, own = agent.write(agent.collector, tail)
        targets = agent.known.of({key: part[0] for key, part in rollout.observations.items()})
        lengths = (targets != PAD).sum(axis=1)
        for row, length in enumerate(lengths):
            begun = max(length - tail, 0)
            np.testing.assert_array_equal(rollout.actions[:begun, row], targets[row, :begun])
            assert not own[:begun, row].any()
            np.testing.assert_array_equal(own[begun:, row], rollout.valid[begun:, row])
        if tail == 0:
            np.testing.assert_allclose(np.where(rollout.valid, rollout.rewards, 0.0).sum(axis=0), 1.0)
            assert not own.any()
        else:
            assert own.any(axis=0).all()


def test_the_baseline_is_a_regression_that_leaves_the_policy_alone(tmp_path: Path) -> None:
    agent: Any = exact_agent(make_agent("mixer", tiny(tmp_path, 1), **FORM))  # type: ignore[arg-type]
    every = every_translation(tmp_path, 0)
    own = every.valid.copy()
    every = dataclasses.replace(every, rewards=np.where(every.terminated, 0.7, 0.0))
    baseline = agent.networks["baseline"]
    with torch.no_grad():
        baseline.weight.zero_()
        baseline.bias.fill_(0.7)
    step = taken(agent, lambda: agent.update(every, own))
    assert step.abs().max() < 1e-7  # advantages are zero
    assert baseline.bias.grad.abs().max() < 1e-7
    with torch.no_grad():
        baseline.bias.fill_(0.5)
    baseline.bias.grad = None
    agent.update(every, own)
    assert float(baseline.bias.grad) == pytest.approx(-0.2, abs=1e-6)


def test_unknown_words_are_gone_on_from_but_not_learned(tmp_path: Path) -> None:
    agent: Any = exact_agent(make_agent("mixer", tiny(tmp_path, 1), **FORM))  # type: ignore[arg-type]
    every = rows_of(every_translation(tmp_path, 2), [3])
    masks = every.masks.copy()  # type: ignore[union-attr]
    masks[0, 0, every.actions[0, 0]] = False
    record = agent.update(dataclasses.replace(every, masks=masks), np.zeros((3, 1), bool))
    assert record["xent_loss"] < 100


@pytest.mark.parametrize("more", [{}, {"xent_coef": 0.5}, {"prior": "uniform", "kl_coef": 0.1}])
def test_it_goes_on_exactly(more: dict[str, Any], tmp_path: Path) -> None:
    options = {**GRU, "xent": 0.2, "anneal": 0.5, "seed": 3, **more}
    whole = make_agent("mixer", env(), **options).learn(700)
    half = make_agent("mixer", env(), **options)
    half.learn(700, callback=lambda agent: agent.num_timesteps < 300)
    half.save(tmp_path / "half")
    resumed = load_agent(tmp_path / "half", env()).learn(700)
    assert same(weights_of(whole), weights_of(resumed))  # type: ignore[arg-type]


def test_it_learns_to_translate(tmp_path: Path) -> None:
    options: dict[str, Any] = {"learning_rate": 0.01, "xent": 0.3, "anneal": 0.5, "delta": 1, "seed": 1}
    agent = make_agent("mixer", tiny(tmp_path, 16), trunk="gru", hidden=(16, 16), **options)
    records = records_of(agent, 4000)
    assert [r["tail"] for r in records] == sorted(r["tail"] for r in records)
    assert {r["tail"] for r in records} == {0.0, 1.0, 2.0, 3.0}
    made = tiny(tmp_path, 3)
    seen, _ = made.reset(options={"pairs": np.arange(3)})
    written, state = [], None
    for _ in range(3):
        action, state = agent.predict(seen, state, deterministic=True)
        written.append(action)
        seen, *_ = made.step(action)
    assert np.array(written).T[:, :2].tolist() == [[4, EOS], [5, EOS], [4, 5]]
    assert records[-1]["exact"] > 0.8


def test_kl_and_cross_entropy_change_what_is_learned() -> None:
    plain = weights_of(make_agent("mixer", env(), **GRU).learn(300))  # type: ignore[arg-type]
    for more in ({"xent_coef": 0.5}, {"prior": "uniform", "kl_coef": 0.5}, {"normalize_advantage": True}):
        assert not same(plain, weights_of(make_agent("mixer", env(), **GRU, **more).learn(300))), more  # type: ignore[arg-type]


def test_other_environments_and_bad_options_are_refused() -> None:
    with pytest.raises(DescantError, match="train on descant/Translation-v0"):
        make_agent("mixer", TaskVectorEnv(Echo(), 4))
    for bad in (
        {"delta": 0},
        {"tokens": -1},
        {"xent": 0.5, "anneal": 0.6},
        {"rl_coef": 0.0},
        {"recurrent": False},
    ):
        with pytest.raises(DescantError):
            make_agent("mixer", env(), **bad)


def test_the_table_of_options_is_whole() -> None:
    assert options_told("mixer.md") == [field.name for field in dataclasses.fields(Mixer.Config)]


@pytest.mark.parametrize("name", ["dqn", "kl-q", "psi", "g", "off-policy-ac"])
def test_agents_that_do_not_translate_say_which_do(name: str) -> None:
    with pytest.raises(DescantError, match=rf"{name} has no network that translates: take reinforce"):
        make_agent(name, env(2))
