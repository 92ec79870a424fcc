"""What agents that learn from replay share: the loop, target networks, what is logged, checkpoints."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from descant.agent import Environment, Parts
from descant.buffers import Batch, ReplayBuffer
from descant.devices import CPU, moved
from descant.errors import DescantError
from descant.kl import meter
from descant.neural import TERMS_EVERY, NeuralAgent, under
from descant.policies.categorical import sample
from descant.policies.closed import ClosedForm
from descant.policies.encoders import to_tensor
from descant.policies.networks import Network
from descant.rollouts import Collector, Rollout
from descant.sequences import (
    SequenceBatch,
    SequenceBuffer,
    Trace,
    check_sequences,
    flat_state,
    whole_state,
)
from descant.tasks import Bools, Ints

if TYPE_CHECKING:
    from descant.priors import Prior
    from descant.runs.checkpoints import Checkpoint

LOG_STEPS = 2000  # environment steps between two records


class ReplayAgent(NeuralAgent):
    """A neural agent that learns from a replay buffer, with a target network for each network it learns.

    A subclass names the networks in `learned` and does one gradient step in `update`. An iteration collects
    `train_freq` steps of every row and then makes `gradient_steps` updates, once `learning_starts` steps are in.
    Batches are drawn by a generator made of seed and iteration; the buffer is part of a checkpoint. With `recurrent` it
    holds sequences (`descant.sequences`), and `update_sequences` learns from them.
    """

    learned: ClassVar[tuple[str, ...]] = ("policy",)

    def __init__(self, env: Environment | None, config: Any, spaces: Any = None) -> None:
        self.prior: Prior | None = None
        super().__init__(env, config, spaces)
        self.memory: Any = None if env is None else self.initial_state(env.num_envs)  # of the actor
        self.trace = Trace()
        self.buffer = None if env is None else self._make_buffer(env)
        self.updates = 0
        self.left = 1.0  # of the training; 1 at its beginning
        self.log = Log(1 if env is None else env.num_envs)
        self._begun = False

    def _make_buffer(self, env: Environment) -> ReplayBuffer | SequenceBuffer:
        config = self.config
        if getattr(config, "recurrent", False):
            return self._make_sequences(env)
        alpha = config.priority_alpha if getattr(config, "prioritized", False) else None
        sizes = (int(self.action_space.n), config.buffer_size, env.num_envs)
        return ReplayBuffer(
            self.observation_space, *sizes, config.gamma, getattr(config, "n_steps", 1), alpha=alpha
        )

    def _make_sequences(self, env: Environment) -> SequenceBuffer:
        config, actions = self.config, int(self.action_space.n)
        own = {name: self.memory[name] for name in self.learned}  # of a prior, what it says is kept
        sizes = (actions, config.buffer_size, own, config.sequence_length, config.burn_in)
        ask = None if self.prior is None else self.ask_prior
        n_steps = getattr(config, "n_steps", 1)
        return SequenceBuffer(self.observation_space, *sizes, config.gamma, n_steps, ask=ask)

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

    def update_sequences(self, batch: SequenceBatch) -> dict[str, float]:
        """The same on a batch of sequences; losses to log."""
        raise NotImplementedError(f"{self.name} learns from single steps.")

    def descend(self, loss: Tensor, gradient: Tensor | None = None) -> float:
        """One step of the optimisers down the loss, gradients clipped; their norm. Then the targets follow.

        With `gradient`, down that of what is given in place of the loss.
        """
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()
        torch.autograd.backward(loss, gradient)
        return self.step(self.clip([self.networks[name] for name in self.learned]))

    def descend_closed(self, closed: ClosedForm, gradient: Tensor) -> float:
        """The same of a network without autograd, by the gradient of what its last pass gave."""
        closed.backward(gradient)
        norm = closed.clip(self.config.max_grad_norm)
        self.refuse_no_numbers([norm])
        return self.step(norm)

    def step(self, norm: float) -> float:
        """One step of the optimisers down gradients whose norm is given, and given back; the targets follow."""
        for optimizer in self.optimizers.values():
            optimizer.step()
        self.updates += 1
        self._move_targets()
        return norm

    @property
    def still(self) -> int:
        """Updates until the targets move next, that one included."""
        hard = self.config.target == "hard"
        return self.config.target_interval - self.updates % self.config.target_interval if hard else 1

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
        self.trace = Trace()
        rollout = collector.steps(self.config.train_freq, self.actor())
        self.trace.states.append(self.memory)
        if isinstance(self.buffer, SequenceBuffer):
            self.buffer.add_rollout(rollout, self._cut_masks(rollout), self.trace)
        else:
            self.buffer.add_rollout(rollout, self._cut_masks(rollout))
        self.num_timesteps += rollout.steps
        self.log.add(rollout)
        if rollout.steps and self.num_timesteps >= self.config.learning_starts and len(self.buffer):
            self._learn_from(self.buffer)
        if self.log.steps < LOG_STEPS and self.num_timesteps < total_timesteps:
            return {}
        return self.log.close() | self.extra_record()

    def _learn_from(self, buffer: Any) -> None:
        rng = np.random.default_rng([self.config.seed, self.iteration])
        beta = getattr(self.config, "priority_beta", 1.0)
        # Importance weights make up for priorities fully at the end of the training.
        for losses in self.draw_and_update(buffer, rng, beta + (1 - beta) * (1 - self.left)):
            self.log.add_losses(losses)

    def draw_and_update(
        self, buffer: Any, rng: np.random.Generator, beta: float
    ) -> Iterator[dict[str, float]]:
        """The updates of an iteration, of batches drawn by `rng`; losses to log."""
        size, count = self.config.batch_size, self.config.gradient_steps
        if isinstance(buffer, ReplayBuffer):
            yield from map(self.update, buffer.batches(rng, size, count, beta))
        else:
            for _ in range(count):
                yield self.update_sequences(buffer.sample(rng, size, beta).to(self.device))

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
            self.trace.states.append(self.memory)
            log_probs, log_prior, self.memory = self.acting_step(observation, masks, starts, self.memory)
            if log_prior is not None:
                self.trace.log_prior.append(log_prior.numpy())
                self.log.seen.append((masks, log_probs.numpy(), log_prior.numpy()))
            return sample(log_probs, self.generator).numpy()

        return act

    def initial_state(self, rows: int) -> dict[str, Any]:
        """The recurrent state of each network that has one, at the beginning of episodes."""
        trunks: dict[str, Any] = {name: self.networks[name].trunk for name in self.learned}
        return {name: trunk.initial_state(rows) for name, trunk in trunks.items() if trunk.recurrent}

    def acting_step(
        self, observation: Any, masks: Bools | None, starts: Bools, state: Any
    ) -> tuple[Tensor, Tensor | None, Any]:
        """What `policy_step` says while collecting; in between, the prior's log-probabilities float32[N, A] or None."""
        log_probs, state = self.policy_step(observation, masks, starts, state)
        return log_probs, None, state

    def heads_of(
        self, name: str, observation: Any, starts: Bools, state: Any
    ) -> tuple[dict[str, Tensor], Any]:
        """Heads of a network for one step, and the states after it: by network, where there is memory."""
        network = self.networks[name]
        own = None if state is None else state.get(name)
        heads, own = network.step(to_tensor(observation), torch.as_tensor(starts), own)
        return heads, state if own is None else {**({} if state is None else state), name: own}

    def ask_prior(self, observation: Any, masks: Bools, state: Any) -> Tensor:
        """Log-probabilities float32[n, A] of the prior, about -1e9 where masked, `state` as `memory` has it."""
        raise NotImplementedError(f"{self.name} has no prior.")

    def parts(self) -> Parts:
        """Networks, moments, the collector's place; the replay, and episodes under way."""
        parts = super().parts()
        state = parts.state | {"updates": self.updates, "left": self.left, "windows": self.log.windows}
        weights = dict(parts.weights)
        if self.buffer is not None:
            arrays, state["replay"] = self.buffer.parts()
            weights |= {f"replay.{name}": value for name, value in arrays.items()}
            weights |= {"log.returns": self.log.returns, "log.lengths": self.log.lengths}
            weights |= {f"memory.{name}": value for name, value in flat_state(self.memory).items()}
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
        memory = {name: value.numpy() for name, value in under("memory.", checkpoint.weights).items()}
        self.memory = whole_state(memory) if memory else self.memory
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
            tuple[Bools | None, Any, Any]
        ] = []  # masks, log-probabilities of policy and prior at each step
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

    def close(self) -> dict[str, float]:
        """The record, the KL to the prior in it if there was one; begins anew."""
        record = {name: float(np.mean(values)) for name, values in self.means.items()}
        if self.finished:
            record |= {"return": float(np.mean(self.finished)), "return_std": float(np.std(self.finished))}
        record |= {f"terms/{n}": total / max(len(self.finished), 1) for n, total in self.terms.items()}
        if self.seen and self.steps:
            record |= self._meter()
        self.windows += 1
        self._open()
        return record

    def _meter(self) -> dict[str, float]:
        """Exact and sampled KL of the acting policy to the prior, over the steps since the last record."""
        actions, valid = (np.concatenate(columns) for columns in zip(*self.actions, strict=True))
        if self.seen[0][0] is not None:  # where there is no way on, there is no policy either
            valid = valid & np.concatenate([m.any(axis=1) for m, _, _ in self.seen if m is not None])
        policy, prior = (np.concatenate([step[i] for step in self.seen]).astype(np.float64) for i in (1, 2))
        return meter(policy, prior, actions, valid)


def _stacked(observations: list[Any]) -> Any:
    if isinstance(observations[0], dict):
        return {key: _stacked([o[key] for o in observations]) for key in observations[0]}
    return np.stack(observations)


def tensors(batch: Batch, device: torch.device = CPU) -> dict[str, Any]:
    """The batch for a network on a device: float32 where it was float64."""
    floats = {n: torch.as_tensor(getattr(batch, n)).float() for n in ("rewards", "discounts", "weights")}
    names = ("observations", "masks", "actions", "next_observations", "next_masks", "terminated")
    found: dict[str, Any] = moved(floats | {name: to_tensor(getattr(batch, name)) for name in names}, device)
    return found


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
    if hasattr(config, "recurrent"):
        check_sequences(config)
    if config.learning_rate <= 0 or not config.hidden:
        raise DescantError("learning_rate must be positive, and hidden name a width at least.")
