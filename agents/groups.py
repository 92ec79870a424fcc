"""What `rloo` and `grpo` share: groups of whole episodes from one start, and a loss that weighs their steps.

    loss = sum over steps of w [ L(pi(a|s), A) - ent_coef H(pi(.|s)) + kl_coef KL(pi(.|s) || p(.|s)) ]

A subclass says what an episode is credited with (A), how much a step weighs (w), and what L is. With a prior, the KL of
each state is a term of the loss (`kl_in="loss"`), or it is taken off the reward (`descant.control`).
"""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv
from torch import Tensor

from descant import parallel
from descant.agent import Environment
from descant.control import kl_loss
from descant.errors import DescantError
from descant.keeping import KeepingAgent, KeepingConfig
from descant.neural import rollout_record, valid_parts
from descant.policies.categorical import chosen, entropy, masked_log_softmax, sample
from descant.policies.making import make_policy
from descant.policies.networks import Network
from descant.rollouts import Act, Collector, Rollout
from descant.shells import TaskVectorEnv, group_size
from descant.tasks import Bools, Floats, Ints


@dataclasses.dataclass(frozen=True)
class GroupConfig(KeepingConfig):
    """What can be chosen of every agent that learns from groups."""

    num_envs: int = 256
    """Episodes in an update, where the agent makes its environment from an id."""
    group_size: int = 8
    """Episodes from each start."""
    learning_rate: float = 3e-3
    """Adam's step size at the beginning."""
    lr_schedule: Literal["constant", "linear"] = "linear"
    """linear falls to zero at the end of the training."""
    ent_coef: float = 0.0
    """Weight of the policy's entropy, in units of an advantage."""
    temperature: float = 1.0
    """What logits are divided by, the policy's and a prior's, acting and learning alike; a checkpoint's are not."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Numbers of the gradient steps of a network that translates; bfloat16 pays on CUDA, and on processors with AMX."""
    kl_in: Literal["reward", "loss"] = "reward"
    """Take the KL to the prior off the reward, or add that of each state, exactly, to the loss alone."""
    max_grad_norm: float = 1.0
    """Longest gradient."""
    hidden: tuple[int, ...] = (256, 256)
    """Widths of the policy's layers."""
    recurrent: bool = False
    """Give the policy an LSTM, for observations that don't tell all."""
    trunk: Literal["lstm", "transformer", "gru"] = "lstm"
    """What remembers where recurrent is set: an LSTM, a Transformer such as pretrain makes; to translate, also gru."""
    seed: int = 0
    """Everything random follows from it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.group_size < 2:
            raise DescantError(
                f"group_size must be 2 or more, not {self.group_size}: a group is compared within."
            )
        group_size(self.group_size, self.num_envs)
        if self.learning_rate <= 0 or self.max_grad_norm <= 0 or not self.hidden:
            raise DescantError(
                "learning_rate and max_grad_norm must be positive, and hidden name a width at least."
            )
        if self.precision not in ("float32", "bfloat16"):
            raise DescantError(f"precision must be float32 or bfloat16, not {self.precision!r}.")
        if self.kl_in not in ("loss", "reward") or self.ent_coef < 0:
            raise DescantError("kl_in must be loss or reward, and ent_coef 0 or more.")


def group_episodes(collector: Collector, act: Act, seed: int, size: int) -> Rollout:
    """One whole episode of every row; each `size` rows in turn start alike."""
    bare = collector.env.unwrapped
    group_size(size, collector.env.num_envs)
    if isinstance(bare, TaskVectorEnv):
        return collector.episodes(act, seed=seed, options={"group_size": size})
    if isinstance(bare, SyncVectorEnv | AsyncVectorEnv):  # the same seed, the same start
        starts = np.random.SeedSequence(seed).generate_state(bare.num_envs // size)
        return collector.episodes(act, seed=[int(s) for s in np.repeat(starts, size)])
    raise DescantError(
        f"{type(bare).__name__} can't start several rows alike: make it with vectorization_mode='sync'."
    )


def whole_returns(rollout: Rollout) -> Floats:
    """Sum of the rewards of each row's episode, float[N]; DescantError where one is not a number."""
    rewards = np.where(rollout.valid, rollout.rewards, 0.0)
    if not np.isfinite(rewards).all():
        step, row = np.argwhere(~np.isfinite(rewards))[0]
        raise DescantError(
            f"The reward of step {step} in row {row} is {rewards[step, row]}: mend the reward."
        )
    total: Floats = rewards.sum(axis=0)
    return total


def equal_groups(returns: Floats, size: int) -> float:
    """Share of groups whose returns float[N] are all equal: nothing can be learned from them."""
    return float((np.ptp(returns.reshape(-1, size), axis=1) <= 1e-9).mean())


