"""References: what an environment answers, and the cross-entropy that agents mix in."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from descant.control import policy_log_probs
from descant.errors import DescantError
from descant.makers import make_agent
from descant.references import MOST, References, reference_loss
from descant.rollouts import Collector
from descant.shells import TaskVectorEnv
from descant.text.examples import Examples
from descant.text.vocabularies import EOS, PAD

from ..agents.on_policy_checks import records_of, weights_of
from ..agents.tiny_translations import FORM, tiny
from ..tiny_tasks import Echo

GRU = {"recurrent": True, "trunk": "gru", "hidden": (8, 16)}
ROWS: dict[str, Any] = {
    "reinforce": {"critic_hidden": (8, 8)},
    "actor-critic": {"critic_hidden": (8, 8)},
    "ppo": {"critic_hidden": (8, 8), "n_epochs": 2},
    "rloo": {"group_size": 4},
    "grpo": {"group_size": 4},
    "mrt": {"group_size": 4},
    "mixer": {},
}


def env(n: int = 8, **options: Any) -> Any:
    return gymnasium.make_vec("descant/Translation-v0", num_envs=n, size=40, max_words=8, **options)


def test_they_are_the_texts_whatever_is_written(tmp_path: Path) -> None:
    made = env(12)
    made.reset(options={"pairs": np.arange(12)})
    seen, *_ = made.step(np.full(12, 7))
    found = References(made, "a test").of(seen)
    codec, text = made.unwrapped.task.pairs.codecs[1], made.unwrapped.task.pairs.text.target
    for row, ids in enumerate(found):
        length = int((ids != PAD).sum())
        assert ids[length - 1] == EOS
        assert (ids[length:] == PAD).all()
        assert codec.decode(ids[: length - 1]) == text[row]
    single = gymnasium.make_vec(
        "descant/Translation-v0", num_envs=2, vectorization_mode="sync", size=40, max_words=8
    )
    assert References(single, "a test").of({k: v[:1] for k, v in seen.items()}).tolist() == found[:1].tolist()


def test_what_can_not_be_written_has_none(tmp_path: Path) -> None:
    made = tiny(tmp_path, 3, max_length=2)
    seen, _ = made.reset(options={"pairs": np.arange(3)})
    known = References(made, "a test")
    assert known.of(seen).tolist() == [[4, EOS], [5, EOS], [PAD, PAD]]
    strange = {"source": np.full((1, 3), 5, np.int32)}
    assert known.of(strange).tolist() == [[PAD, PAD]]
    rollout = Collector(made).episodes(lambda *_: np.full(3, EOS), options={"pairs": np.array([2, 2, 2])})
    assert known.shown_in(rollout) is None
    agent: Any = make_agent("rloo", tiny(tmp_path, 2, max_length=2), **FORM, group_size=2, xent_coef=1.0)
    agent.references.prepare(rollout)
    assert agent.add_penalty() == {}


def test_each_source_of_a_rollout_counts_once(tmp_path: Path) -> None:
    made = tiny(tmp_path, 3)
    collector = Collector(made)
    rollout = collector.episodes(lambda *_: np.array([EOS, EOS, EOS]), options={"pairs": np.array([2, 0, 2])})
    shown = References(made, "a test").shown_in(rollout)
    assert shown is not None
    assert sorted(shown.targets.tolist()) == [[4, EOS, PAD], [4, 5, EOS]]


@pytest.mark.parametrize("name", list(ROWS))
def test_agents_add_its_gradient_and_no_more(name: str) -> None:
    """The gradient that the option adds is that of the mean NLL a token, times its weight."""
    options = {**GRU, **ROWS[name]}
    agent: Any = make_agent(name, env(), **options, xent_coef=0.7)
    rollout = agent.collector.episodes(agent.actor(), seed=5)
    agent.references.prepare(rollout)
    for parameter in agent.networks["policy"].parameters():
        parameter.grad = None
    record = agent.add_penalty()
    found = [p.grad.clone() for p in agent.networks["policy"].parameters() if p.grad is not None]
    shown: Examples = agent.references._shown
    episodes = shown.take(np.arange(len(shown.targets)))
    loss = reference_loss(agent.networks["policy"], episodes)
    used = list(agent.networks["policy"].parameters())
    exact = torch.autograd.grad(0.7 * loss, used, allow_unused=True)
    for one, two in zip(found, [g for g in exact if g is not None], strict=True):
        torch.testing.assert_close(one, two, atol=1e-7, rtol=1e-5)
    assert record["reference_nll"] == pytest.approx(float(loss.detach()))


@pytest.mark.parametrize("name", list(ROWS))
def test_agents_learn_references_by_it(name: str) -> None:
    """With a reward that says nothing, what falls is the cross-entropy."""
    made = env(16, reward={"name": "length"})
    agent = make_agent(name, made, **GRU, **ROWS[name], xent_coef=1.0, learning_rate=0.01)
    records = [r["reference_nll"] for r in records_of(agent, 2000) if "reference_nll" in r]
    assert np.mean(records[-3:]) < records[0] - 0.4


@pytest.mark.parametrize("xent_coef", [0.0, 1.0])
def test_references_are_learned_where_every_group_is_dropped(xent_coef: float) -> None:
    options: dict[str, Any] = {**GRU, "group_size": 4, "drop_equal": True, "xent_coef": xent_coef}
    agent: Any = make_agent("grpo", env(8), **options, learning_rate=0.01)
    rollout = agent.collector.episodes(agent.actor(), seed=5, options={"group_size": 4})
    rollout.rewards[:] = 0
    before = weights_of(agent)
    log_policy = policy_log_probs(agent.networks["policy"], rollout)
    nll = [agent.update(rollout, log_policy).get("reference_nll", 0.0) for _ in range(8)]
    same = all(torch.equal(value, weights_of(agent)[key]) for key, value in before.items())
    assert same == (not xent_coef)
    assert nll[-1] < nll[0] - 0.1 if xent_coef else nll == [0.0] * 8


def test_many_references_are_drawn_from() -> None:
    agent: Any = make_agent("rloo", env(8), **GRU, group_size=4, xent_coef=1.0)
    rows = np.arange(40).repeat(3)[: MOST + 20]
    task = agent.env.unwrapped.task
    targets = agent.references._references.of({"source": task.pairs.sources[rows]})
    agent.references._shown = Examples(task.pairs.sources[rows], targets)
    losses = {agent.references.loss(agent.networks["policy"], agent.generator).item() for _ in range(4)}
    assert len(losses) == 4


def test_without_it_nothing_changes_and_elsewhere_it_is_refused() -> None:
    one = weights_of(make_agent("rloo", env(), **GRU, group_size=4, seed=1).learn(200))  # type: ignore[arg-type]
    two = weights_of(make_agent("rloo", env(), **GRU, group_size=4, seed=1, xent_coef=0.0).learn(200))  # type: ignore[arg-type]
    assert all(torch.equal(one[k], two[k]) for k in one)
    with pytest.raises(DescantError, match="xent_coef learns from references, and this environment has none"):
        make_agent("ppo", TaskVectorEnv(Echo(), 4), xent_coef=0.1)
    for bad in (-0.1, float("nan"), float("inf")):
        with pytest.raises(DescantError, match="xent_coef must be"):
            make_agent("ppo", TaskVectorEnv(Echo(), 4), xent_coef=bad)
    config: Any = make_agent("ppo", TaskVectorEnv(Echo(), 4)).config
    assert dataclasses.asdict(config)["xent_coef"] == 0.0
