"""What psi, g and kl-q share: action values learned from replay beside a prior p(a | s), at a temperature c.

The reward is r / c and the objective, in nats, is E[sum r] / c - KL(pi || p), which the best policy brings to log Z.
"""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from descant.buffers import Batch
from descant.devices import DeviceConfig, moved
from descant.errors import DescantError
from descant.policies.categorical import MASKED, chosen
from descant.policies.encoders import to_tensor
from descant.policies.making import refuse_sentences
from descant.policies.networks import Network
from descant.priors import Prior, make_prior
from descant.replay import ReplayAgent, check_replay, tensors
from descant.sequences import SequenceBatch
from descant.shells import make_task
from descant.tasks import Bools

from .dqn import q_loss

if TYPE_CHECKING:
    from descant.runs.checkpoints import Checkpoint


@dataclasses.dataclass(frozen=True)
class SoftConfig(DeviceConfig):
    """What can be chosen of all three."""

    prior: str = ""
    """The policy to stay near: task (the environment's own), uniform, or a run or checkpoint."""
    c: float = 1.0
    """Temperature: one nat of KL weighs as much as a reward of c."""
    num_envs: int = 16
    """Environments stepped together, where the agent makes its environment from an id."""
    learning_rate: float = 1e-3
    """Adam's step size at the beginning."""
    lr_schedule: Literal["constant", "linear"] = "linear"
    """linear falls to zero at the end of the training."""
    gamma: float = 1.0
    """Discount of what comes after a step."""
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
    """hard copies the weights to the target network now and then, polyak moves it a little at each update."""
    target_interval: int = 100
    """Updates between hard copies."""
    tau: float = 0.02
    """How far polyak moves, of the way."""
    max_grad_norm: float = 10.0
    """Longest gradient."""
    hidden: tuple[int, ...] = (256, 256)
    """Widths of the layers."""
    recurrent: bool = False
    """Give the network an LSTM, for observations that don't tell all; the replay is of sequences then."""
    trunk: Literal["lstm", "transformer"] = "lstm"
    """What remembers where recurrent is set: an LSTM, or a Transformer such as pretrain makes."""
    sequence_length: int = 32
    """Steps in a sequence: best a whole episode, where there are no longer ones."""
    burn_in: int = 0
    """Steps in front of a sequence that begins within an episode, to renew the state that was stored."""
    seed: int = 0
    """Everything random follows from it."""

    def __post_init__(self) -> None:
        check_replay(self)
        if not 0 < self.c < np.inf:
            raise DescantError(
                f"c must be above 0 and finite, not {self.c}: near 0 only the reward counts (dqn has no prior at all), "
                "a large c keeps the prior."
            )


