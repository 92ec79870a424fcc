"""The loss of a last layer that is not kept: value and gradients as autograd has them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from descant.policies.categorical import MASKED, chosen, masked_log_softmax
from descant.policies.losses import ROWS, output_loss

EOS, OUTPUTS = 2, 37


def case(rows: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Features, weight, bias with outputs that are forbidden, actions, rows where EOS is hidden."""
    generator = torch.Generator().manual_seed(rows)
    features = torch.randn(rows, 8, generator=generator).requires_grad_()
    weight = torch.randn(OUTPUTS, 8, generator=generator).requires_grad_()
    bias = torch.randn(OUTPUTS, generator=generator)
    bias[[0, 1, 3]] = MASKED
    actions = torch.randint(4, OUTPUTS, (rows,), generator=generator)
    hidden = torch.rand(rows, generator=generator) < 0.3
    actions[(~hidden).nonzero()[:1, 0]] = EOS
    return features, weight, bias.requires_grad_(), actions, hidden


def plain(case: tuple[Tensor, ...], smoothing: float) -> Tensor:
    """The same with all logits kept, as the definition says."""
    features, weight, bias, actions, hidden = case
    mask = torch.ones(len(actions), OUTPUTS, dtype=torch.bool)
    mask[:, [0, 1, 3]] = False
    mask[hidden, EOS] = False
    log_probs = masked_log_softmax(features @ weight.t() + bias, mask)
    spread = torch.where(mask, log_probs, 0.0).sum(dim=1) / mask.sum(dim=1)
    return -((1 - smoothing) * chosen(log_probs, actions) + smoothing * spread).mean()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("rows", [1, ROWS, 2 * ROWS + 5])
def test_value_and_gradients_are_those_of_all_logits(rows: int, smoothing: float) -> None:
    given = case(rows)
    features, weight, bias, actions, hidden = given
    mine = output_loss(features, weight, bias, actions, smoothing, (hidden, EOS))
    true = plain(given, smoothing)
    assert float(mine.detach()) == pytest.approx(float(true.detach()), rel=1e-5)
    inputs = (features, weight, bias)
    for a, b in zip(
        torch.autograd.grad(3 * mine, inputs), torch.autograd.grad(3 * true, inputs), strict=True
    ):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)


def test_what_is_forbidden_or_hidden_gets_no_gradient() -> None:
    features, weight, bias, actions, hidden = case(40)
    hidden[:] = True
    actions[actions == EOS] = 5
    output_loss(features, weight, bias, actions, 0.1, (hidden, EOS)).backward()  # type: ignore[no-untyped-call]
    assert bias.grad is not None
    assert bool((bias.grad[[0, 1, EOS, 3]] == 0).all())
    assert bool((bias.grad[4:] != 0).all())


def test_shorter_numbers_give_about_the_same() -> None:
    given = case(60)
    features, weight, bias, actions, hidden = given
    mine = output_loss(features.bfloat16(), weight, bias, actions, 0.1, (hidden, EOS))
    assert mine.dtype is torch.float32
    assert float(mine.detach()) == pytest.approx(float(plain(given, 0.1).detach()), rel=0.02)
