"""Dropout by random bytes."""

from __future__ import annotations

import pytest
import torch

from descant.policies.dropping import Dropout


def test_it_drops_its_share_and_scales_the_rest() -> None:
    torch.manual_seed(0)
    drop, x = Dropout(0.25), torch.ones(1000, 101)
    out = drop(x)
    gone = float((out == 0).float().mean())
    assert gone == pytest.approx(0.25, abs=0.005)
    assert out.unique().tolist() == pytest.approx([0.0, 4 / 3])
    by_place = (out == 0).float().flatten()[: 8 * 12625].view(-1, 8).mean(dim=0)  # of each byte of a word
    assert by_place.tolist() == pytest.approx([0.25] * 8, abs=0.015)


def test_it_is_nothing_out_of_training_and_without_a_share() -> None:
    x = torch.randn(4, 5)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x


def test_gradients_go_where_values_went() -> None:
    torch.manual_seed(1)
    x = torch.randn(50, 3, requires_grad=True)
    out = Dropout(0.5)(x)
    out.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, out.detach() / x.detach())


def test_the_same_seed_drops_the_same() -> None:
    x, drop = torch.ones(9, 9), Dropout(0.3)
    found = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        found.append(drop(x))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
