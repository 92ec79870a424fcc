"""What SB3's algorithms carry from one rollout to the next, as arrays and JSON: random states, the last step."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from descant.neural import under


def random_states(model: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """torch's and NumPy's global generators and the action space's, all of which SB3 draws from."""
    from descant.runs.rngs import rng_state

    kind, keys, position, has_gauss, cached = np.random.get_state()
    arrays = {"torch": torch.get_rng_state(), "numpy": np.asarray(keys)}
    plain = {"numpy": [kind, int(position), int(has_gauss), float(cached)]}
    return arrays, plain | {"actions": rng_state(model.action_space.np_random)}


def set_random_states(states: dict[str, Any], model: Any) -> None:
    """Take back what `random_states` gave."""
    from descant.runs.rngs import restore_rng

    torch.set_rng_state(states["arrays"]["torch"])
    kind, position, has_gauss, cached = states["plain"]["numpy"]
    np.random.set_state((kind, states["arrays"]["numpy"].numpy(), position, has_gauss, cached))
    restore_rng(model.action_space.np_random, states["plain"]["actions"])


def last_step(model: Any, returns: Any) -> dict[str, Any]:
    """What SB3 carries from one rollout to the next."""
    if model._last_obs is None:
        return {}
    starts = model._last_episode_starts
    observation = model._last_obs if isinstance(model._last_obs, dict) else {"": model._last_obs}
    kept = {f"last.{k}": np.ascontiguousarray(v) for k, v in observation.items()}
    return kept | {"returns": returns.copy(), "starts": np.asarray(starts).astype(np.uint8)}


def set_last_step(model: Any, returns: Any, weights: dict[str, Any]) -> None:
    """Take back what `last_step` gave."""
    last = {k: v.numpy() for k, v in under("last.", weights).items()}
    if last:
        model._last_obs = last[""] if set(last) == {""} else last
        model._last_episode_starts = weights["starts"].numpy().astype(bool)
        returns[:] = weights["returns"].numpy()
