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

from descant.control import kl_loss
from descant.errors import DescantError
from descant.on_policy import Batch, OnPolicy, OnPolicyConfig
from descant.policies.categorical import chosen, entropy, masked_log_softmax
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


def clipped_value_loss(values: Tensor, old: Tensor, returns: Tensor, clip_range: float) -> Tensor:
    """Half the mean squared error, or of the worse of value and value held near the old one; from float[B] each."""
    error = (values - returns) ** 2
    if clip_range:
        near = old + (values - old).clamp(-clip_range, clip_range)
        error = torch.maximum(error, (near - returns) ** 2)
    return 0.5 * error.mean()


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
        columns = self.columns(
            batch, advantages=advantages, returns=returns, values=batch.values, old=batch.log_policy
        )
        records: list[dict[str, float]] = []
        for _ in range(config.n_epochs):
            for part, heads in self.parts_of(batch, columns, config.minibatch_size):
                records.append(self.gradient_step(part, heads, ent_coef, self.control.coef / scale))
                if self.too_far(records[-1]["kl_old"]):
                    break
            if self.too_far(records[-1]["kl_old"]):
                break
        spread = max(float(returns[rollout.valid].var()), 1e-12)
        explained = 1 - float(raw[rollout.valid].var()) / spread
        means = {name: float(np.mean([r[name] for r in records])) for name in records[0]}
        return batch.record | means | {"explained_variance": explained, "updates": float(len(records))}

    def too_far(self, kl: float) -> bool:
        """Whether KL(old || pi) says to leave a rollout."""
        return bool(self.config.target_kl) and kl > self.config.target_kl

    def gradient_step(
        self, part: dict[str, Tensor], heads: dict[str, dict[str, Tensor]], ent_coef: float, kl_coef: float
    ) -> dict[str, float]:
        """One step on a minibatch, unless its policy is too far from the old one; what there is to log."""
        config = self.config
        log_probs = masked_log_softmax(heads["policy"]["policy"], part.get("masks"))
        old, spread = chosen(part["old"], part["actions"]), entropy(log_probs)
        now = chosen(log_probs, part["actions"])
        with torch.no_grad():
            moved = float(kl_loss(part["old"], log_probs).mean())
            clipped = float(((now - old).exp() - 1).abs().gt(config.clip_range).float().mean())
        policy = clipped_loss(now, old, part["advantages"], config.clip_range)
        values = heads[self.critic]["value"][:, 0]
        error = clipped_value_loss(values, part["values"], part["returns"], config.clip_range_vf)
        record = {"policy_loss": policy, "value_loss": error, "entropy": spread.mean()}
        numbers = {name: float(value.detach()) for name, value in record.items()}
        numbers |= {"kl_old": moved, "clip_fraction": clipped}
        if self.too_far(moved):
            return numbers | {"grad_norm": 0.0} | ({"penalty": 0.0} if self.penalty.on else {})
        loss = policy - ent_coef * spread.mean() + (config.vf_coef if config.shared else 1.0) * error
        if "log_prior" in part:
            loss = loss + kl_coef * kl_loss(log_probs, part["log_prior"]).mean()
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        numbers |= self.add_penalty()
        numbers["grad_norm"] = self.clip(list(self.networks.values()))
        for optimizer in self.optimizers.values():
            optimizer.step()
        return numbers
