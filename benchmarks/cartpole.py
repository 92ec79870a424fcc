"""Gymnasium's own vector CartPole as SB3 needs it: ended rows are reset in the same step."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from gymnasium.vector import AutoresetMode


class SameStepCartPole(CartPoleVectorEnv):
    """Vector CartPole that begins anew at once; Gymnasium's takes a step for it."""

    metadata = {**CartPoleVectorEnv.metadata, "autoreset_mode": AutoresetMode.SAME_STEP}

    state: Any

    def step(self, action: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """As Gymnasium's; what ended rows showed last is in info["final_obs"]."""
        observation, reward, terminated, truncated, info = super().step(action)
        ended = self.prev_done.nonzero()[0]
        if not len(ended):
            return observation, reward, terminated, truncated, info
        final = np.full(self.num_envs, None, dtype=object)
        for row in ended:
            final[row] = observation[row]
        self.state[:, ended] = self.np_random.uniform(self.low, self.high, (4, len(ended)))
        self.steps[ended] = 0
        info = {"final_obs": final, "_final_obs": self.prev_done}
        self.prev_done = np.zeros(self.num_envs, bool)
        return self.state.T.astype(np.float32), reward, terminated, truncated, info
