"""Actor-critic (Sutton and Barto 2018, chapter 13; A2C of Mnih et al. 2016): one gradient step on each rollout.

    loss = -mean A log pi(a|s) - ent_coef mean H + vf_coef mean 1/2 (V - G)^2

A is a sum of n rewards and the critic's value from there, less V ("n-step"), or the mixture of all n by lambda ("gae").
G is A + V ("bootstrap") or the plain return of the episode ("monte-carlo"). Rollouts are the next n steps of every row
("steps", online) or one whole episode of each ("episodes", batch). Differences from the papers: advantages are
normalised, Adam takes the step, one process steps all rows, and with a prior the KL to it is taken from the reward.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from descant.errors import DescantError
from descant.on_policy import Batch, OnPolicy, OnPolicyConfig
from descant.policies.categorical import chosen, entropy, logit_gradient, masked_log_softmax
from descant.returns import gae, n_step_returns
from descant.rollouts import Collector
from descant.tasks import Floats

WHOLE = 2**40  # steps in a part: all of them


@dataclasses.dataclass(frozen=True)
class Config(OnPolicyConfig):
    """What can be chosen of actor-critic."""

    n_steps: int = 8
    """Steps of each row in a rollout, where steps are collected."""
    learning_rate: float = 3e-3
    """Adam's step size at the beginning."""
    collect: Literal["steps", "episodes"] = "steps"
    """Learn online, every n_steps, or from a batch of one whole episode in every row."""
    advantage: Literal["gae", "n-step"] = "gae"
    """Weigh all numbers of steps by gae_lambda, or look n_step rewards ahead."""
    n_step: int = 5
    """Rewards before the critic's value, with advantage n-step."""
    critic_target: Literal["bootstrap", "monte-carlo"] = "bootstrap"
    """What the critic learns: its own estimate of what follows, or the return that came of it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.collect not in ("steps", "episodes"):
            raise DescantError(f"collect must be steps or episodes, not {self.collect!r}.")
        if self.advantage not in ("gae", "n-step") or self.n_step < 1:
            raise DescantError("advantage must be gae or n-step, and n_step 1 or more.")
        if self.critic_target not in ("bootstrap", "monte-carlo"):
            raise DescantError(f"critic_target must be bootstrap or monte-carlo, not {self.critic_target!r}.")
        if self.critic_target == "monte-carlo" and self.collect == "steps":
            raise DescantError("A Monte-Carlo critic learns from whole episodes: pass collect='episodes'.")


def actor_loss(log_probs: Tensor, advantages: Tensor) -> Tensor:
    """-mean A log pi(a|s), a scalar, from float[B] each."""
    return -(advantages * log_probs).mean()


def critic_loss(values: Tensor, returns: Tensor) -> Tensor:
    """Half the mean squared error, a scalar, from float[B] each."""
    return 0.5 * torch.nn.functional.mse_loss(values, returns)


class ActorCritic(OnPolicy):
    """Policy gradient with a critic; feed-forward or LSTM, one network or two, masks honoured throughout."""

    name: ClassVar[str] = "actor-critic"
    Config: ClassVar[type[Any]] = Config

    def iterate(self, collector: Collector, total_timesteps: int) -> dict[str, float]:
        """One rollout, then one gradient step."""
        ent_coef = self.schedule(total_timesteps)
        batch = self.roll(collector, whole=self.config.collect == "episodes")
        record = self.update(batch, ent_coef)
        self.num_timesteps += batch.rollout.steps
        return record

    def advantages(self, batch: Batch) -> Floats:
        """How much better each action was than the critic thought, float[T, N]."""
        config = self.config
        if config.advantage == "gae":
            return gae(batch.rollout, batch.values, batch.following, config.gamma, config.gae_lambda)
        ahead = n_step_returns(batch.rollout, batch.following, config.gamma, config.n_step)
        advantages: Floats = (ahead - batch.values) * batch.rollout.valid
        return advantages

    def update(self, batch: Batch, ent_coef: float) -> dict[str, float]:
        """One gradient step on a rollout; what there is to log."""
        config, valid = self.config, batch.rollout.valid
        raw = self.advantages(batch)
        advantages, scale = self.scaled(batch, raw)
        returns = raw + batch.values
        if config.critic_target == "monte-carlo":
            returns = batch.rollout.returns(config.gamma)
        columns = self.columns(batch, advantages=advantages, returns=returns)
        (part, heads), *_ = self.parts_of(batch, columns, WHOLE, shuffle=False)
        error = critic_loss(heads[self.critic]["value"][:, 0], part["returns"])
        with torch.no_grad():
            log_probs = masked_log_softmax(heads["policy"]["policy"], part.get("masks"))
            policy = actor_loss(chosen(log_probs, part["actions"]), part["advantages"])
            spread, prior = entropy(log_probs).mean(), part.get("log_prior")
            coefs = (ent_coef, 0.0 if prior is None else self.control.coef / scale, prior)
            gradient = logit_gradient(log_probs, part["actions"], part["advantages"], *coefs)
        weighted = config.vf_coef * error if config.shared else error
        record = self.step([heads["policy"]["policy"], weighted], [gradient, None])
        for name, value in (("policy_loss", policy), ("value_loss", error), ("entropy", spread)):
            record[name] = float(value.detach())
        unexplained = float((returns - batch.values)[valid].var())
        record["explained_variance"] = 1 - unexplained / max(float(returns[valid].var()), 1e-12)
        return batch.record | record

    def step(self, ends: list[Tensor], gradients: list[Tensor | None]) -> dict[str, float]:
        """One step down losses, or down what has a gradient, and the penalty on weights; what there is to log."""
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()
        torch.autograd.backward(ends, gradients)
        record = self.add_penalty() | {"grad_norm": self.clip(list(self.networks.values()))}
        for optimizer in self.optimizers.values():
            optimizer.step()
        return record
