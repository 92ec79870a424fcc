"""A Gymnasium vector environment as a Stable-Baselines3 `VecEnv`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.vec_env import VecEnv

from descant.errors import DescantError


class SB3VecEnv(VecEnv):
    """Steps the vector environment as one batch, without a Python loop over its rows.

    The environment must reset in the same step (`autoreset_mode="SameStep"`), since SB3 expects the first
    observation of the next episode together with `done`. Works for any Gymnasium vector environment.
    """

    def __init__(self, env: gymnasium.vector.VectorEnv[Any, Any, Any]) -> None:
        if env.metadata.get("autoreset_mode") is not AutoresetMode.SAME_STEP:
            raise DescantError(
                "SB3 needs an environment that resets in the same step: make it with "
                "gymnasium.make_vec(..., autoreset_mode='SameStep')."
            )
        self.env = env
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)
        self.reset_infos = [{} for _ in range(self.num_envs)]
        self._actions: Any = None

    def reset(self) -> Any:
        """The first observations; a seed given by `seed()` is used once."""
        options = self._options[0] or None
        observation, _ = self.env.reset(seed=self._seeds[0], options=options)
        self._reset_seeds()
        self._reset_options()
        return observation

    def step_async(self, actions: np.ndarray) -> None:
        """Keep the actions for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> Any:
        """Observations, rewards float32[n], dones bool[n], a dict per row."""
        observation, reward, terminated, truncated, info = self.env.step(self._actions)
        dones = terminated | truncated
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for row in np.flatnonzero(dones):
            infos[row]["terminal_observation"] = info["final_obs"][row]
            infos[row]["TimeLimit.truncated"] = bool(truncated[row] and not terminated[row])
        return observation, reward.astype(np.float32), dones, infos

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """The attribute of the vector environment, once a row; rows share it."""
        return [getattr(self.env, attr_name)] * len(self._rows(indices))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of the vector environment; it holds for all rows."""
        setattr(self.env, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Call a batched method, such as `action_masks`, and give each row its part."""
        result = getattr(self.env, method_name)(*args, **kwargs)
        return [result[row] for row in self._rows(indices)]

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Rows of a native vector environment have no wrappers of their own."""
        return [False] * len(self._rows(indices))

    def _rows(self, indices: Any) -> Sequence[int]:
        return list(self._get_indices(indices))