class GroupAgent(KeepingAgent):
    """Policy gradient on groups of whole episodes."""

    supports_recurrence: ClassVar[bool] = True
    deals = "rows"

    def __init__(self, env: Environment | None, config: Any, spaces: Any = None) -> None:
        super().__init__(env, config, spaces)
        if env is not None:
            group_size(config.group_size, env.num_envs)

    def build(self) -> dict[str, Network]:
        """The policy alone: the group is the baseline."""
        c, actions = self.config, int(self.action_space.n)
        return make_policy(self.observation_space, actions, c.hidden, c.recurrent, c.trunk, c.precision)

    @abstractmethod
    def credit(self, returns: Floats) -> tuple[Floats, Bools]:
        """What each episode is credited with, float[N], and whether it is learned from, bool[N]."""

    def credits(self, returns: Floats, rollout: Rollout, taken: Floats) -> tuple[Floats, Bools]:
        """As `credit`; a subclass may look at the episodes too, and at their actions' log-probabilities float[T, N]."""
        return self.credit(returns)

    def step_weights(self, valid: Bools) -> Floats:
        """How much each step counts, float[T, N]; by default all equally, an episode's by its length."""
        return valid / valid.any(axis=0).sum()

    @abstractmethod
    def step_loss(self, log_probs: Tensor, old: Tensor, advantages: Tensor) -> Tensor:
        """The loss of each step, float[B], from log-probabilities float[B] now and when acting."""

    def iterate(self, collector: Collector, total_timesteps: int) -> dict[str, float]:
        """One whole episode in every row, then gradient steps."""
        linear = self.config.lr_schedule == "linear"
        left = self.progress_left(total_timesteps) if linear else 1.0
        self.set_learning_rate(self.config.learning_rate * left)
        seen: list[Tensor] = []
        act = self.recording_actor(seen)
        rollout = group_episodes(collector, act, self.env_seed, self.config.group_size)
        record = self.update(rollout, torch.stack(seen).numpy())
        self.num_timesteps += rollout.steps
        return record

    def recording_actor(self, seen: list[Tensor]) -> Act:
        """How a collector acts; log-probabilities of all actions float[N, A] are kept in `seen`."""
        state: Any = None

        def act(observation: Any, masks: Bools | None, starts: Bools) -> Ints:
            nonlocal state
            log_probs, state = self.joint_step(observation, masks, starts, state)
            seen.append(log_probs)
            return sample(log_probs, self.generator).numpy()

        return act

    def update(self, rollout: Rollout, log_policy: Floats) -> dict[str, float]:
        """Gradient steps on groups of whole episodes, acted by `log_policy` float[T, N, A]; what there is to log."""
        returns, record = whole_returns(rollout), rollout_record(rollout)
        record["groups_equal"] = equal_groups(returns, self.config.group_size)
        taken = np.take_along_axis(log_policy, rollout.actions[..., None], -1)[..., 0].astype(np.float64)
        columns: dict[str, Any] = {"old": taken}
        priced, log_prior, measured = self.keep(rollout, log_policy)
        record |= measured
        in_reward = self.config.kl_in == "reward"
        if in_reward and self.control.on:
            returns = whole_returns(priced)
        if log_prior is not None and (self.control.in_loss or not in_reward):
            columns["prior"] = log_prior
        advantages, kept = self.credits(returns, rollout, taken)
        record["groups_dropped"] = float((~kept.reshape(-1, self.config.group_size).any(axis=1)).sum())
        record["episodes_kept"] = float(kept.mean())
        record["length"] = float(rollout.valid.sum(axis=0).mean())
        if not kept.any():
            return record | self._keeping_step()
        used = dataclasses.replace(rollout, valid=rollout.valid & kept)
        columns["advantages"] = np.tile(advantages, (len(rollout.rewards), 1))
        columns["weights"] = self.step_weights(used.valid)
        return record | self._descend(used, columns)

    def _keeping_step(self) -> dict[str, float]:
        """A step down the penalty and the references' cross-entropy alone, where there are such."""
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()
        record = self.add_penalty()
        if record:
            record["grad_norm"] = self.clip(list(self.networks.values()))
            for optimizer in self.optimizers.values():
                optimizer.step()
        return record

    def _descend(self, rollout: Rollout, columns: dict[str, Any]) -> dict[str, float]:
        """Epochs over the rollout; means over all gradient steps."""
        records, steps = [], rollout.steps
        for _ in range(getattr(self.config, "epochs", 1)):
            orders: list[Tensor | None] = [None]
            if (parts := getattr(self.config, "minibatches", 1)) > 1:
                orders = list(torch.randperm(steps, generator=self.generator).chunk(parts))
            for order_of_part in orders:
                records.append(self._gradient_step(rollout, columns, order_of_part))
        return {name: float(np.mean([r[name] for r in records])) for name in records[0]}

    def _gradient_step(
        self, rollout: Rollout, columns: dict[str, Any], order: Tensor | None
    ) -> dict[str, float]:
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()
        share = 1.0 if order is None else rollout.steps / len(order)
        policy = self.networks["policy"]
        policy.autocast = self.config.precision == "bfloat16"
        totals = dict.fromkeys(("policy_loss", "entropy", "policy_moved"), 0.0)
        for part, heads in valid_parts(rollout, self.networks, columns, order):
            log_probs = masked_log_softmax(self.logits(heads["policy"]), part.get("masks"))
            now = chosen(log_probs, part["actions"])
            spread = entropy(log_probs if self.config.ent_coef else log_probs.detach())
            loss = self.step_loss(now, part["old"], part["advantages"])
            extra = -self.config.ent_coef * spread
            if "prior" in part:
                extra = extra + self.control.coef * kl_loss(log_probs, part["prior"])
            weights = part["weights"] * share
            (weights * (loss + extra)).sum().backward()
            with torch.no_grad():
                moved = torch.expm1(now - part["old"]) - (now - part["old"])  # k3 of KL(old || now)
                for name, value in zip(totals, (loss, spread, moved), strict=True):
                    totals[name] += float((weights * value).sum() / columns["weights"].sum())
        totals = parallel.totals(totals) | self.add_penalty()
        policy.autocast = False
        norm = self.clip(list(self.networks.values()))
        for optimizer in self.optimizers.values():
            optimizer.step()
        return totals | {"grad_norm": norm}
