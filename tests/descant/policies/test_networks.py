"""Trunks, heads and networks: sequences equal steps, episodes do not leak into one another."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from gymnasium import spaces

from descant.errors import DescantError
from descant.policies.heads import make_head
from descant.policies.networks import Network
from descant.policies.trunks import LSTMTrunk, MLPTrunk

T, N = 7, 3
MIXED = spaces.Dict({"a": spaces.MultiDiscrete([3, 4]), "b": spaces.Box(-1.0, 1.0, (2,))})


def observations() -> dict[str, torch.Tensor]:
    return {"a": torch.randint(3, (T, N, 2)), "b": torch.randn(T, N, 2)}


def at(observation: dict[str, torch.Tensor], *index: Any) -> dict[str, torch.Tensor]:
    return {key: value[index] for key, value in observation.items()}


def random_starts() -> torch.Tensor:
    starts = torch.rand(T, N) < 0.3
    starts[0] = torch.tensor([True, False, True])
    return starts


@pytest.mark.parametrize("recurrent", [False, True])
def test_a_sequence_equals_its_steps(recurrent: bool) -> None:
    torch.manual_seed(1)
    network = Network(MIXED, {"policy": 5, "value": 1}, (8, 6), recurrent)
    seen, starts = observations(), random_starts()
    first = (torch.randn(1, N, 6), torch.randn(1, N, 6)) if recurrent else None
    whole, last = network.sequence(seen, starts, first)
    state = first
    for t in range(T):
        heads, state = network.step(at(seen, t), starts[t], state)
        for kind in ("policy", "value"):
            torch.testing.assert_close(whole[kind][t], heads[kind])
    assert whole["policy"].shape == (T, N, 5)
    assert whole["value"].shape == (T, N, 1)
    assert network.recurrent == recurrent
    if recurrent:
        torch.testing.assert_close(last, state)
    else:
        assert (last, state) == (None, None)
        torch.testing.assert_close(whole["policy"][2], network(at(seen, 2))["policy"])


def test_an_lstm_forgets_at_the_start_of_an_episode_and_nowhere_else() -> None:
    trunk = LSTMTrunk(4, 5)
    features, starts = torch.randn(T, N, 4), random_starts()
    first = (torch.randn(1, N, 5), torch.randn(1, N, 5))
    out, (hidden, cell) = trunk(features, starts, first)
    for row in range(N):
        begins = [t for t in range(T) if t == 0 or starts[t, row]]
        for begin, end in zip(begins, [*begins[1:], T], strict=True):
            own = None if starts[begin, row] else tuple(part[:, row] for part in first)
            alone, last = trunk.lstm(features[begin:end, row], own)
            torch.testing.assert_close(out[begin:end, row], alone)
        torch.testing.assert_close(hidden[:, row], last[0])
        torch.testing.assert_close(cell[:, row], last[1])


def test_an_lstm_without_a_state_begins_at_zero() -> None:
    trunk = LSTMTrunk(4, 5)
    features, nowhere = torch.randn(T, N, 4), torch.zeros(T, N, dtype=torch.bool)
    zeros = (torch.zeros(1, N, 5), torch.zeros(1, N, 5))
    torch.testing.assert_close(trunk(features, nowhere, None), trunk(features, nowhere, zeros))


def test_an_lstm_remembers() -> None:
    trunk = LSTMTrunk(4, 5)
    features, nowhere = torch.randn(T, N, 4), torch.zeros(T, N, dtype=torch.bool)
    changed = features.clone()
    changed[0, 0] += 1
    before, after = (trunk(f, nowhere, None)[0][-1] for f in (features, changed))
    assert not torch.equal(before[0], after[0])
    assert torch.equal(before[1:], after[1:])


def test_an_mlp_is_its_layers() -> None:
    trunk = MLPTrunk(4, (6, 3))
    features = torch.randn(10, 4)
    first, second = trunk.layers[1], trunk.layers[3]
    expected = torch.relu(second(torch.relu(first(torch.relu(features)))))
    torch.testing.assert_close(trunk(features), expected)
    assert trunk.out_features == 3
    assert MLPTrunk(4, ()).out_features == 4


def test_the_activation_can_be_chosen() -> None:
    trunk = MLPTrunk(4, (6,), "tanh")
    features = torch.randn(10, 4)
    expected = torch.tanh(trunk.layers[1](torch.tanh(features)))
    torch.testing.assert_close(trunk(features), expected)
    torch.testing.assert_close(trunk.layers(features), expected)
    pull = torch.randn(10, 6)
    ours, theirs = (
        torch.autograd.grad((out * pull).sum(), list(trunk.parameters()))
        for out in (trunk(features), trunk.layers(features))
    )
    torch.testing.assert_close(ours, theirs)
    with pytest.raises(DescantError, match=r"relu or tanh, not 'tan'\. Did you mean 'tanh'"):
        Network(MIXED, {"policy": 5}, activation="tan")


def test_heads_begin_as_said() -> None:
    for kind, gain in (("policy", 0.01), ("value", 1.0), ("q", 1.0)):
        head = make_head(kind, 8, 5)
        torch.testing.assert_close(head.weight @ head.weight.T, gain**2 * torch.eye(5), atol=1e-6, rtol=1e-4)
        assert not head.bias.any()


def test_a_policy_begins_near_uniform() -> None:
    network = Network(MIXED, {"policy": 5}, (64, 64))
    probs = network(at(observations(), 0))["policy"].softmax(-1)
    torch.testing.assert_close(probs, torch.full_like(probs, 0.2), atol=0.02, rtol=0)


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_outputs_are_those_of_a_sequence_with_their_gradients(recurrent: bool, share: float) -> None:
    torch.manual_seed(2)
    network = Network(MIXED, {"policy": 5}, (8, 6), recurrent)
    seen, starts = {"a": torch.randint(3, (20, N, 2)), "b": torch.randn(20, N, 2)}, torch.rand(20, N) < share
    for first in (None, (torch.randn(1, N, 6), torch.randn(1, N, 6))):
        given = first if recurrent else None
        whole, outputs = network.sequence(seen, starts, given)[0], network.outputs(seen, starts, given)
        torch.testing.assert_close(outputs, whole)
        pull = torch.randn(20, N, 5)
        ours, theirs = (
            torch.autograd.grad((heads["policy"] * pull).sum(), network.weights) for heads in (outputs, whole)
        )
        torch.testing.assert_close(ours, theirs)
