"""Deep Q-learning (Mnih et al. 2015) with its usual improvements, each by an option.

    y = r_1 + gamma r_2 + ... + gamma^(n-1) r_n + gamma^n V(s_n),   0 for V where the episode terminated
    V(s) = max_a Q'(s, a)                          with the target network Q', or
    V(s) = Q'(s, argmax_a Q(s, a))                 double (van Hasselt et al. 2016)
    loss = mean of w * Huber(Q(s, a) - y)

Both maxima are over allowed actions only. Options: target weights copied now and then or moved a little always
(Polyak), dueling head (Wang et al. 2016), rewards of n steps, prioritised replay (Schaul et al. 2016), exploration by
epsilon or Boltzmann. Differences from the papers are listed in docs/dqn.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from descant.buffers import Batch, ReplayBuffer
from descant.devices import DeviceConfig
from descant.errors import DescantError
from descant.neural import pick
from descant.policies.categorical import MASKED, chosen
from descant.policies.closed import ROWS, ClosedForm, is_plain
from descant.policies.heads import DuelingHead
from descant.policies.making import refuse_sentences
from descant.policies.networks import Network
from descant.policies.trunks import check_activation
from descant.replay import ReplayAgent, check_replay, tensors
from descant.sequences import SequenceBatch
from descant.tasks import Bools

LEARNED = ("observations", "actions", "weights")  # columns that an update needs once its goals are known


@dataclasses.dataclass(frozen=True)
class Config(DeviceConfig):
    """What can be chosen of DQN."""

    num_envs: int = 16
    """Environments stepped together, where the agent makes its environment from an id."""
    learning_rate: float = 1e-3
    """Adam's step size at the beginning."""
    lr_schedule: Literal["constant", "linear"] = "linear"
    """linear falls to zero at the end of the training."""
    gamma: float = 0.99
    """Discount of what comes after a step."""
    buffer_size: int = 100_000
    """Transitions kept for replay."""
    learning_starts: int = 1000
    """Environment steps before the first update."""
    batch_size: int = 128
    """Transitions in an update."""
    train_freq: int = 4
    """Steps of every environment between updates."""
    gradient_steps: int = 16
    """Updates after them."""
    target: Literal["hard", "polyak"] = "polyak"
    """hard copies the weights to the target network now and then, polyak moves it a little at each update."""
    target_interval: int = 100
    """Updates between hard copies."""
    tau: float = 0.01
    """How far polyak moves, of the way."""
    double: bool = True
    """Choose the next action by the learning network, value it by the target."""
    dueling: bool = False
    """Split action values into the state's value and advantages."""
    n_steps: int = 3
    """Rewards summed before the value of what comes next."""
    prioritized: bool = False
    """Draw transitions by the size of their last error."""
    priority_alpha: float = 0.6
    """How much priorities count: 0 is uniform."""
    priority_beta: float = 0.4
    """How far importance weights make up for it at the beginning; fully at the end."""
    exploration: Literal["epsilon-greedy", "boltzmann"] = "epsilon-greedy"
    """How to try other actions: any allowed one now and then, or by softmax of the values."""
    epsilon_start: float = 1.0
    """Share of random actions at the beginning."""
    epsilon_end: float = 0.05
    """The same once exploration is over."""
    exploration_fraction: float = 0.2
    """Part of the training in which the share falls, in a line."""
    temperature: float = 1.0
    """Of Boltzmann exploration, in units of reward."""
    max_grad_norm: float = 10.0
    """Longest gradient."""
    hidden: tuple[int, ...] = (256, 256)
    """Widths of the layers."""
    activation: Literal["relu", "tanh"] = "relu"
    """Between the layers."""
    recurrent: bool = False
    """Give the network an LSTM, for observations that don't tell all; the replay is of sequences then."""
    sequence_length: int = 32
    """Steps in a sequence: best a whole episode, where there are no longer ones."""
    burn_in: int = 0
    """Steps in front of a sequence that begins within an episode, to renew the state that was stored."""
    seed: int = 0
    """Everything random follows from it."""

    def __post_init__(self) -> None:
        check_replay(self)
        if self.n_steps < 1:
            raise DescantError(f"n_steps must be 1 or more, not {self.n_steps}.")
        check_activation(self.activation)
        check_exploration(self)
        if not self.priority_alpha >= 0 or not 0 <= self.priority_beta <= 1:
            raise DescantError("priority_alpha must be 0 or more, and priority_beta lie between 0 and 1.")


