"""Off-policy actor-critic: both from replay, both with target networks, expectations over all actions.

    y = r + gamma sum_a' pi'(a'|s') [Q'(s', a') - alpha log pi'(a'|s')]      0 for the sum where it terminated
    critic: Huber(Q(s, a) - y)
    actor:  - sum_a pi(a|s) [Q(s, a) - alpha log pi(a|s)], the mean over states

pi' and Q' are target networks, as in DDPG (Lillicrap et al. 2016) and, for sequences, in Bahdanau et al. 2017; the
expectation instead of a sample is that of Expected SARSA (van Seijen et al. 2009) and of discrete SAC (Christodoulou
2019), which alpha, the weight of entropy, comes from. Differences are listed in docs/off-policy-ac.md.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from descant.buffers import Batch
from descant.devices import DeviceConfig
from descant.errors import DescantError
from descant.policies.categorical import chosen, entropy, masked_log_softmax
from descant.policies.making import refuse_sentences
from descant.policies.networks import Network
from descant.replay import ReplayAgent, check_replay, tensors
from descant.sequences import SequenceBatch
from descant.tasks import Bools

from .dqn import q_loss, td_target


@dataclasses.dataclass(frozen=True)
class Config(DeviceConfig):
    """What can be chosen of the off-policy actor-critic."""

    num_envs: int = 16
    """Environments stepped together, where the agent makes its environment from an id."""
    learning_rate: float = 1e-3
    """Adam's step size at the beginning."""
    lr_schedule: Literal["constant", "linear"] = "linear"
    """linear falls to zero at the end of the training."""
    gamma: float = 0.99
    """Discount of what comes after a step."""
    ent_coef: float = 0.1
    """alpha at the beginning: worth of a nat of entropy, in units of reward."""
    ent_coef_final: float = 0.01
    """The same at the end; in between it goes in a line."""
    buffer_size: int = 100_000
    """Transitions kept for replay."""
    learning_starts: int = 1000
    """Environment steps before the first update."""
    batch_size: int = 128
    """Transitions in an update."""
    train_freq: int = 4
    """Steps of every environment between updates."""
    gradient_steps: int = 8
    """Updates after them."""
    target: Literal["hard", "polyak"] = "polyak"
    """hard copies the weights to the target networks now and then, polyak moves them a little at each update."""
    target_interval: int = 100
    """Updates between hard copies."""
    tau: float = 0.02
    """How far polyak moves, of the way."""
    max_grad_norm: float = 10.0
    """Longest gradient of each network."""
    hidden: tuple[int, ...] = (256, 256)
    """Widths of the layers of each network."""
    recurrent: bool = False
    """Give each network an LSTM, for observations that don't tell all; the replay is of sequences then."""
    sequence_length: int = 32
    """Steps in a sequence: best a whole episode, where there are no longer ones."""
    burn_in: int = 0
    """Steps in front of a sequence that begins within an episode, to renew the state that was stored."""
    seed: int = 0
    """Everything random follows from it."""

    def __post_init__(self) -> None:
        check_replay(self)
        if self.ent_coef < 0 or self.ent_coef_final < 0:
            raise DescantError("ent_coef and ent_coef_final must be 0 or more.")


def soft_value(log_probs: Tensor, values: Tensor, alpha: float) -> Tensor:
    """sum_a pi(a) (Q(a) - alpha log pi(a)), float[B], from float[B, A] each; masked actions add nothing."""
    return (log_probs.exp() * values).sum(dim=-1) + alpha * entropy(log_probs)


def actor_loss(log_probs: Tensor, values: Tensor, alpha: float) -> Tensor:
    """Minus the mean of `soft_value`, a scalar; the values are taken as given."""
    return -soft_value(log_probs, values.detach(), alpha).mean()


