"""The Transformer's trunk: sequences equal steps, nothing is seen ahead, across episodes, or beyond the context."""

from __future__ import annotations

import itertools

import pytest
import torch
from gymnasium import spaces

from descant.errors import DescantError
from descant.policies.networks import Network
from descant.policies.transformers import CONTEXT, TransformerTrunk

W, N = 8, 3


@pytest.fixture
def trunk() -> TransformerTrunk:
    torch.manual_seed(0)
    return TransformerTrunk(W, (W, W))


def episodes(steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Features, and beginnings of episodes here and there."""
    generator = torch.Generator().manual_seed(1)
    starts = torch.rand(steps, N, generator=generator) < 0.1
    starts[0] = torch.tensor([True, False, True])
    return torch.randn(steps, N, W, generator=generator), starts


@pytest.mark.parametrize("cuts", [range(1, 12), [5], [3, 4, 9]])
def test_a_sequence_equals_its_parts_one_after_another(trunk: TransformerTrunk, cuts: list[int]) -> None:
    features, starts = episodes(12)
    state = trunk.initial_state(N)
    whole, end = trunk(features, starts, state)
    parts = []
    edges = [0, *cuts, 12]
    for a, b in itertools.pairwise(edges):
        out, state = trunk(features[a:b], starts[a:b], state)
        parts.append(out)
    torch.testing.assert_close(torch.cat(parts), whole, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(state[1], end[1])
    again, _ = trunk(features, torch.zeros_like(starts), end)
    torch.testing.assert_close(
        trunk(features, torch.zeros_like(starts), state)[0], again, atol=1e-5, rtol=1e-4
    )


def test_no_state_is_an_empty_one(trunk: TransformerTrunk) -> None:
    features, starts = episodes(6)
    torch.testing.assert_close(
        trunk(features, starts, None)[0], trunk(features, starts, trunk.initial_state(N))[0]
    )


def test_nothing_is_seen_ahead_or_of_an_episode_before(trunk: TransformerTrunk) -> None:
    features, starts = episodes(10)
    starts[5] = True
    out, _ = trunk(features, starts, None)
    changed = features.clone()
    changed[7] = torch.randn(N, W)  # a constant added would be normalised away
    later, _ = trunk(changed, starts, None)
    torch.testing.assert_close(later[:7], out[:7])
    assert (later[7] - out[7]).abs().max() > 0.01
    changed = features.clone()
    changed[:5] = torch.randn(5, N, W)
    torch.testing.assert_close(trunk(changed, starts, None)[0][5:], out[5:])
    unbroken = torch.zeros_like(starts)
    unbroken[0] = True
    seen = trunk(changed, unbroken, None)[0][5:] - trunk(features, unbroken, None)[0][5:]
    assert seen.abs().max() > 0.01


def test_steps_beyond_the_context_are_forgotten_alike_in_sequences_and_steps() -> None:
    torch.manual_seed(0)
    one = TransformerTrunk(W, (W,))
    features = torch.randn(CONTEXT + 9, 1, W)
    starts = torch.zeros(CONTEXT + 9, 1, dtype=torch.bool)
    starts[0] = True
    whole, _ = one(features, starts, None)
    state, steps = one.initial_state(1), []
    for t in range(len(features)):
        out, state = one(features[t : t + 1], starts[t : t + 1], state)
        steps.append(out)
    torch.testing.assert_close(torch.cat(steps), whole, atol=1e-5, rtol=1e-4)
    assert float(state[1].item()) == CONTEXT
    features[:8] = torch.randn(8, 1, W)  # one layer sees no further than its context
    torch.testing.assert_close(one(features, starts, None)[0][-1], whole[-1])
    features[8] = torch.randn(1, W)
    assert (one(features, starts, None)[0][-1] - whole[-1]).abs().max() > 0


def test_rows_of_a_state_are_on_its_second_axis(trunk: TransformerTrunk) -> None:
    """What the agents rely on to take rows of it."""
    features, starts = episodes(5)
    _, state = trunk(features, starts, trunk.initial_state(N))
    one = (state[0][:, 1:2], state[1][:, 1:2])
    going = torch.zeros(1, N, dtype=torch.bool)
    torch.testing.assert_close(
        trunk(features[:1, 1:2], going[:, 1:2], one)[0], trunk(features[:1], going, state)[0][:, 1:2]
    )


def test_a_network_has_it_by_name() -> None:
    network = Network(spaces.Discrete(5), {"policy": 3}, (W, W), True, "transformer")
    heads, state = network.step(torch.tensor([1, 2]), torch.tensor([True, True]), None)
    assert heads["policy"].shape == (2, 3)
    assert state is not None


@pytest.mark.parametrize(
    ("hidden", "trunk", "message"),
    [
        ((8, 8), "transfomer", "Did you mean 'transformer'"),
        ((8, 16), "transformer", "one width"),
        ((8,), "transformer", "one width"),
        ((6, 6), "transformer", "multiple of 4"),
    ],
)
def test_what_it_can_not_be_is_refused(hidden: tuple[int, ...], trunk: str, message: str) -> None:
    with pytest.raises(DescantError, match=message):
        Network(spaces.Discrete(5), {"policy": 3}, hidden, True, trunk)
