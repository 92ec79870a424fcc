"""Fitted Q iteration (Ernst et al. 2005) with a network (Riedmiller 2005): from a fixed set of random steps.

    y = r + gamma max_a' Q_k(s', a')    over the whole data set
    Q_(k+1) = the regression of y on (s, a)

Differences: the regression is by minibatches of Adam from the weights of Q_k, not by trees or from new weights; the
maximum is over the allowed actions; the data is collected by the agent itself, with random allowed actions.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import torch
from torch import Tensor

from descant.buffers import Batch, ReplayBuffer
from descant.devices import DeviceConfig
from descant.errors import DescantError
from descant.policies.categorical import MASKED, chosen, masked_log_softmax, sample
from descant.policies.encoders import to_tensor
from descant.policies.networks import Network
from descant.replay import ReplayAgent, check_replay, tensors
from descant.rollouts import Collector
from descant.tasks import Bools, Ints

from .dqn import epsilon_greedy, next_values, td_target


@dataclasses.dataclass(frozen=True)
class Config(DeviceConfig):
    """What can be chosen of fitted Q iteration. `total_timesteps` is the size of the data set."""

    num_envs: int = 16
    """Rows of the environment, where the agent makes it from an id."""
    gamma: float = 0.99
    """Discount of what comes after a step."""
    rounds: int = 50
    """Regressions, each on targets by the values of the one before."""
    updates: int = 200
    """Gradient steps of a regression."""
    batch_size: int = 256
    """Steps of the data set in a gradient step."""
    learning_rate: float = 1e-3
    """Adam's step size."""
    buffer_size: int = 100_000
    """The largest data set."""
    train_freq: int = 64
    """Steps of every row collected between two chances to save."""
    max_grad_norm: float = 10.0
    """Longest gradient."""
    hidden: tuple[int, ...] = (128, 128)
    """Widths of the layers."""
    seed: int = 0
    """Everything random follows from it."""

    learning_starts: ClassVar[int] = 0
    target: ClassVar[str] = "hard"
    tau: ClassVar[float] = 1.0

    @property
    def target_interval(self) -> int:
        """The targets' values are those of the last regression."""
        return self.updates

    @property
    def gradient_steps(self) -> int:
        """Of all regressions."""
        return self.rounds * self.updates

    def __post_init__(self) -> None:
        if self.rounds < 1 or self.updates < 1:
            raise DescantError(f"rounds and updates must be 1 or more, not {self.rounds} and {self.updates}.")
        check_replay(self)


def fit_loss(values: Tensor, targets: Tensor) -> Tensor:
    """Half the mean squared error, a scalar, from float[B] each."""
    return 0.5 * torch.nn.functional.mse_loss(values, targets)


class FittedQ(ReplayAgent):
    """Collects first, then learns from that alone; acts greedily."""

    name: ClassVar[str] = "fitted-q"
    Config: ClassVar[type[Any]] = Config

    def build(self) -> dict[str, Network]:
        """The values, and those of the last regression."""
        actions = int(self.action_space.n)
        return self.with_targets(
            {"policy": Network(self.observation_space, {"q": actions}, self.config.hidden)}
        )

    def policy_step(
        self, observation: Any, masks: Bools | None, starts: Bools, state: Any
    ) -> tuple[Tensor, Any]:
        """Log-probabilities float[N, A] of the greedy policy."""
        with torch.inference_mode():
            values = self.networks["policy"](to_tensor(observation))["q"].cpu()
            if masks is not None:
                values = values.masked_fill(~torch.as_tensor(masks), MASKED)
            return epsilon_greedy(values, 0.0), None

    def actor(self) -> Any:
        """How the data is collected: any allowed action."""

        def act(observation: Any, masks: Bools | None, starts: Bools) -> Ints:
            shape = (len(starts), int(self.action_space.n))
            allowed = torch.ones(shape, dtype=torch.bool) if masks is None else torch.as_tensor(masks)
            return sample(masked_log_softmax(torch.zeros(shape), allowed), self.generator).numpy()

        return act

    def iterate(self, collector: Collector, total_timesteps: int) -> dict[str, float]:
        """Collect; when the data set is whole, learn from it."""
        if total_timesteps > self.config.buffer_size:
            raise DescantError(
                f"total_timesteps ({total_timesteps}) is the size of the data set: raise buffer_size "
                f"({self.config.buffer_size}), or take fewer."
            )
        self._wanted = total_timesteps
        return super().iterate(collector, total_timesteps)

    def _learn_from(self, buffer: ReplayBuffer) -> None:
        if self.num_timesteps >= self._wanted:
            super()._learn_from(buffer)

    def update(self, batch: Batch) -> dict[str, float]:
        """One gradient step of the regression."""
        columns = tensors(batch, self.device)
        with torch.no_grad():
            valued = self.networks["target_policy"](columns["next_observations"])["q"]
            following = next_values(valued, valued, columns["next_masks"], double=False)
            goal = td_target(columns["rewards"], columns["discounts"], columns["terminated"], following)
        values = chosen(self.networks["policy"](columns["observations"])["q"], columns["actions"])
        loss = fit_loss(values, goal)
        norm = self.descend(loss)
        return {"loss": float(loss.detach()), "q": float(values.detach().mean()), "grad_norm": norm}
