"""Proximal policy optimisation (Schulman et al. 2017): several epochs on each rollout, held near what played it.

    loss = -mean min(r A, clip(r, 1 - e, 1 + e) A) - ent_coef mean H + vf_coef mean 1/2 (V - G)^2
    r = pi(a|s) / old(a|s), A generalised advantages, G = A + V

Differences from the paper: advantages are normalised over the whole rollout; epochs stop early by the exact
KL(old || pi) where asked for; with a prior the KL to it is taken from the reward (`descant.control`); the weight of the
entropy and the learning rate go in a line.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from descant import parallel
from descant.control import kl_loss
from descant.errors import DescantError
from descant.on_policy import Batch, OnPolicy, OnPolicyConfig
from descant.policies.categorical import chosen, entropy, logit_gradient, masked_log_softmax
from descant.returns import gae
from descant.rollouts import Collector


@dataclasses.dataclass(frozen=True)
class Config(OnPolicyConfig):
    """What can be chosen of PPO."""

    n_epochs: int = 6
    """How often each rollout is learned from."""
    minibatch_size: int = 1024
    """Steps in a gradient step, about; with an LSTM, whole rows of about as many."""
    clip_range: float = 0.2
    """How far the ratio may go from 1 and still be learned from."""
    clip_range_vf: float = 0.0
    """How far values may go from the old ones likewise; 0 for no bound."""
    target_kl: float = 0.0
    """Stop the epochs where KL(old || pi) of a minibatch is above; 0 for never."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.n_epochs, self.minibatch_size) < 1:
            raise DescantError("n_epochs and minibatch_size must be 1 or more.")
        if self.clip_range <= 0 or self.clip_range_vf < 0 or self.target_kl < 0:
            raise DescantError("clip_range must be above 0, and clip_range_vf and target_kl 0 or more.")


def clipped_loss(log_probs: Tensor, old: Tensor, advantages: Tensor, clip_range: float) -> Tensor:
    """-mean min(r A, clip(r) A), a scalar, from float[B] each."""
    ratio = (log_probs - old).exp()
    clipped = ratio.clamp(1 - clip_range, 1 + clip_range)
    return -torch.minimum(ratio * advantages, clipped * advantages).mean()


def clipped_weights(
    log_probs: Tensor, old: Tensor, advantages: Tensor, clip_range: float
) -> tuple[Tensor, Tensor]:
    """Weights w float[B], such that `clipped_loss` has the gradient of mean -w log pi(a), and the loss itself."""
    ratio = (log_probs - old).exp()
    plain = ratio * advantages
    clipped = ratio.clamp(1 - clip_range, 1 + clip_range) * advantages
    return torch.where(plain <= clipped, plain, 0.0), -torch.minimum(plain, clipped).mean()


def clipped_value_loss(values: Tensor, old: Tensor, returns: Tensor, clip_range: float) -> Tensor:
    """Half the mean squared error, or of the worse of value and value held near the old one; from float[B] each."""
    if not clip_range:
        return 0.5 * torch.nn.functional.mse_loss(values, returns)
    near = old + (values - old).clamp(-clip_range, clip_range)
    return 0.5 * torch.maximum((values - returns) ** 2, (near - returns) ** 2).mean()


# Log-probabilities before and now: of all actions, float[B, A] each, and of the action taken, float[B] each.
Moved = tuple[Tensor, Tensor, Tensor, Tensor]


class Steps:
    """What gradient steps say. How far they moved is worked out an epoch at a time, which costs less."""

    def __init__(self, clip_range: float) -> None:
        self.clip_range = clip_range
        self.records: list[dict[str, float]] = []
        self.left = False  # the last one was too far
        self._moved: list[Moved] = []
        self._far: list[tuple[int, float, float]] = []  # steps, KL and share clipped, of each epoch

    @property
    def count(self) -> int:
        """How many there were."""
        return len(self.records)

    def add(self, record: dict[str, float], moved: Moved, left: bool) -> None:
        """Count one."""
        self.records.append(record)
        self._moved.append(moved)
        self.left = left

    def close(self) -> None:
        """An epoch is over."""
        old, now, old_taken, taken = (torch.cat(columns) for columns in zip(*self._moved, strict=True))
        clipped = ((taken - old_taken).exp() - 1).abs().gt(self.clip_range)
        sums = {"steps": len(old), "kl": float(kl_loss(old, now).sum()), "clipped": float(clipped.sum())}
        steps, kl, outside = parallel.totals(sums).values()
        self._far.append((int(steps), kl / steps, outside / steps))
        self._moved = []

    def means(self) -> dict[str, float]:
        """What there is to log."""
        steps, kl, clipped = np.array(self._far).T
        names = {name for record in self.records for name in record}
        means = {n: float(np.mean([r[n] for r in self.records if n in r])) for n in sorted(names)}
        weights = steps / steps.sum()
        return means | {"kl_old": float(weights @ kl), "clip_fraction": float(weights @ clipped)}