def check_exploration(config: Any) -> None:
    """DescantError for a way to explore that can't work."""
    if config.exploration not in ("epsilon-greedy", "boltzmann"):
        raise DescantError(f"exploration must be epsilon-greedy or boltzmann, not {config.exploration!r}.")
    if not (0 <= config.epsilon_start <= 1 and 0 <= config.epsilon_end <= 1):
        raise DescantError("epsilon_start and epsilon_end must lie between 0 and 1.")
    if config.temperature <= 0 or config.exploration_fraction <= 0:
        raise DescantError("temperature and exploration_fraction must be above 0.")


def next_values(online: Tensor, target: Tensor, masks: Tensor, double: bool) -> Tensor:
    """Value of the best allowed action, float[B], from action values float[B, A] of both networks, bool[B, A].

    With `double` the learning network says which is best, and the target what it is worth.
    """
    judged = (online if double else target).masked_fill(~masks, MASKED)
    return chosen(target, judged.argmax(dim=-1))


def td_target(rewards: Tensor, discounts: Tensor, terminated: Tensor, following: Tensor) -> Tensor:
    """r + discount * V where the episode went on, r where it terminated: float[B]."""
    return rewards + torch.where(terminated, 0.0, discounts * following)


def q_loss(values: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Mean of weight times Huber loss, a scalar, from float[B] each."""
    return (weights * torch.nn.functional.smooth_l1_loss(values, targets, reduction="none")).mean()


def q_descent(
    every: Tensor, actions: Tensor, targets: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Values of the actions float[B], their `q_loss`, and its gradient by the values of all actions, float[B, A].

    In closed form, since autograd's takes longer than a layer's: e clipped is Huber's derivative by the error e, and
    times e - e clipped / 2 it is Huber's loss.
    """
    values = chosen(every, actions)
    error = values - targets
    clipped = error.clamp(-1, 1)
    shares = clipped * weights / weights.shape[0]
    loss = torch.dot(shares, torch.sub(error, clipped, alpha=0.5))
    return values, loss, torch.zeros_like(every).scatter_(-1, actions[:, None], shares[:, None])


def epsilon_greedy(values: Tensor, epsilon: float) -> Tensor:
    """Log-probabilities float[..., A] from values that are `MASKED` where an action is not allowed."""
    allowed = values > MASKED / 2
    share = epsilon * allowed / allowed.sum(dim=-1, keepdim=True).clamp(min=1)
    best = torch.nn.functional.one_hot(values.argmax(dim=-1), values.shape[-1])
    return (share + (1 - epsilon) * best).log().clamp(min=MASKED)


class DQN(ReplayAgent):
    """Values of actions by a network, learned from replay; masks honoured in acting and in targets."""

    name: ClassVar[str] = "dqn"
    Config: ClassVar[type[Any]] = Config
    supports_recurrence: ClassVar[bool] = True

    def build(self) -> dict[str, Network]:
        """The values and their targets."""
        refuse_sentences(self.observation_space, self.name)
        actions = int(self.action_space.n)
        config = self.config
        form = (config.hidden, config.recurrent)
        network = Network(
            self.observation_space, {"q": actions}, *form, activation=config.activation, scale="linear"
        )
        if self.config.dueling:
            network.heads["q"] = DuelingHead(network.trunk.out_features, actions)
        return self.with_targets({"policy": network})

    @property
    def epsilon(self) -> float:
        """Share of random actions now."""
        first, last = self.config.epsilon_start, self.config.epsilon_end
        return first + (last - first) * min((1 - self.left) / self.config.exploration_fraction, 1.0)

    def policy_step(
        self, observation: Any, masks: Bools | None, starts: Bools, state: Any
    ) -> tuple[Tensor, Any]:
        """Log-probabilities float[N, A] of the acting policy, exploration included; its best action is greedy."""
        with torch.inference_mode():
            heads, state = self.heads_of("policy", observation, starts, state)
            values = heads["q"]
            if masks is not None:
                values = values.masked_fill(~torch.as_tensor(masks), MASKED)
            if self.config.exploration == "boltzmann":
                return torch.log_softmax(values / self.config.temperature, dim=-1), state
            return epsilon_greedy(values, self.epsilon), state

    def draw_and_update(
        self, buffer: Any, rng: np.random.Generator, beta: float
    ) -> Iterator[dict[str, float]]:
        """The updates of an iteration. While the targets stand still, all that is drawn is valued in one pass."""
        config = self.config
        if config.recurrent or config.prioritized or config.double or config.target != "hard":
            yield from super().draw_and_update(buffer, rng, beta)
            return
        drawn = rng.integers(len(buffer), size=config.batch_size * config.gradient_steps)
        while len(drawn):
            part, drawn = np.split(drawn, [self.still * config.batch_size])
            if len(part) < len(buffer):
                columns = tensors(buffer.take(part), self.device)
                yield from self._approach(columns, self.goals(columns))
            else:  # sooner done for all there are than for some of them twice
                columns, picked = tensors(buffer.everything(), self.device), torch.from_numpy(part)
                learned = pick({name: columns[name] for name in LEARNED}, picked)
                yield from self._approach(learned, self.goals(columns)[picked])

    def _approach(self, columns: dict[str, Any], goals: Tensor) -> Iterator[dict[str, float]]:
        """An update for each batch of the columns towards goals that are known."""
        needed = {name: columns[name] for name in LEARNED} | {"goals": goals}
        for begin in range(0, len(goals), self.config.batch_size):
            yield self.approach(pick(needed, slice(begin, begin + self.config.batch_size)))[0]

    def update(self, batch: Batch) -> dict[str, float]:
        """One gradient step towards the targets of a batch; priorities follow its errors."""
        assert isinstance(self.buffer, ReplayBuffer)
        columns = tensors(batch, self.device)
        columns["goals"] = self.goals(columns)
        losses, values = self.approach(columns)
        errors = (columns["goals"] - values).cpu().numpy()
        self.buffer.update_priorities(batch.indices, errors.astype(np.float64))
        return losses

    @cached_property
    def closed(self) -> dict[str, ClosedForm]:
        """The networks without autograd, which takes less time, where they are plain."""
        rows = {"policy": self.config.batch_size, "target_policy": ROWS}
        return {
            n: ClosedForm(self.networks[n], size) for n, size in rows.items() if is_plain(self.networks[n])
        }

    def values_of(self, name: str, observations: Any) -> Tensor:
        """All action values of a network, float[B, A], without gradients."""
        closed = self.closed.get(name)
        return self.networks[name](observations)["q"] if closed is None else closed.values(observations)

    def goals(self, columns: dict[str, Any]) -> Tensor:
        """What the values of the actions taken should be, float[B]."""
        with torch.no_grad():
            valued = self.values_of("target_policy", columns["next_observations"])
            judged = self.values_of("policy", columns["next_observations"]) if self.config.double else valued
            following = next_values(judged, valued, columns["next_masks"], self.config.double)
            return td_target(columns["rewards"], columns["discounts"], columns["terminated"], following)

    def approach(self, columns: dict[str, Any]) -> tuple[dict[str, float], Tensor]:
        """One gradient step towards the goals; losses, and the values of the actions taken as they were, float[B]."""
        if self.config.lr_schedule == "linear":
            self.set_learning_rate(self.config.learning_rate * self.left)
        closed, seen = self.closed.get("policy"), columns["observations"]
        every = self.networks["policy"](seen)["q"] if closed is None else closed.forward(seen)
        with torch.no_grad():
            learned = (columns["actions"], columns["goals"], columns["weights"])
            values, loss, gradient = q_descent(every, *learned)
        norm = self.descend(every, gradient) if closed is None else self.descend_closed(closed, gradient)
        return {"loss": float(loss), "q": float(values.mean()), "grad_norm": norm}, values

    def update_sequences(self, batch: SequenceBatch) -> dict[str, float]:
        """The same on sequences: what follows a step is found further along."""
        network, target, columns = self.networks["policy"], self.networks["target_policy"], batch.columns
        if self.config.lr_schedule == "linear":
            self.set_learning_rate(self.config.learning_rate * self.left)
        along = batch.through(network, "policy")["q"]
        with torch.no_grad():
            valued = batch.through(target, "policy")["q"][batch.onward]
            judged = along.detach()[batch.onward] if self.config.double else valued
            following = next_values(judged, valued, columns["next_masks"], self.config.double)
            goal = td_target(columns["rewards"], columns["discounts"], columns["terminated"], following)
        values = chosen(along[batch.places], columns["actions"])
        loss = q_loss(values, goal, columns["weights"])
        norm = self.descend(loss)
        return {"loss": float(loss.detach()), "q": float(values.detach().mean()), "grad_norm": norm}

    def extra_record(self) -> dict[str, float]:
        """Share of random actions, and updates so far."""
        return super().extra_record() | {"epsilon": self.epsilon}
