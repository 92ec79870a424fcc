"""Gymnasium spaces as JSON and back, so that a checkpoint says what it fits."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from descant.errors import DescantError


def space_to_json(space: spaces.Space[Any]) -> dict[str, Any]:
    """A Discrete, MultiDiscrete, MultiBinary, Box or Dict space as JSON; DescantError for any other."""
    match space:
        case spaces.Discrete():
            return {"type": "Discrete", "n": int(space.n), "start": int(space.start)}
        case spaces.MultiDiscrete():
            return {"type": "MultiDiscrete", "nvec": space.nvec.tolist(), "dtype": str(space.dtype)}
        case spaces.MultiBinary():
            return {"type": "MultiBinary", "n": list(space.shape)}
        case spaces.Box():
            bounds = {"low": _floats(space.low), "high": _floats(space.high)}
            return {"type": "Box", **bounds, "shape": list(space.shape), "dtype": str(space.dtype)}
        case spaces.Dict():
            return {"type": "Dict", "spaces": {k: space_to_json(s) for k, s in space.spaces.items()}}
    raise DescantError(
        f"Spaces of type {type(space).__name__} are not supported: use Discrete, MultiDiscrete, "
        "MultiBinary, Box or a Dict of them."
    )


def space_from_json(data: dict[str, Any]) -> spaces.Space[Any]:
    """The space that `space_to_json` wrote."""
    match data["type"]:
        case "Discrete":
            return spaces.Discrete(data["n"], start=data["start"])
        case "MultiDiscrete":
            return spaces.MultiDiscrete(data["nvec"], dtype=np.dtype(data["dtype"]).type)
        case "MultiBinary":
            return spaces.MultiBinary(data["n"])
        case "Box":
            low, high = (np.array(data[k], dtype=float).reshape(data["shape"]) for k in ("low", "high"))
            return spaces.Box(low.astype(data["dtype"]), high.astype(data["dtype"]), dtype=data["dtype"])
        case "Dict":
            return spaces.Dict({k: space_from_json(s) for k, s in data["spaces"].items()})
    raise DescantError(f"Unknown space type {data['type']!r} in a checkpoint.")


def _floats(bounds: Any) -> list[float | str]:
    """Bounds as JSON: infinities as strings, which `float` reads back."""
    return [float(b) if np.isfinite(b) else str(float(b)) for b in np.ravel(bounds)]
