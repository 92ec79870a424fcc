"""DAgger (Ross, Gordon and Bagnell 2011): the policy plays, the teacher says what it should have done there.

    round i: play with beta^i of the teacher's actions and the policy's own else; label every state seen with the
    teacher's actions; add them to the data; loss = -mean sum_a q(a|o) log pi(a|o) over all data, q the teacher's policy

So the policy learns in the states to which its own errors lead. Differences from the paper: a round takes a fixed
number of gradient steps on batches of all data rather than training to the end, the last policy is taken rather
than the best on validation, and with the teacher `exact` all best actions are named, not one.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from descant.agent import Environment, Parts
from descant.devices import DeviceConfig
from descant.errors import DescantError
from descant.neural import NeuralAgent, rollout_record, under, valid_parts
from descant.policies.categorical import masked_log_softmax
from descant.policies.networks import Network
from descant.rollouts import Collector, Rollout
from descant.tasks import Bools, Floats, Ints

from .demonstrations import from_arrays, join, plain, take_episodes, to_arrays
from .teachers import labels_along, make_teacher

if TYPE_CHECKING:
    from descant.runs.checkpoints import Checkpoint


@dataclasses.dataclass(frozen=True)
class Config(DeviceConfig):
    """What can be chosen of DAgger."""

    num_envs: int = 64
    """Episodes in a round, where the agent makes its environment from an id."""
    teacher: str = "exact"
    """Who labels: exact, or a run or checkpoint."""
    beta: float = 0.0
    """In round i (from 0), beta^i of the actions are the teacher's: with 0, all of the first round and no others."""
    updates: int = 64
    """Gradient steps in a round."""
    batch_size: int = 64
    """Episodes in a gradient step."""
    learning_rate: float = 1e-3
    """Adam's step size."""
    max_grad_norm: float = 1.0
    """Longest gradient."""
    hidden: tuple[int, ...] = (256, 256)
    """Widths of the policy's layers."""
    recurrent: bool = False
    """Give the policy an LSTM, for observations that don't tell all."""
    seed: int = 0
    """Everything random follows from it."""

    def __post_init__(self) -> None:
        if not 0 <= self.beta <= 1:
            raise DescantError(f"beta must lie between 0 and 1, not {self.beta}.")
        if (
            min(self.num_envs, self.updates, self.batch_size) < 1
            or self.learning_rate <= 0
            or not self.hidden
        ):
            raise DescantError(
                "num_envs, updates, batch_size and learning_rate must be positive, and hidden name a width at least."
            )


def labelled_loss(log_probs: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of the policy float[B, A] (log) and the teacher's float[B, A]: mean over B, a scalar."""
    return -(labels * log_probs).sum(-1).mean()


class Dagger(NeuralAgent):
    """Imitation in the states that the policy itself visits."""

    name: ClassVar[str] = "dagger"
    Config: ClassVar[type[Any]] = Config
    supports_recurrence: ClassVar[bool] = True

    def __init__(self, env: Environment | None, config: Any, spaces: Any = None) -> None:
        super().__init__(env, config, spaces)
        self.data: Rollout | None = None
        self.labels: Floats = np.zeros((0, 0, 0))  # [T, N, A] along the data
        if env is not None:
            self.teacher = make_teacher(config.teacher, env, self.config.device)

    def build(self) -> dict[str, Network]:
        """The policy alone."""
        config, actions = self.config, int(self.action_space.n)
        return {
            "policy": Network(self.observation_space, {"policy": actions}, config.hidden, config.recurrent)
        }

    def iterate(self, collector: Collector, total_timesteps: int) -> dict[str, float]:
        """One round."""
        share = self.config.beta**self.iteration
        rollout = collector.episodes(self._mixed(share), self.env_seed)
        labels = labels_along(self.teacher, plain(rollout))
        right = np.take_along_axis(labels, rollout.actions[..., None], axis=2)[..., 0] > 0
        self._aggregate(rollout, labels)
        losses = [self._gradient_step() for _ in range(self.config.updates)]
        self.num_timesteps += rollout.steps
        record = {name: float(np.mean([step[name] for step in losses])) for name in losses[0]}
        record |= {"agreement": float(right[rollout.valid].mean()), "teacher_share": share}
        return rollout_record(rollout) | record | {"length": float(rollout.valid.sum(axis=0).mean())}

    def _mixed(self, share: float) -> Any:
        """Acts with `share` of the teacher's actions."""
        own = self.actor()
        self.teacher.start()

        def act(observation: Any, masks: Bools | None, starts: Bools) -> Ints:
            actions = own(observation, masks, starts)
            if share:
                chances = torch.as_tensor(self.teacher.probabilities(observation, masks, starts))
                taught = torch.multinomial(chances, 1, generator=self.generator)[:, 0].numpy()
                keep = torch.rand(len(actions), generator=self.generator).numpy() < share
                actions = np.where(keep, taught, actions)
            return actions

        return act

    def _aggregate(self, rollout: Rollout, labels: Floats) -> None:
        """Add a round to the data."""
        fresh = plain(rollout)
        self.data = fresh if self.data is None else join([self.data, fresh])
        length = len(self.data.actions)
        known, labels = (np.pad(x, [(0, length - len(x)), (0, 0), (0, 0)]) for x in (self.labels, labels))
        self.labels = labels.astype(np.float32) if not known.size else np.concatenate([known, labels], 1)
        self.labels = self.labels.astype(np.float32, copy=False)

    def _gradient_step(self) -> dict[str, float]:
        """One step on episodes drawn from all data."""
        assert self.data is not None
        episodes = self.data.actions.shape[1]
        rows = torch.randint(
            episodes, (min(self.config.batch_size, episodes),), generator=self.generator
        ).numpy()
        batch = take_episodes(self.data, rows, steps=len(self.data.actions))
        optimizer, total = self.optimizers["adam"], 0.0
        optimizer.zero_grad()
        for part, heads in valid_parts(batch, self.networks, {"labels": self.labels[:, rows]}):
            log_probs = masked_log_softmax(heads["policy"]["policy"], part.get("masks"))
            loss = labelled_loss(log_probs, part["labels"]) * (len(part["actions"]) / batch.steps)
            loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        norm = self.clip([self.networks["policy"]])
        optimizer.step()
        return {"policy_loss": total, "grad_norm": norm}

    def parts(self) -> Parts:
        """The data gathered so far too."""
        parts = super().parts()
        if self.data is None:
            return parts
        arrays = to_arrays(self.data) | {"labels": self.labels}
        return Parts(
            {**parts.weights, **{f"data.{k}": torch.as_tensor(v) for k, v in arrays.items()}}, parts.state
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take back what `parts` gave."""
        super().restore(checkpoint)
        arrays = {name: tensor.numpy() for name, tensor in under("data.", checkpoint.weights).items()}
        if arrays:
            self.labels = arrays.pop("labels")
            self.data = from_arrays(arrays)
