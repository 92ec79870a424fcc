"""What agents that learn from replay share: the loop, target networks, what is logged, checkpoints."""

from __future__ import annotations

import copy
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from descant.agent import Environment, Parts
from descant.buffers import Batch, ReplayBuffer
from descant.errors import DescantError
from descant.kl import meter
from descant.neural import TERMS_EVERY, NeuralAgent, under
from descant.policies.categorical import sample
from descant.policies.encoders import to_tensor
from descant.policies.networks import Network
from descant.rollouts import Collector, Rollout
from descant.tasks import Bools, Ints

if TYPE_CHECKING:
    from descant.priors import Prior
    from descant.runs.checkpoints import Checkpoint

LOG_STEPS = 2000  # environment steps between two records


class ReplayAgent(NeuralAgent):
    """A neural agent that learns from a replay buffer, with a target network for each network it learns.

    A subclass names the networks in `learned` and does one gradient step in `update`. An iteration collects
    `train_freq` steps of every row and then makes `gradient_steps` updates, once `learning_starts` steps are in.
    Batches are drawn by a generator made of seed and iteration; the buffer is part of a checkpoint.
    """

    learned: ClassVar[tuple[str, ...]] = ("policy",)

    def __init__(self, env: Environment | None, config: Any, spaces: Any = None) -> None:
        self.prior: Prior | None = None
        super().__init__(env, config, spaces)
        self.buffer = None if env is None else self._make_buffer(env)
        self.updates = 0
        self.left = 1.0  # of the training; 1 at its beginning
        self.log = Log(1 if env is None else env.num_envs)
        self._begun = False

    def _make_buffer(self, env: Environment) -> ReplayBuffer:
        config = self.config
        alpha = config.priority_alpha if getattr(config, "prioritized", False) else None
        sizes = (int(self.action_space.n), config.buffer_size, env.num_envs)
        return ReplayBuffer(
            self.observation_space, *sizes, config.gamma, getattr(config, "n_steps", 1), alpha=alpha
        )

    def with_targets(self, networks: dict[str, Network]) -> dict[str, Network]:
        """The networks, and a frozen copy of each learned one, called "target_" and its name."""
        copies = {f"target_{name}": copy.deepcopy(networks[name]) for name in self.learned}
        for network in copies.values():
            network.requires_grad_(False)
        return networks | copies

    def make_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """One Adam over the learned networks."""
        return {"adam": self.adam([p for n in self.learned for p in self.networks[n].parameters()])}

    @abstractmethod
    def update(self, batch: Batch) -> dict[str, float]:
        """One gradient step on a batch; losses to log."""

    def descend(self, loss: Tensor) -> float:
        """One step of the optimisers down the loss, gradients clipped; their norm. Then the targets follow."""
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = self.clip([self.networks[name] for name in self.learned])
        for optimizer in self.optimizers.values():
            optimizer.step()
        self.updates += 1
        self._move_targets()
        return norm

    def _move_targets(self) -> None:
        """Copy all weights now and then, or a little of them always (Polyak)."""
        hard = self.config.target == "hard"
        if hard and self.updates % self.config.target_interval:
            return
        for name in self.learned:
            with torch.no_grad():
                new: Any = self.networks[name].weights
                old: Any = self.networks[f"target_{name}"].weights
                torch._foreach_lerp_(old, new, 1.0 if hard else self.config.tau)

    def iterate(self, collector: Collector, total_timesteps: int) -> dict[str, float]:
        """Some steps of every row, then some updates from the replay."""
        assert self.buffer is not None
        self._begin(collector)
        self.left = self.progress_left(total_timesteps)
        collector.watch_terms(self.log.windows % TERMS_EVERY == 0)
        rollout = collector.steps(self.config.train_freq, self.actor())
        if not np.isfinite(rollout.rewards[rollout.valid]).all():
            raise DescantError(
                f"A reward is not finite after step {self.num_timesteps}: mend the environment's reward. The last "
                "checkpoint is as it was."
            )
        self.buffer.add_rollout(rollout, self._cut_masks(rollout))
        self.num_timesteps += rollout.steps
        self.log.add(rollout)
        if rollout.steps and self.num_timesteps >= self.config.learning_starts and len(self.buffer):
            self._learn_from(self.buffer)
        if self.log.steps < LOG_STEPS and self.num_timesteps < total_timesteps:
            return {}
        return self.log.close(self.prior) | self.extra_record()

    def _learn_from(self, buffer: ReplayBuffer) -> None:
        rng = np.random.default_rng([self.config.seed, self.iteration])
        beta = getattr(self.config, "priority_beta", 1.0)
        for _ in range(self.config.gradient_steps):
            # Importance weights make up for priorities fully at the end of the training.
            batch = buffer.sample(rng, self.config.batch_size, beta + (1 - beta) * (1 - self.left))
            self.log.add_losses(self.update(batch))

    def extra_record(self) -> dict[str, float]:
        """What else there is to log."""
        return {"updates": float(self.updates)}

    def _begin(self, collector: Collector) -> None:
        """Reset by a seed of our own where the collector does not stand within episodes."""
        if not self._begun and not collector.get_state()[0]:
            assert self.buffer is not None
            collector.reset(seed=self.env_seed)
            self.buffer.forget_unfinished()
            self.log.forget_unfinished()
        self._begun = True

    def _cut_masks(self, rollout: Rollout) -> Bools | None:
        """Masks of what was seen last before an environment that resets at once was cut."""
        if not len(rollout.cut) or not rollout.resets_at_once:
            return None
        return self.masks_for(_stacked(rollout.cut_observations))

    def actor(self) -> Any:
        """How a collector acts: draws from the acting policy, whose log-probabilities the KL meter reads."""

        def act(observation: Any, masks: Bools | None, starts: Bools) -> Ints:
            log_probs, _ = self.policy_step(observation, masks, starts, None)
            if self.prior is not None:
                self.log.seen.append((observation, masks, log_probs.numpy()))
            return sample(log_probs, self.generator).numpy()

        return act

    def parts(self) -> Parts:
        """Networks, moments, the collector's place; the replay, and episodes under way."""
        parts = super().parts()
        state = parts.state | {"updates": self.updates, "left": self.left, "windows": self.log.windows}
        weights = dict(parts.weights)
        if self.buffer is not None:
            arrays, state["replay"] = self.buffer.parts()
            weights |= {f"replay.{name}": value for name, value in arrays.items()}
            weights |= {"log.returns": self.log.returns, "log.lengths": self.log.lengths}
        return Parts(weights, state)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take back what `parts` gave."""
        super().restore(checkpoint)
        self.updates, self.left = int(checkpoint.state["updates"]), float(checkpoint.state["left"])
        self.log.windows = int(checkpoint.state["windows"])
        if self.buffer is None or "replay" not in checkpoint.state:
            return
        arrays = {name: value.numpy() for name, value in under("replay.", checkpoint.weights).items()}
        rows = len(checkpoint.weights["log.returns"])
        if rows != len(self.log.returns):
            raise DescantError(
                f"This checkpoint was trained on {rows} environments, not {len(self.log.returns)}: make as many."
            )
        self.buffer.restore(arrays, checkpoint.state["replay"])
        self.log.returns = checkpoint.weights["log.returns"].numpy().copy()
        self.log.lengths = checkpoint.weights["log.lengths"].numpy().copy()


class Log:
    """What happened since the last record, from rollouts that are shorter than episodes."""

    def __init__(self, num_envs: int) -> None:
        self.returns = np.zeros(num_envs)  # of the episodes under way
        self.lengths = np.zeros(num_envs)
        self.windows = 0
        self._open()

    def _open(self) -> None:
        self.steps = 0
        self.finished: list[float] = []
        self.means: dict[str, list[float]] = {}
        self.terms: dict[str, float] = {}
        self.seen: list[
            tuple[Any, Bools | None, Any]
        ] = []  # observation, masks, log-probabilities of each step
        self.actions: list[tuple[Ints, Bools]] = []  # taken, and whether the step happened

    def forget_unfinished(self) -> None:
        """The environment began anew."""
        self.returns[:] = self.lengths[:] = 0

    def add(self, rollout: Rollout) -> None:
        """Count a rollout that goes on where the last one stopped."""
        self.steps += rollout.steps
        for t in range(len(rollout.actions)):
            self.returns += np.where(rollout.valid[t], rollout.rewards[t], 0.0)
            self.lengths += rollout.valid[t]
            done = (rollout.terminated[t] | rollout.truncated[t]) & rollout.valid[t]
            if done.any():
                self.finished += self.returns[done].tolist()
                self.means.setdefault("length", []).extend(self.lengths[done].tolist())
                self.returns[done] = self.lengths[done] = 0
            self.actions.append((rollout.actions[t], rollout.valid[t]))
        for name, values in rollout.metrics.items():
            self.means.setdefault(name, []).extend(values.tolist())
        for name, total in rollout.terms.items():
            self.terms[name] = self.terms.get(name, 0.0) + total

    def add_losses(self, losses: dict[str, float]) -> None:
        """Count one update."""
        for name, value in losses.items():
            self.means.setdefault(name, []).append(value)

    def close(self, prior: Prior | None) -> dict[str, float]:
        """The record, the KL to the prior in it if there is one; begins anew."""
        record = {name: float(np.mean(values)) for name, values in self.means.items()}
        if self.finished:
            record |= {"return": float(np.mean(self.finished)), "return_std": float(np.std(self.finished))}
        record |= {f"terms/{n}": total / max(len(self.finished), 1) for n, total in self.terms.items()}
        if prior is not None and self.seen and self.steps:
            record |= self._meter(prior)
        self.windows += 1
        self._open()
        return record

    def _meter(self, prior: Prior) -> dict[str, float]:
        """Exact and sampled KL of the acting policy to the prior, over the steps since the last record."""
        actions, valid = (np.concatenate(columns) for columns in zip(*self.actions, strict=True))
        masks = (
            None if self.seen[0][1] is None else np.concatenate([m for _, m, _ in self.seen if m is not None])
        )
        if masks is not None:  # where there is no way on, there is no policy either
            valid = valid & masks.any(axis=1)
            masks = masks | ~masks.any(axis=1, keepdims=True)
        log_prior = prior.log_probs(_joined([seen for seen, _, _ in self.seen]), None, masks)
        return meter(np.concatenate([log for _, _, log in self.seen]), log_prior, actions, valid)


def _joined(observations: list[Any]) -> Any:
    if isinstance(observations[0], dict):
        return {key: _joined([o[key] for o in observations]) for key in observations[0]}
    return np.concatenate(observations)


def _stacked(observations: list[Any]) -> Any:
    if isinstance(observations[0], dict):
        return {key: _stacked([o[key] for o in observations]) for key in observations[0]}
    return np.stack(observations)


def tensors(batch: Batch) -> dict[str, Any]:
    """The batch for a network: float32 where it was float64."""
    floats = {n: torch.as_tensor(getattr(batch, n)).float() for n in ("rewards", "discounts", "weights")}
    names = ("observations", "masks", "actions", "next_observations", "next_masks", "terminated")
    return floats | {name: to_tensor(getattr(batch, name)) for name in names}


def check_replay(config: Any) -> None:
    """DescantError for settings of a `ReplayAgent` that can't work."""
    if not 0 <= config.gamma <= 1:
        raise DescantError(f"gamma must lie between 0 and 1, not {config.gamma}.")
    if config.target not in ("hard", "polyak"):
        raise DescantError(f"target must be hard or polyak, not {config.target!r}.")
    if not 0 < config.tau <= 1:
        raise DescantError(f"tau must lie above 0 and not above 1, not {config.tau}.")
    names = ("num_envs", "buffer_size", "batch_size", "train_freq", "gradient_steps", "target_interval")
    for name in names:
        if getattr(config, name) < 1:
            raise DescantError(f"{name} must be 1 or more, not {getattr(config, name)}.")
    if config.learning_rate <= 0 or not config.hidden:
        raise DescantError("learning_rate must be positive, and hidden name a width at least.")
