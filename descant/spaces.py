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
            data = {"n": int(space.n), "start": int(space.start), "dtype": str(space.dtype)}
            return {"type": "Discrete", **data}
        case spaces.MultiDiscrete():
            data = {"nvec": space.nvec.tolist(), "start": space.start.tolist(), "dtype": str(space.dtype)}
            return {"type": "MultiDiscrete", **data}
        case spaces.MultiBinary():
            return {"type": "MultiBinary", "n": space.n if isinstance(space.n, int) else list(space.shape)}
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
            return spaces.Discrete(data["n"], start=data["start"], dtype=np.dtype(data["dtype"]).type)
        case "MultiDiscrete":
            dtype = np.dtype(data["dtype"]).type
            return spaces.MultiDiscrete(data["nvec"], dtype=dtype, start=data["start"])
        case "MultiBinary":
            return spaces.MultiBinary(data["n"])
        case "Box":
            low, high = (np.array(data[k], dtype=float).reshape(data["shape"]) for k in ("low", "high"))
            return spaces.Box(low.astype(data["dtype"]), high.astype(data["dtype"]), dtype=data["dtype"])
        case "Dict":
            return spaces.Dict({k: space_from_json(s) for k, s in data["spaces"].items()})
    raise DescantError(f"Unknown space type {data['type']!r} in a checkpoint.")


def line_of(space: spaces.Space[Any]) -> str:
    """The space on one line, for a message; NumPy breaks long ones."""
    return " ".join(str(space).split())


def _floats(bounds: Any) -> list[float | str]:
    """Bounds as JSON: infinities as strings, which `float` reads back."""
    return [float(b) if np.isfinite(b) else str(float(b)) for b in np.ravel(bounds)]