class OffPolicyAC(ReplayAgent):
    """A policy and the values of its actions, both learned from replay; masks honoured throughout."""

    name: ClassVar[str] = "off-policy-ac"
    Config: ClassVar[type[Any]] = Config
    supports_recurrence: ClassVar[bool] = True
    learned: ClassVar[tuple[str, ...]] = ("policy", "critic")

    def build(self) -> dict[str, Network]:
        """The actor, the critic, and their targets."""
        actions, space, config = int(self.action_space.n), self.observation_space, self.config
        refuse_sentences(space, self.name)
        form = (config.hidden, config.recurrent)
        networks = {"policy": Network(space, {"policy": actions}, *form)}
        return self.with_targets(networks | {"critic": Network(space, {"q": actions}, *form)})

    @property
    def alpha(self) -> float:
        """Weight of entropy now."""
        last: float = self.config.ent_coef_final
        return last + (self.config.ent_coef - last) * self.left

    def update(self, batch: Batch) -> dict[str, float]:
        """One gradient step of actor and critic on a batch."""
        columns, networks = tensors(batch, self.device), self.networks
        if self.config.lr_schedule == "linear":
            self.set_learning_rate(self.config.learning_rate * self.left)
        with torch.no_grad():
            onward = columns["next_observations"]
            acting = networks["target_policy"](onward)["policy"]
            acting = masked_log_softmax(acting, columns["next_masks"])
            following = soft_value(acting, networks["target_critic"](onward)["q"], self.alpha)
            goal = td_target(columns["rewards"], columns["discounts"], columns["terminated"], following)
        values = networks["critic"](columns["observations"])["q"]
        logits = networks["policy"](columns["observations"])["policy"]
        return self._descend_both(values, logits, goal, columns)

    def update_sequences(self, batch: SequenceBatch) -> dict[str, float]:
        """The same on sequences: what follows a step is found further along."""
        columns, networks = batch.columns, self.networks
        if self.config.lr_schedule == "linear":
            self.set_learning_rate(self.config.learning_rate * self.left)
        with torch.no_grad():
            acting = batch.through(networks["target_policy"], "policy")["policy"][batch.onward]
            acting = masked_log_softmax(acting, columns["next_masks"])
            valued = batch.through(networks["target_critic"], "critic")["q"][batch.onward]
            following = soft_value(acting, valued, self.alpha)
            goal = td_target(columns["rewards"], columns["discounts"], columns["terminated"], following)
        values = batch.through(networks["critic"], "critic")["q"][batch.places]
        logits = batch.through(networks["policy"], "policy")["policy"][batch.places]
        return self._descend_both(values, logits, goal, columns)

    def _descend_both(
        self, values: Tensor, logits: Tensor, goal: Tensor, columns: dict[str, Any]
    ) -> dict[str, float]:
        """Values and logits float[B, A] of critic and actor with gradients, targets float[B]."""
        error = q_loss(chosen(values, columns["actions"]), goal, columns["weights"])
        log_probs = masked_log_softmax(logits, columns["masks"])
        loss = actor_loss(log_probs, values, self.alpha)
        norm = self.descend(loss + error)
        record = {"policy_loss": loss, "value_loss": error, "entropy": entropy(log_probs).mean()}
        return {name: float(value.detach()) for name, value in record.items()} | {"grad_norm": norm}

    def policy_step(
        self, observation: Any, masks: Bools | None, starts: Bools, state: Any
    ) -> tuple[Tensor, Any]:
        """Log-probabilities float[N, A] of the actor."""
        with torch.inference_mode():
            heads, state = self.heads_of("policy", observation, starts, state)
            mask = None if masks is None else torch.as_tensor(masks)
            return masked_log_softmax(heads["policy"], mask), state

    def acting_step(
        self, observation: Any, masks: Bools | None, starts: Bools, state: Any
    ) -> tuple[Tensor, Tensor | None, Any]:
        """As of the policy; a critic with memory looks on, for the state it will begin a sequence with."""
        log_probs, state = self.policy_step(observation, masks, starts, state)
        if self.config.recurrent:
            with torch.inference_mode():
                _, state = self.heads_of("critic", observation, starts, state)
        return log_probs, None, state

    def extra_record(self) -> dict[str, float]:
        """Weight of entropy, and updates so far."""
        return super().extra_record() | {"ent_coef": self.alpha}
