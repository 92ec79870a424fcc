"""Compositions of policies, with memory and without, beside a prior."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest

import descant
from descant.compositions import ROWS, by_step, policy_step, tempered, write_compositions
from descant.errors import DescantError
from descant.kl import exact_kl
from descant.music.melody_statistics import measure
from descant.shells import make_task
from descant.tasks import Bools, Floats

from ..melodies import score

ID = "descant/Melody-v0"
TASK = make_task(ID, steps=8)


def spread(seed: int) -> Floats:
    """Log-probabilities of 38 actions by the last one, float[39, 38]."""
    logits = np.random.default_rng(seed).normal(size=(39, 38)) * 2
    return np.asarray(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))


class ByLast:
    """A policy that knows the last action alone."""

    def __init__(self, seed: int) -> None:
        self.table = spread(seed)

    def log_probs(self, observation: Any, state: Any = None, action_masks: Bools | None = None) -> Floats:
        return self.table[observation[:, 0]]


def agent(name: str, **options: Any) -> Any:
    return descant.make_agent(name, gymnasium.make_vec(ID, num_envs=2, steps=8), hidden=(8,), **options)


def test_rewards_terms_and_log_probabilities_are_those_of_what_was_written() -> None:
    policy, prior = ByLast(0), ByLast(1)
    found = write_compositions(policy, TASK, 50, prior=prior, seed=3)
    terms, rewards, last = score(found.actions)
    np.testing.assert_allclose(found.rewards, rewards.sum(axis=1))
    for name, value in terms.items():
        np.testing.assert_allclose(found.terms[name], value.sum(axis=1))
    np.testing.assert_array_equal(found.last.written, last.written)
    before = np.concatenate([np.zeros((50, 1), int), found.actions[:, :-1] + 1], axis=1)
    for own, table in ((found.log_policy, policy.table), (found.log_prior, prior.table)):
        np.testing.assert_allclose(own, table[before, found.actions].mean(axis=1))
    np.testing.assert_allclose(found.kl, exact_kl(policy.table[before], prior.table[before]).mean(axis=1))
    assert found.scores.keys() >= {"reward", "reward/key", "log_policy", "log_prior", "kl"}
    plain = write_compositions(policy, TASK, 50, seed=3, terms=False)
    assert plain.log_prior is None
    assert not plain.terms
    assert "kl" not in plain.scores
    np.testing.assert_array_equal(plain.actions, found.actions)
    assert len(plain) == 50


def test_actions_are_drawn_as_often_as_the_policy_says() -> None:
    policy = ByLast(0)
    actions = write_compositions(policy, TASK, 20_000, seed=1, terms=False).actions
    shares = np.bincount(actions[:, 0], minlength=38) / len(actions)
    np.testing.assert_allclose(shares, np.exp(policy.table[0]), atol=0.015)


def test_temperature_sharpens_and_0_takes_the_likeliest() -> None:
    policy = ByLast(2)
    greedy = write_compositions(policy, TASK, 3, temperature=0, seed=5)
    last, line = 0, []
    for _ in range(8):
        line.append(int(policy.table[last].argmax()))
        last = line[-1] + 1
    assert greedy.actions.tolist() == [line] * 3
    assert (greedy.log_policy == 0).all()
    entropies = [-write_compositions(policy, TASK, 500, temperature=t).log_policy.mean() for t in (0.3, 1, 3)]
    assert entropies == sorted(entropies)
    np.testing.assert_allclose(np.exp(tempered(policy.table, 0.7)).sum(axis=1), 1)
    np.testing.assert_array_equal(tempered(policy.table, 1e-300).argmax(axis=1), policy.table.argmax(axis=1))
    masked = np.where(np.arange(38) < 4, 0.0, -np.inf)[None] - np.log(4)
    np.testing.assert_allclose(tempered(masked, 2.0), masked)


def test_a_temperature_goes_in_a_line_from_the_first_step_to_the_last() -> None:
    assert by_step(1.5, 4).tolist() == [1.5] * 4
    assert by_step([1.0, 1.6], 4) == pytest.approx([1.0, 1.2, 1.4, 1.6])
    policy = ByLast(2)
    found = write_compositions(policy, TASK, 500, temperature=(0.2, 5.0))
    before = np.concatenate([np.zeros((500, 1), int), found.actions[:, :-1] + 1], axis=1)
    each = [tempered(policy.table[before[:, t]], heat) for t, heat in enumerate(np.linspace(0.2, 5.0, 8))]
    own = [log_p[np.arange(500), found.actions[:, t]] for t, log_p in enumerate(each)]
    np.testing.assert_allclose(found.log_policy, np.mean(own, axis=0))
    same = write_compositions(policy, TASK, 500, temperature=(0.7, 0.7))
    np.testing.assert_array_equal(
        same.actions, write_compositions(policy, TASK, 500, temperature=0.7).actions
    )


def test_a_line_of_temperatures_needs_a_number_of_steps() -> None:
    with pytest.raises(DescantError, match="has no number of steps: give one temperature for all"):
        write_compositions(ByLast(0), make_task("descant/Counterpoint-v0"), 3, temperature=(1.0, 2.0))


def test_the_seed_decides() -> None:
    one, two, again = (write_compositions(ByLast(0), TASK, 9, seed=s).actions for s in (1, 2, 1))
    assert (one == again).all()
    assert (one != two).any()


def test_more_than_fit_at_once_differ() -> None:
    found = write_compositions(ByLast(0), TASK, ROWS + 7, terms=False)
    assert found.actions.shape == (ROWS + 7, 8)
    assert (found.actions[:7] != found.actions[ROWS:]).any()
    assert len(measure(found.last.written, TASK.music_key)["repeated"]) == ROWS + 7  # type: ignore[attr-defined]


@pytest.mark.parametrize("recurrent", [True, False])
def test_memory_is_kept_from_step_to_step_and_is_the_agents_own(recurrent: bool) -> None:
    """What was written is as likely as the network says of whole sequences."""
    from descant.control import policy_log_probs
    from descant.music.windows import observations
    from descant.rollouts import Rollout

    made = agent("bc", recurrent=recurrent, data="none")
    found = write_compositions(made, TASK, 20, prior=made)
    seen, actions = observations(found.actions), found.actions.T.astype(np.int64)
    nothing = np.zeros(actions.shape, bool)
    starts = nothing.copy()
    starts[0] = True
    shown = Rollout(seen, actions, np.zeros(actions.shape), nothing, nothing, starts, ~nothing, None, None)
    whole = np.take_along_axis(policy_log_probs(made.networks["policy"], shown), actions[..., None], 2)
    np.testing.assert_allclose(found.log_policy, whole[..., 0].mean(axis=0), atol=1e-5)
    np.testing.assert_array_equal(found.log_prior, found.log_policy)
    assert (found.kl == 0).all()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("random", None),
        ("reinforce", {"critic_hidden": (8,)}),
        ("ppo", {"recurrent": True}),
        ("psi", {"prior": "uniform", "recurrent": True}),
        ("g", {"prior": "uniform"}),
        ("kl-q", {"prior": "uniform"}),
        ("sb3/ppo", {}),
    ],
)
def test_every_kind_of_agent_writes_and_is_measured(name: str, options: dict[str, Any] | None) -> None:
    made = descant.make_agent(name, ID) if options is None else None
    if options is not None:
        made = descant.make_agent(name, gymnasium.make_vec(ID, num_envs=2, steps=8), hidden=(8,), **options)
    task = make_task(ID) if options is None else TASK
    other = agent("bc", recurrent=True, data="none") if options is not None else made
    for temperature in (0.0, 0.5, 1.0):
        found = write_compositions(made, task, 5, prior=other, temperature=temperature)
        assert found.actions.shape[0] == 5
        assert found.kl is not None
        assert (found.kl >= -1e-9).all()
        assert np.isfinite(found.rewards).all()


def test_a_policy_that_knows_no_masks_is_masked() -> None:
    masks = np.arange(38)[None] < 3
    found, _ = policy_step(ByLast(0), np.zeros((1, 2), int), masks, np.ones(1, bool), None)
    assert np.isneginf(found[0, 3:]).all()
    np.testing.assert_allclose(np.exp(found[0, :3]).sum(), 1)


@pytest.mark.parametrize(
    ("n", "temperature", "message"),
    [
        (0, 1.0, "1 composition at least"),
        (1, -1.0, "temperature"),
        (1, np.nan, "temp"),
        (1, (1.0, -1.0), "not -1"),
    ],
)
def test_numbers_that_can_not_be_are_refused(n: int, temperature: float, message: str) -> None:
    with pytest.raises(DescantError, match=message):
        write_compositions(ByLast(0), TASK, n, temperature=temperature)


def test_episodes_of_different_length_are_refused() -> None:
    task = make_task("descant/GridWorld-v0")
    with pytest.raises(DescantError, match="differ in length"):
        write_compositions(descant.make_agent("random", "descant/GridWorld-v0"), task, 20)


def test_means_are_over_the_steps_that_a_primer_leaves_free() -> None:
    policy, primer = ByLast(0), {"primer": [14, 1, 16]}
    found = write_compositions(policy, TASK, 20, prior=ByLast(1), options=primer)
    assert (found.actions[:, :3] == [14, 1, 16]).all()
    before, written = found.actions[:, 2:-1] + 1, found.actions[:, 3:]
    np.testing.assert_allclose(found.log_policy, policy.table[before, written].mean(axis=1))
    np.testing.assert_allclose(found.log_prior, ByLast(1).table[before, written].mean(axis=1))
    np.testing.assert_allclose(found.kl, exact_kl(policy.table[before], ByLast(1).table[before]).mean(axis=1))
    np.testing.assert_allclose(found.rewards, score(found.actions)[1].sum(axis=1))
