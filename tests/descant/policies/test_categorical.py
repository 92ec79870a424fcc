"""Masked categorical distributions against `torch.distributions`."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Categorical

from descant.policies.categorical import chosen, entropy, logit_gradient, masked_log_softmax, sample

A = 6


@st.composite
def masked_logits(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor]:
    """float64[4, A] of any size, and masks that allow one action at least."""
    scale = draw(st.sampled_from([0.0, 1.0, 30.0, 1e4]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    logits = torch.randn(4, A, generator=generator, dtype=torch.float64) * scale
    rows = draw(st.lists(st.lists(st.booleans(), min_size=A, max_size=A).filter(any), min_size=4, max_size=4))
    return logits, torch.tensor(rows)


@settings(max_examples=60, deadline=None)
@given(masked_logits())
def test_log_probabilities_and_entropy_are_torchs(drawn: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, mask = drawn
    torchs = Categorical(logits=logits.masked_fill(~mask, -torch.inf))
    log_probs = masked_log_softmax(logits, mask)
    torch.testing.assert_close(log_probs[mask], torchs.logits[mask])
    assert (log_probs[~mask] < -1e8).all()
    torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(4, dtype=torch.float64))
    bounded = torchs.logits.clamp(min=-1e300)
    torch.testing.assert_close(entropy(log_probs), -(torchs.probs * bounded).sum(-1))
    actions = mask.double().argmax(-1)
    torch.testing.assert_close(chosen(log_probs, actions), torchs.log_prob(actions))


def test_without_a_mask_nothing_is_masked() -> None:
    logits = torch.randn(3, A)
    torch.testing.assert_close(masked_log_softmax(logits), torch.log_softmax(logits, -1))
    torch.testing.assert_close(
        masked_log_softmax(logits, torch.ones(3, A, dtype=torch.bool)), torch.log_softmax(logits, -1)
    )


@settings(max_examples=30, deadline=None)
@given(masked_logits())
def test_gradients_are_zero_where_masked_and_never_nan(drawn: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, mask = drawn
    logits.requires_grad_()
    log_probs = masked_log_softmax(logits, mask)
    (chosen(log_probs, mask.double().argmax(-1)).sum() + entropy(log_probs).sum()).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad[~mask] == 0).all()


def test_gradients_are_torchs() -> None:
    logits = torch.randn(5, A, dtype=torch.float64, requires_grad=True)
    mask = torch.rand(5, A) > 0.4
    mask[:, 2] = True
    log_probs = masked_log_softmax(logits, mask)
    (chosen(log_probs, torch.full((5,), 2)) + 0.3 * entropy(log_probs)).sum().backward()
    ours, logits.grad = logits.grad, None
    compressed = [Categorical(logits=row[allowed]) for row, allowed in zip(logits, mask, strict=True)]
    where = [int(allowed[:2].sum()) for allowed in mask]
    sum(
        d.log_prob(torch.tensor(i)) + 0.3 * d.entropy() for d, i in zip(compressed, where, strict=True)
    ).backward()
    torch.testing.assert_close(ours, logits.grad)


@settings(max_examples=20, deadline=None)
@given(masked_logits(), st.integers(0, 2**31))
def test_a_masked_action_is_never_drawn(drawn: tuple[torch.Tensor, torch.Tensor], seed: int) -> None:
    logits, mask = drawn
    log_probs = masked_log_softmax(logits.float(), mask).repeat(500, 1)
    actions = sample(log_probs, torch.Generator().manual_seed(seed))
    assert mask.repeat(500, 1).gather(1, actions[:, None]).all()


def test_draws_have_the_right_frequencies_and_follow_the_generator() -> None:
    probs = torch.tensor([0.5, 0.3, 0.15, 0.05])
    log_probs = probs.log().expand(100_000, 4)
    draws = [sample(log_probs, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    torch.testing.assert_close(torch.bincount(draws[0], minlength=4) / 100_000, probs, atol=0.006, rtol=0)
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_a_row_without_any_allowed_action_is_uniform_not_nan() -> None:
    log_probs = masked_log_softmax(torch.randn(1, A), torch.zeros(1, A, dtype=torch.bool))
    assert log_probs.exp().tolist() == [pytest.approx([1 / A] * A)]


@settings(max_examples=40, deadline=None)
@given(masked_logits(), st.integers(0, 2**31), st.booleans(), st.sampled_from([0.0, 0.3]))
def test_the_closed_gradient_is_autograds(
    drawn: tuple[torch.Tensor, torch.Tensor], seed: int, with_prior: bool, ent_coef: float
) -> None:
    logits, mask = drawn
    generator = torch.Generator().manual_seed(seed)
    actions = mask.double().multinomial(1, generator=generator)[:, 0]
    weights = torch.randn(len(logits), generator=generator, dtype=logits.dtype)
    prior = masked_log_softmax(torch.randn(logits.shape, generator=generator, dtype=logits.dtype), mask)
    logits.requires_grad_()
    log_probs = masked_log_softmax(logits, mask)
    loss = -(weights * chosen(log_probs, actions)).mean() - ent_coef * entropy(log_probs).mean()
    if with_prior:
        loss = loss + 0.7 * (log_probs.exp() * (log_probs - prior)).sum(-1).mean()
    (theirs,) = torch.autograd.grad(loss, logits)
    kl = (0.7, prior) if with_prior else (0.0, None)
    ours = logit_gradient(log_probs.detach(), actions, weights, ent_coef, *kl)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-8)


def test_of_many_actions_each_is_drawn_as_often_as_it_is_likely() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 1500) * 2
    mask = torch.ones(2, 1500, dtype=torch.bool)
    mask[:, ::2] = False
    mask[:, -3:] = False
    log_probs = masked_log_softmax(logits, mask)
    n = 40_000
    generator = torch.Generator().manual_seed(1)
    drawn = sample(log_probs.expand(n, 2, 1500), generator)
    assert drawn.shape == (n, 2)
    for row in range(2):
        counts = torch.bincount(drawn[:, row], minlength=1500)
        assert not counts[~mask[row]].any()
        chances = log_probs[row].exp()
        errors = (counts / n - chances) / (chances / n + 1e-9).sqrt()
        assert errors[chances > 1e-3].abs().max() < 5
    again = sample(log_probs.expand(n, 2, 1500), torch.Generator().manual_seed(1))
    assert torch.equal(drawn, again)
