"""What agents of networks share."""

from __future__ import annotations

import copy

import gymnasium
import pytest
import torch

from descant.neural import clip_gradient
from descant.policies.networks import Network


def network() -> Network:
    """A small one with gradients."""
    torch.manual_seed(0)
    made = Network(gymnasium.spaces.Box(-1, 1, (3,)), {"policy": 2, "value": 1}, (8, 8))
    made(torch.randn(5, 3))["policy"].square().sum().backward()  # the value's head has no gradient
    return made


@pytest.mark.parametrize("longest", [1e-3, 1e3])
def test_gradients_are_clipped_as_torch_clips_them(longest: float) -> None:
    ours, theirs = network(), network()
    norm = clip_gradient(ours.weights, longest)
    assert norm == pytest.approx(float(torch.nn.utils.clip_grad_norm_(theirs.parameters(), longest)))
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert (mine.grad is None) == (other.grad is None)
        if mine.grad is not None and other.grad is not None:
            torch.testing.assert_close(mine.grad, other.grad, rtol=5e-3, atol=0.0)


def test_without_gradients_there_is_nothing_to_clip() -> None:
    assert clip_gradient([torch.nn.Parameter(torch.ones(2))], 1.0) == 0.0


def test_a_copy_of_a_network_has_weights_of_its_own() -> None:
    first = network()
    assert first.weights == list(first.parameters())
    second = copy.deepcopy(first)
    assert all(a is b for a, b in zip(second.weights, second.parameters(), strict=True))
    assert not {id(p) for p in second.weights} & {id(p) for p in first.weights}
