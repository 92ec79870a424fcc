"""Likelihoods of answers against their closed forms, in float64."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from descant.errors import DescantError
from descant.reward_models.likelihoods import centring, check_ties, log_likelihood, log_probabilities

gaps = st.floats(-8, 8)
widths = st.floats(-3, 3)


def p(gap: float, answer: int, **options: float | str) -> float:
    found = log_likelihood(torch.tensor(gap, dtype=torch.float64), torch.tensor(answer), **options)  # type: ignore[arg-type]
    assert found.dtype == torch.float64
    return math.exp(float(found))


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@given(gaps)
def test_bradley_terry(gap: float) -> None:
    assert p(gap, 0) == pytest.approx(sigmoid(gap), abs=1e-12)
    assert p(gap, 1) == pytest.approx(sigmoid(-gap), abs=1e-12)
    assert p(gap, 2) == pytest.approx(
        math.sqrt(sigmoid(gap) * sigmoid(-gap)), abs=1e-12
    )  # half an answer each way


@given(gaps, widths)
def test_davidson(gap: float, width: float) -> None:
    a, b, nu = math.exp(gap), 1.0, math.exp(width)
    whole = a + b + nu * math.sqrt(a * b)
    for answer, share in enumerate((a, b, nu * math.sqrt(a * b))):
        assert p(gap, answer, ties="davidson", width=width) == pytest.approx(share / whole, abs=1e-12)


@given(gaps, widths)
def test_rao_kupper(gap: float, width: float) -> None:
    a, b, theta = math.exp(gap), 1.0, 1 + math.exp(width)  # exp(softplus(width))
    wins = a / (a + theta * b), b / (b + theta * a)
    tie = a * b * (theta**2 - 1) / ((a + theta * b) * (b + theta * a))
    for answer, share in enumerate((*wins, tie)):
        assert p(gap, answer, ties="rao-kupper", width=width) == pytest.approx(share, abs=1e-12)
    assert sum(wins) + tie == pytest.approx(1)


@pytest.mark.parametrize("ties", ["half", "davidson", "rao-kupper"])
def test_noise_is_a_share_of_even_answers(ties: str) -> None:
    answers = 2 if ties == "half" else 3
    for answer in range(answers):
        clean = p(1.3, answer, ties=ties)
        assert p(1.3, answer, ties=ties, noise=0.25) == pytest.approx(
            0.75 * clean + 0.25 / answers, abs=1e-12
        )


def test_a_margin_is_taken_from_the_winner() -> None:
    assert p(1.0, 0, margin=0.4) == pytest.approx(sigmoid(0.6))
    assert p(1.0, 1, margin=0.4) == pytest.approx(sigmoid(-1.4))
    assert p(1.0, 2, margin=0.4) == p(1.0, 2)


def test_far_gaps_do_not_overflow() -> None:
    gap = torch.tensor([-1e4, 1e4], dtype=torch.float64, requires_grad=True)
    for ties in ("half", "davidson", "rao-kupper"):
        found = log_likelihood(gap, torch.tensor([0, 0]), ties, noise=0.1)
        assert torch.isfinite(torch.autograd.grad(found.sum(), gap)[0]).all()
        assert torch.isfinite(log_probabilities(gap, ties)[..., :2]).all()


def test_centring_is_the_square_of_sums() -> None:
    assert float(centring(torch.tensor([1.0, 2.0]), torch.tensor([0.5, -3.0]))) == (1.5**2 + 1.0) / 2


def test_an_unknown_way_with_ties_is_refused() -> None:
    with pytest.raises(DescantError, match="davidson"):
        check_ties("david")