class PPO(OnPolicy):
    """Clipped policy gradient on rollouts that go on; feed-forward or LSTM, masks honoured throughout."""

    name: ClassVar[str] = "ppo"
    Config: ClassVar[type[Any]] = Config

    def iterate(self, collector: Collector, total_timesteps: int) -> dict[str, float]:
        """One rollout, then epochs of minibatches on it."""
        ent_coef = self.schedule(total_timesteps)
        batch = self.roll(collector)
        record = self.update(batch, ent_coef)
        self.num_timesteps += batch.rollout.steps
        return record

    def update(self, batch: Batch, ent_coef: float) -> dict[str, float]:
        """Epochs of minibatches on a rollout; what there is to log."""
        config, rollout = self.config, batch.rollout
        raw = gae(rollout, batch.values, batch.following, config.gamma, config.gae_lambda)
        advantages, scale = self.scaled(batch, raw)
        returns = raw + batch.values
        taken = np.take_along_axis(batch.log_policy, rollout.actions[..., None], axis=-1)[..., 0]
        old = {"old": batch.log_policy, "old_taken": taken}
        columns = self.columns(batch, advantages=advantages, returns=returns, values=batch.values, **old)
        steps = Steps(config.clip_range)
        for _ in range(config.n_epochs):
            for part, heads in self.parts_of(batch, columns, config.minibatch_size):
                steps.add(*self.gradient_step(part, heads, ent_coef, self.control.coef / scale))
                if steps.left:
                    break
            steps.close()
            if steps.left:
                break
        spread = max(float(returns[rollout.valid].var()), 1e-12)
        explained = 1 - float(raw[rollout.valid].var()) / spread
        return batch.record | steps.means() | {"explained_variance": explained, "updates": float(steps.count)}

    def too_far(self, kl: float) -> bool:
        """Whether KL(old || pi) says to leave a rollout."""
        return bool(self.config.target_kl) and kl > self.config.target_kl

    def gradient_step(
        self, part: dict[str, Tensor], heads: dict[str, dict[str, Tensor]], ent_coef: float, kl_coef: float
    ) -> tuple[dict[str, float], Moved, bool]:
        """One step on a minibatch; what there is to log, what moved, and whether it is too far to learn from."""
        config, logits = self.config, self.logits(heads["policy"])
        values = heads[self.critic]["value"][:, 0]
        error = clipped_value_loss(values, part["values"], part["returns"], config.clip_range_vf)
        with torch.no_grad():
            log_probs = masked_log_softmax(logits, part.get("masks"))
            old, now = part["old_taken"], chosen(log_probs, part["actions"])
            weights, policy = clipped_weights(now, old, part["advantages"], config.clip_range)
            record = {"policy_loss": policy, "value_loss": error, "entropy": entropy(log_probs).mean()}
            if config.target_kl:
                record["kl"] = kl_loss(part["old"], log_probs).mean()
            means = {name: float(value) for name, value in record.items()}
            share, numbers = parallel.share_and_means(len(now), means)
            moved = (part["old"], log_probs, old, now)
            if config.target_kl and self.too_far(numbers.pop("kl")):
                return numbers | {"grad_norm": 0.0}, moved, True
            prior = part.get("log_prior")
            coefs = (ent_coef, 0.0 if prior is None else kl_coef, prior)
            gradient = logit_gradient(log_probs, part["actions"], weights, *coefs).mul_(share)
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()
        torch.autograd.backward(
            [logits, (config.vf_coef * share if config.shared else share) * error],
            [gradient, None],
        )
        numbers |= self.add_penalty()
        numbers["grad_norm"] = self.clip(list(self.networks.values()))
        for optimizer in self.optimizers.values():
            optimizer.step()
        return numbers, moved, False
