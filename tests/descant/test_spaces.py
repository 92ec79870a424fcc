"""Spaces as JSON and back."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from descant.envs.counterpoint import Counterpoint
from descant.errors import DescantError
from descant.spaces import space_from_json, space_to_json

BOUNDS = np.array([[-1.0, -np.inf], [0.25, 1e-12]], np.float32)
KNOWN = [
    spaces.Discrete(5),
    spaces.Discrete(5, start=-2),
    spaces.Discrete(5, dtype=np.int32),
    spaces.MultiDiscrete([3, 4]),
    spaces.MultiDiscrete([[3, 4], [5, 6]], dtype=np.int8),
    spaces.MultiDiscrete([3, 4], start=[1, -2]),
    spaces.MultiBinary(5),
    spaces.MultiBinary([2, 3]),
    spaces.Box(0, 255, (2, 3), np.uint8),
    spaces.Box(-1.0, np.inf, (), np.float64),
    spaces.Box(BOUNDS, BOUNDS + 1.5, dtype=np.float32),
    spaces.Dict({"b": spaces.Discrete(2), "a": spaces.Dict({"c": spaces.Box(0.0, 1.0, (1,))})}),
    Counterpoint(cantus="dorian").observation_space,
]


@pytest.mark.parametrize("space", KNOWN, ids=repr)
def test_a_space_comes_back_from_json(space: spaces.Space[Any]) -> None:
    text = json.dumps(space_to_json(space), allow_nan=False)
    back = space_from_json(json.loads(text))
    assert back == space
    assert space == back
    assert (back.dtype, back.shape) == (space.dtype, space.shape)
    space.seed(0)
    assert space.sample() in back


def test_spaces_that_differ_stay_different() -> None:
    for i, one in enumerate(KNOWN):
        for j, two in enumerate(KNOWN):
            assert (space_from_json(space_to_json(one)) == two) == (i == j)


def test_other_spaces_are_refused() -> None:
    with pytest.raises(DescantError, match="Spaces of type Text are not supported: use Discrete"):
        space_to_json(spaces.Text(3))
    with pytest.raises(DescantError, match="Graph"):
        space_to_json(spaces.Dict({"a": spaces.Graph(spaces.Discrete(2), None)}))
    with pytest.raises(DescantError, match="Unknown space type 'Blob' in a checkpoint"):
        space_from_json({"type": "Blob"})