class SoftQ(ReplayAgent):
    """Learns values by regression to `targets`; a subclass says what they are and how it acts.

    The network begins as the prior's (head "policy" becomes "q") where it can. Otherwise it begins from scratch, and,
    where `adds_prior`, log p is added to what it gives.
    """

    supports_recurrence: ClassVar[bool] = True
    needs_prior: ClassVar[bool] = True
    adds_prior: ClassVar[bool] = True

    def build(self) -> dict[str, Network]:
        """The values and their targets."""
        refuse_sentences(self.observation_space, self.name)
        config = self.config
        if not config.prior:
            raise DescantError(
                f"Agent {self.name!r} needs a prior: set prior to task (the environment's own), uniform, or a run of a "
                "trained agent."
            )
        if self.env is not None:
            self._set_prior(self.env)
        actions = int(self.action_space.n)
        network = Network(
            self.observation_space, {"q": actions}, config.hidden, config.recurrent, config.trunk
        )
        begun = getattr(config, "initialize", False) and begin_as(network, self.prior)
        self.residual = self.adds_prior and not begun
        if not begun:  # values of 0, so that the first policy is the prior
            torch.nn.init.zeros_(network.heads["q"].get_parameter("weight"))
        return self.with_targets({"policy": network})

    def _set_prior(self, env: Any) -> None:
        self.prior = make_prior(self.config.prior, env, self.config.device)
        if self._prior_remembers and not self.config.recurrent:
            raise DescantError(
                "A recurrent prior does not fit replay of single steps: set recurrent, or train a prior without "
                "memory."
            )

    @property
    def _prior_remembers(self) -> bool:
        return any(
            network.recurrent and not network.cached
            for network in getattr(self.prior, "networks", {}).values()
        )

    def initial_state(self, rows: int) -> dict[str, Any]:
        """That of the values, and of a prior with memory."""
        prior: Any = self.prior
        own = super().initial_state(rows)
        return {**own, "prior": prior.initial_state(rows)} if self._prior_remembers else own

    def log_prior(self, observation: Any, masks: Bools) -> Tensor:
        """float32[n, A] of a prior without memory over the allowed actions; `MASKED` elsewhere."""
        return self._prior_step(observation, masks, np.zeros(len(masks), bool), None)[0]

    def ask_prior(self, observation: Any, masks: Bools, state: Any) -> Tensor:
        """float32[n, A] of the prior, going on from `state`; `MASKED` where not allowed."""
        return self._prior_step(observation, masks, np.zeros(len(masks), bool), state)[0]

    def _prior_step(self, observation: Any, masks: Bools, starts: Bools, state: Any) -> tuple[Tensor, Any]:
        """The prior over the allowed actions, float32[n, A], and the state after."""
        prior: Any = self.prior
        going = masks.any(axis=1, keepdims=True)  # where an episode has ended nothing may be allowed
        if self._prior_remembers:
            state = {} if state is None else state
            found, after = prior.policy_step(observation, masks | ~going, starts, state.get("prior"))
            log_prior, state = np.where(masks, found.numpy(), MASKED), {**state, "prior": after}
        else:
            log_prior = np.where(masks, prior.log_probs(observation, None, masks | ~going), MASKED)
        if not (log_prior[masks] > MASKED / 2).all():
            raise DescantError(
                "The prior gives an allowed action no probability, so the KL to it has no bound: smooth the prior."
            )
        return torch.as_tensor(log_prior, dtype=torch.float32), state

    def values(self, network: Network, observation: Any, log_prior: Tensor) -> Tensor:
        """Action values float[n, A], log p among them where it is added."""
        return self.beside(network(to_tensor(observation))["q"], log_prior)

    def beside(self, values: Tensor, log_prior: Tensor) -> Tensor:
        """Action values float[n, A] of what the network gave: log p is added where it did not begin as the prior."""
        return values + log_prior if self.residual else values

    @abstractmethod
    def policy_logits(self, values: Tensor, log_prior: Tensor) -> Tensor:
        """Logits of the acting policy, float[n, A]; both are `MASKED` where an action is not allowed."""

    @abstractmethod
    def targets(
        self, columns: dict[str, Any], log_prior: Tensor, following: Tensor, next_prior: Tensor
    ) -> Tensor:
        """What values of the actions taken should be, float[B], from log p(a|s) float[B] and, of the next states,
        values and log p float[B, A]."""

    def policy_step(
        self, observation: Any, masks: Bools | None, starts: Bools, state: Any
    ) -> tuple[Tensor, Any]:
        """Log-probabilities float[N, A] of the acting policy; the prior is asked where it takes part."""
        asked = self.residual or not self.adds_prior
        log_probs, _, state = self._step(observation, masks, starts, state, asked)
        return log_probs, state

    def acting_step(
        self, observation: Any, masks: Bools | None, starts: Bools, state: Any
    ) -> tuple[Tensor, Tensor | None, Any]:
        """Log-probabilities float[N, A] of the acting policy and of the prior."""
        return self._step(observation, masks, starts, state, True)

    def _step(
        self, observation: Any, masks: Bools | None, starts: Bools, state: Any, asked: bool
    ) -> tuple[Tensor, Tensor, Any]:
        with torch.inference_mode():
            everything = (len(starts), int(self.action_space.n))
            allowed = np.ones(everything, bool) if masks is None else np.asarray(masks, bool)
            log_prior = torch.zeros(1)
            if asked:
                log_prior, state = self._prior_step(observation, allowed, starts, state)
            heads, state = self.heads_of("policy", observation, starts, state)
            values = self.beside(heads["q"], log_prior).masked_fill(~torch.as_tensor(allowed), MASKED)
            log_probs = torch.log_softmax(self.policy_logits(values, log_prior), dim=-1)
            return log_probs, log_prior, state

    def update(self, batch: Batch) -> dict[str, float]:
        """One gradient step towards the targets of a batch."""
        columns = tensors(batch, self.device)
        if self.config.lr_schedule == "linear":
            self.set_learning_rate(self.config.learning_rate * self.left)
        log_prior = moved(self.log_prior(batch.observations, batch.masks), self.device)
        next_prior = moved(self.log_prior(batch.next_observations, batch.next_masks), self.device)
        with torch.no_grad():
            following = self.values(self.networks["target_policy"], batch.next_observations, next_prior)
            following = following.masked_fill(~columns["next_masks"], MASKED)
            taken = chosen(log_prior, columns["actions"])
            goal = self.targets(columns, taken, following, next_prior)
        values = chosen(
            self.values(self.networks["policy"], batch.observations, log_prior), columns["actions"]
        )
        return self._descend_to(goal, values, columns)

    def update_sequences(self, batch: SequenceBatch) -> dict[str, float]:
        """The same on sequences: what follows a step is found further along, and so is the prior of both."""
        columns, log_prior, next_prior = batch.columns, batch.log_prior, batch.next_prior
        assert log_prior is not None
        assert next_prior is not None
        if self.config.lr_schedule == "linear":
            self.set_learning_rate(self.config.learning_rate * self.left)
        with torch.no_grad():
            following = batch.through(self.networks["target_policy"], "policy")["q"][batch.onward]
            following = self.beside(following, next_prior).masked_fill(~columns["next_masks"], MASKED)
            goal = self.targets(columns, chosen(log_prior, columns["actions"]), following, next_prior)
        values = self.beside(batch.through(self.networks["policy"], "policy")["q"][batch.places], log_prior)
        return self._descend_to(goal, chosen(values, columns["actions"]), columns)

    def _descend_to(self, goal: Tensor, values: Tensor, columns: dict[str, Any]) -> dict[str, float]:
        """One step that brings values float[B] nearer to float[B]."""
        loss = q_loss(values, goal, columns["weights"])
        norm = self.descend(loss)
        return {"loss": float(loss.detach()), "q": float(values.detach().mean()), "grad_norm": norm}

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take back what `parts` gave; the prior again, where acting needs it and no environment was given."""
        super().restore(checkpoint)
        self.residual = bool(checkpoint.state["residual"])
        if self.prior is None and (self.residual or not self.adds_prior):
            self._set_prior(_stand_in(self, checkpoint.manifest.get("env")))

    def parts(self) -> Any:
        """Also whether log p is added to the network."""
        parts = super().parts()
        parts.state["residual"] = self.residual
        return parts


def begin_as(network: Network, prior: Prior | None) -> bool:
    """Take the weights of the prior's policy, where it is a network of the same shape; whether it was."""
    other = getattr(prior, "networks", {}).get("policy")
    if other is None:
        return False
    # Heads have the same form: "policy" gives logits, which are log p up to a constant in each state.
    renamed = {k.replace("heads.policy.", "heads.q."): v for k, v in other.state_dict().items()}
    own = network.state_dict()
    if not all(name in renamed and renamed[name].shape == own[name].shape for name in own):
        return False
    network.load_state_dict({name: renamed[name] for name in own})
    return True


def _stand_in(agent: SoftQ, record: dict[str, Any] | None) -> Any:
    """As much of the environment of a checkpoint as a prior asks for."""
    own = record is not None and record["id"].startswith("descant/")
    task = make_task(record["id"], **record["kwargs"]) if record is not None and own else None
    spaces = {"single_observation_space": agent.observation_space, "single_action_space": agent.action_space}
    return SimpleNamespace(unwrapped=SimpleNamespace(task=task), **spaces)
