"""Encoders: looked-up rows equal one-hot vectors times a matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from descant.envs.counterpoint import Counterpoint
from descant.errors import DescantError
from descant.policies.encoders import flatten_time, make_encoder, to_tensor

WIDTH = 5
ONE_HOT = [
    spaces.Discrete(4),
    spaces.Discrete(4, start=-2),
    spaces.MultiDiscrete([3, 5, 2]),
    spaces.MultiDiscrete([3, 5, 2], start=[1, -2, 7]),
    spaces.MultiDiscrete([[3, 5], [2, 4]], dtype=np.int8),
    spaces.MultiBinary(3),
    spaces.MultiBinary([2, 2]),
    Counterpoint(cantus="dorian").observation_space,
]


def batch(space: spaces.Space[Any], n: int = 20) -> Any:
    space.seed(0)
    samples = [space.sample() for _ in range(n)]
    if isinstance(space, spaces.Dict):
        return {key: np.stack([sample[key] for sample in samples]) for key in space.spaces}
    return np.stack(samples)


def one_hot(space: spaces.Space[Any], observation: Any) -> np.ndarray:
    """Gymnasium's flattening, but two columns a bit."""
    if isinstance(space, spaces.MultiBinary):
        return np.eye(2)[observation.reshape(-1)].reshape(-1)
    return spaces.flatten(space, observation).astype(float)


@pytest.mark.parametrize("space", ONE_HOT, ids=repr)
def test_a_one_hot_encoder_is_a_one_hot_vector_times_a_matrix(space: spaces.Space[Any]) -> None:
    encoder = make_encoder(space, WIDTH)
    torch.nn.init.normal_(encoder.bias)
    observations = batch(space)
    rows = np.stack([one_hot(space, observation) for observation in observations])
    expected = rows @ encoder.rows.weight.detach().double().numpy() + encoder.bias.detach().numpy()
    np.testing.assert_allclose(encoder(to_tensor(observations)).detach().numpy(), expected, atol=1e-5)
    assert encoder.rows.weight.shape == (rows.shape[1], WIDTH)


def test_features_begin_with_unit_variance_however_many_columns_there_are() -> None:
    for columns in (1, 10, 100):
        torch.manual_seed(0)
        encoder = make_encoder(spaces.MultiDiscrete([7] * columns), 2000)
        assert encoder(torch.zeros(1, columns)).std().item() == pytest.approx(1, rel=0.1)


def test_one_hot_columns_can_begin_as_small_as_the_weights_of_a_linear_layer_of_as_many_inputs() -> None:
    space = spaces.Dict(
        a=spaces.MultiDiscrete([7] * 50), b=spaces.Discrete(40, start=3), c=spaces.MultiBinary(9)
    )
    for part, rows in zip(make_encoder(space, 2000, "linear").parts.values(), (350, 40, 18), strict=True):
        alike = torch.nn.Linear(rows, 2000).weight.std().item()
        assert part.rows.weight.std().item() == pytest.approx(alike, rel=0.05)


def test_a_box_is_flattened_through_a_linear_layer() -> None:
    space = spaces.Box(0, 255, (2, 3), np.uint8)
    encoder = make_encoder(space, WIDTH)
    observations = batch(space)
    weight, bias = encoder.linear.weight.detach().numpy(), encoder.linear.bias.detach().numpy()
    expected = observations.reshape(20, 6).astype(np.float32) @ weight.T + bias
    np.testing.assert_allclose(encoder(to_tensor(observations)).detach().numpy(), expected, rtol=1e-4)


def test_a_dict_is_the_sum_of_its_parts() -> None:
    inner = spaces.Dict({"bits": spaces.MultiBinary(3)})
    space = spaces.Dict(
        {"box": spaces.Box(-1.0, 1.0, (2,)), "die": spaces.Discrete(6, start=1), "inner": inner}
    )
    encoder = make_encoder(space, WIDTH)
    observations = batch(spaces.Dict({k: s for k, s in space.spaces.items() if k != "inner"}))
    observations["inner"] = batch(inner)
    seen = to_tensor(observations)
    parts = [encoder.parts[key](seen[key]) for key in ("box", "die", "inner")]
    torch.testing.assert_close(encoder(seen), parts[0] + parts[1] + parts[2])
    assert all(part.abs().sum() > 0 for part in parts)


def test_gradients_reach_only_the_rows_looked_up() -> None:
    encoder = make_encoder(spaces.MultiDiscrete([3, 4]), WIDTH)
    encoder(torch.tensor([[2, 0], [2, 3]])).sum().backward()
    touched = encoder.rows.weight.grad.abs().sum(dim=1) > 0
    assert touched.tolist() == [False, False, True, True, False, False, True]


def test_other_spaces_have_no_encoder() -> None:
    with pytest.raises(DescantError, match="No encoder for Text observations: Discrete, MultiDiscrete"):
        make_encoder(spaces.Dict({"a": spaces.Text(3)}), WIDTH)


def test_time_is_flattened_in_every_part() -> None:
    observation = {"a": torch.arange(24).reshape(2, 3, 4), "b": torch.arange(6).reshape(2, 3)}
    flat = flatten_time(observation)
    assert flat["a"].shape == (6, 4)
    assert flat["b"].tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_rows_learn_as_by_torchs_own_gradient(kind: torch.dtype) -> None:
    encoder = make_encoder(spaces.MultiDiscrete([3, 5, 2]), WIDTH).to(kind)
    seen = to_tensor(batch(spaces.MultiDiscrete([3, 5, 2])))
    weight, pull = encoder.rows.weight, torch.randn(20, WIDTH, dtype=kind)
    ours, bias = torch.autograd.grad((encoder(seen) * pull).sum(), (weight, encoder.bias))
    rows = torch.nn.functional.embedding_bag(seen + encoder.offsets, weight, mode="sum")
    (theirs,) = torch.autograd.grad((rows * pull).sum(), weight)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(bias, pull.sum(0))
    assert ours.dtype is kind
    with torch.inference_mode():
        torch.testing.assert_close(encoder(seen), rows + encoder.bias)
