"""Plain networks without autograd: values and gradients are autograd's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from descant.policies.closed import ClosedForm, is_plain
from descant.policies.networks import Network

SPACES: list[spaces.Space[Any]] = [
    spaces.Box(-1, 1, (4,), np.float32),
    spaces.Box(-1, 1, (3, 7), np.float64),
    spaces.MultiDiscrete([3, 5, 4], start=[0, 1, -2]),
    spaces.Discrete(6),
]


def network_of(space: spaces.Space[Any], hidden: tuple[int, ...], activation: str) -> Network:
    torch.manual_seed(1)
    return Network(space, {"q": 3}, hidden, activation=activation)


def seen_of(space: spaces.Space[Any], rows: int) -> torch.Tensor:
    space.seed(0)
    return torch.as_tensor(np.stack([space.sample() for _ in range(rows)]))


@pytest.mark.parametrize("space", SPACES, ids=str)
@pytest.mark.parametrize(
    ("hidden", "activation"), [((8,), "relu"), ((16, 8), "tanh"), ((256, 256, 256), "relu")], ids=str
)
@pytest.mark.parametrize("rows", [40, 64])  # fewer than there is room for, and just as many
def test_values_and_gradient_are_autograds(
    space: spaces.Space[Any], hidden: tuple[int, ...], activation: str, rows: int
) -> None:
    """Also of a second pass, in the same arrays, after the weights have changed."""
    network = network_of(space, hidden, activation)
    closed = ClosedForm(network, 64)
    for _ in range(2):
        seen, above = seen_of(space, rows), torch.randn(rows, 3)
        theirs = network(seen)["q"]
        gradients = torch.autograd.grad(theirs, network.weights, above)
        torch.testing.assert_close(closed.forward(seen), theirs.detach(), atol=1e-5, rtol=1e-5)
        closed.backward(above)
        for parameter, gradient in zip(network.weights, gradients, strict=True):
            torch.testing.assert_close(parameter.grad, gradient, atol=1e-4, rtol=1e-4)
        norm = float(torch.cat([g.flatten() for g in gradients]).norm())
        assert closed.clip(norm / 2) == pytest.approx(norm, rel=1e-4)
        assert float(closed.gradient.norm()) == pytest.approx(norm / 2, rel=1e-4)
        assert closed.clip(norm) == pytest.approx(norm / 2, rel=1e-4)
        assert float(closed.gradient.norm()) == pytest.approx(norm / 2, rel=1e-4)
        with torch.no_grad():
            for parameter in network.weights:
                parameter.add_(0.01 * torch.randn_like(parameter))


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_values_of_any_number_are_kept(space: spaces.Space[Any]) -> None:
    network = network_of(space, (8, 8), "relu")
    closed, seen = ClosedForm(network, 16), seen_of(space, 50)
    values = closed.values(seen)
    closed.values(seen_of(space, 60).flip(0))
    torch.testing.assert_close(values, network(seen)["q"].detach())


def test_what_is_not_plain_is_told() -> None:
    box, both = SPACES[0], spaces.Dict({"a": SPACES[0], "b": SPACES[2]})
    assert is_plain(Network(box, {"q": 2}, (8,)))
    assert not is_plain(Network(both, {"q": 2}, (8,)))
    assert not is_plain(Network(box, {"q": 2, "value": 1}, (8,)))
    assert not is_plain(Network(box, {"q": 2}, (8,), recurrent=True))
    assert not is_plain(Network(box, {"q": 2}, (8,)).double())
