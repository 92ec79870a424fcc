"""Actor-critic (Sutton and Barto 2018, chapter 13; A2C of Mnih et al. 2016): one gradient step on each rollout.

    loss = -mean A log pi(a|s) - ent_coef mean H + vf_coef mean 1/2 (V - G)^2

A is a sum of n rewards and the critic's value from there, less V ("n-step"), or the mixture of all n by lambda ("gae").
G is A + V ("bootstrap") or the plain return of the episode ("monte-carlo"). Rollouts are the next n steps of every row
("steps", online) or one whole episode of each ("episodes", batch). Differences from the papers: advantages are
normalised, Adam takes the step, one process steps all rows, and with a prior the KL to it is taken from the reward.
On `descant/Translation-v0` the critic may see the reference (`agents/reference_critics.py`).
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from descant import parallel
from descant.agent import Environment
from descant.control import kl_loss
from descant.errors import DescantError
from descant.neural import rollout_record
from descant.on_policy import Batch, OnPolicy, OnPolicyConfig
from descant.policies.categorical import chosen, entropy, logit_gradient, masked_log_softmax
from descant.policies.making import make_network
from descant.policies.networks import Network
from descant.references import References
from descant.returns import gae, n_step_returns
from descant.rollouts import Collector, Rollout
from descant.tasks import Floats

from .reference_critics import (
    Answered,
    actor_error,
    advantages_of,
    critic_error,
    critic_of_references,
    expected_values,
    follow,
    goals,
    with_targets,
)

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
    critic_sees: Literal["observation", "reference"] = "observation"
    """What the policy sees, and says what a state is worth; or the reference too, and says it of all actions."""
    critic_warmup: float = 0.1
    """Share of the training, at its beginning, in which a critic that sees references learns alone."""
    critic_updates: int = 1
    """Gradient steps of such a critic on each rollout."""
    tau: float = 0.05
    """How far its target networks move after each rollout, of the way."""
    q_spread: float = 1e-3
    """Weight of the squares of how far its values of a state are from their mean."""

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
        self._check_references()

    def _check_references(self) -> None:
        if self.critic_sees not in ("observation", "reference"):
            raise DescantError(f"critic_sees must be observation or reference, not {self.critic_sees!r}.")
        whole = self.collect == "episodes" and self.recurrent and self.trunk != "lstm" and not self.shared
        if self.critic_sees == "reference" and not whole:
            raise DescantError(
                "A critic that sees references has a network of its own and whole translations: pass collect episodes, "
                "recurrent, trunk gru or transformer, and not shared."
            )
        if (
            not (0 <= self.critic_warmup < 1 and 0 < self.tau <= 1)
            or self.critic_updates < 1
            or self.q_spread < 0
        ):
            raise DescantError(
                "critic_warmup must be 0 or more and below 1, tau above 0 and at most 1, critic_updates 1 or more, and "
                "q_spread 0 or more."
            )


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

    def __init__(self, env: Environment | None, config: Any, spaces: Any = None) -> None:
        super().__init__(env, config, spaces)
        self.known: References | None = None
        if config.critic_sees == "reference":
            follow(self.networks, 1.0)  # also where the first weights came from a run
            self.known = None if env is None else References(env, "critic_sees reference")

    def build(self) -> dict[str, Network]:
        """As of every agent with a critic; one that sees references says what each action is worth."""
        if self.config.critic_sees != "reference":
            return super().build()
        c, actions = self.config, int(self.action_space.n)
        critic = critic_of_references(self.observation_space, c.critic_hidden)
        policy = make_network(self.observation_space, {"policy": actions}, c.hidden, c.recurrent, c.trunk)
        return with_targets({"policy": policy, "critic": critic})

    def iterate(self, collector: Collector, total_timesteps: int) -> dict[str, float]:
        """One rollout, then one gradient step."""
        ent_coef = self.schedule(total_timesteps)
        if self.known is not None:
            alone = 1 - self.progress_left(total_timesteps) < self.config.critic_warmup
            rollout = collector.episodes(self.actor(), seed=self.env_seed)
            record = self.update_by_reference(rollout, ent_coef, alone)
            self.num_timesteps += rollout.steps
            return record
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
        logits = self.logits(heads["policy"])
        with torch.no_grad():
            log_probs = masked_log_softmax(logits, part.get("masks"))
            policy = actor_loss(chosen(log_probs, part["actions"]), part["advantages"])
            spread, prior = entropy(log_probs).mean(), part.get("log_prior")
            coefs = (ent_coef, 0.0 if prior is None else self.control.coef / scale, prior)
            gradient = logit_gradient(log_probs, part["actions"], part["advantages"], *coefs)
        losses = {"policy_loss": policy, "value_loss": error, "entropy": spread}
        means = {name: float(value.detach()) for name, value in losses.items()}
        share, means = parallel.share_and_means(len(part["actions"]), means)
        weighted = (config.vf_coef * share if config.shared else share) * error
        record = self.step([logits, weighted], [gradient.mul_(share), None]) | means
        unexplained = float((returns - batch.values)[valid].var())
        record["explained_variance"] = 1 - unexplained / max(float(returns[valid].var()), 1e-12)
        return batch.record | record

    def update_by_reference(self, rollout: Rollout, ent_coef: float, alone: bool = False) -> dict[str, float]:
        """Gradient steps of a critic that sees references, one of the actor unless the critic learns `alone`."""
        assert self.known is not None
        c, networks, record = self.config, self.networks, rollout_record(rollout)
        now = self.acting_log_probs(rollout) if self.control.on else None
        priced, log_prior, kept = self.keep(rollout, now)
        mine = parallel.own_steps(rollout)
        told = Answered(mine, self.known, c.temperature, self.device)
        with torch.no_grad():
            log_probs = told.log_probs(networks["target_policy"])
            following = np.zeros(mine.valid.shape)
            worth = expected_values(log_probs, told.values(networks["target_critic"]))
            following[mine.valid] = worth.cpu().numpy()
        lambda_ = 1.0 if c.critic_target == "monte-carlo" else c.gae_lambda
        goal_of = goals(parallel.own_steps(priced), following, c.gamma, lambda_)[mine.valid]
        goal = torch.as_tensor(goal_of).to(worth)
        for _ in range(c.critic_updates):
            error = critic_error(told.values(networks["critic"]), log_probs, told.actions, goal, c.q_spread)
            share, means = parallel.share_and_means(len(goal), {"value_loss": float(error.detach())})
            record |= self._move(share * error, "critic") | means
        if not alone:
            record |= self._actor_step(told, parallel.own(log_prior, 1), ent_coef)
        follow(networks, c.tau)
        return record | kept | {"length": float(rollout.valid.sum(axis=0).mean())}

    def _actor_step(self, told: Answered, log_prior: Floats | None, ent_coef: float) -> dict[str, float]:
        """Up the values that the critic gives to all actions."""
        with torch.no_grad():
            values = told.values(self.networks["critic"])
        log_probs = told.log_probs(self.networks["policy"])
        advantages = advantages_of(log_probs.detach(), values)
        spread = entropy(log_probs).mean()
        policy = actor_error(log_probs, advantages)
        loss = policy - ent_coef * spread
        if self.control.in_loss and log_prior is not None:
            prior = torch.as_tensor(log_prior[told.rollout.valid]).to(log_probs.detach())
            loss = loss + self.control.coef * kl_loss(log_probs, prior).mean()
        means = {"policy_loss": float(policy.detach()), "entropy": float(spread.detach())}
        share, means = parallel.share_and_means(len(told.actions), means)
        return self._move(share * loss, "policy") | means

    def _move(self, loss: Tensor, name: str) -> dict[str, float]:
        """One step of one network down its loss."""
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        record = self.add_penalty() if name == "policy" else {}
        norm = self.clip([self.networks[name]])
        for optimizer in self.optimizers.values():
            optimizer.step()
        return record | ({"grad_norm": norm} if name == "policy" else {})

    def step(self, ends: list[Tensor], gradients: list[Tensor | None]) -> dict[str, float]:
        """One step down losses, or down what has a gradient, and the penalty on weights; what there is to log."""
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()
        torch.autograd.backward(ends, gradients)
        record = self.add_penalty() | {"grad_norm": self.clip(list(self.networks.values()))}
        for optimizer in self.optimizers.values():
            optimizer.step()
        return record
