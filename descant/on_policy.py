"""What `ppo` and `actor-critic` share: one network or two, rollouts that go on, memory carried from one to the next.

A recurrent network's state is carried over from rollout to rollout, as it stood when the last one ended, and gradients
stop there: memory may reach further back than a rollout, while learning reaches back to its beginning only. The states
are part of the checkpoint.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from descant import parallel
from descant.agent import Environment, Parts
from descant.errors import DescantError
from descant.keeping import KeepingAgent, KeepingConfig
from descant.neural import CHUNK, rollout_record, under, valid_parts
from descant.policies.categorical import sample
from descant.policies.encoders import flatten_time, to_tensor
from descant.policies.making import critic_trunk, make_network
from descant.policies.networks import Network
from descant.policies.trunks import State, check_activation
from descant.returns import next_values
from descant.rollouts import Collector, Rollout
from descant.tasks import Bools, Floats, Ints

if TYPE_CHECKING:
    from descant.runs.checkpoints import Checkpoint

Part = tuple[dict[str, Tensor], dict[str, dict[str, Tensor]]]


@dataclasses.dataclass(frozen=True)
class OnPolicyConfig(KeepingConfig):
    """What can be chosen of every agent with a policy and a critic."""

    num_envs: int = 128
    """Rows, where the agent makes its environment from an id."""
    n_steps: int = 32
    """Steps of each row in a rollout."""
    learning_rate: float = 2e-3
    """Adam's step size at the beginning."""
    lr_schedule: Literal["constant", "linear"] = "linear"
    """linear falls to zero at the end of the training."""
    gamma: float = 0.98
    """Discount of what comes after a step."""
    gae_lambda: float = 0.95
    """Weight of longer sums of rewards in the advantage: 0 trusts the critic, 1 the rewards."""
    ent_coef: float = 0.05
    """Weight of the policy's entropy at the beginning, in units of an advantage of unit deviation."""
    ent_coef_final: float = 0.0
    """The same at the end; in between it goes in a line."""
    vf_coef: float = 0.5
    """Weight of the critic's loss where it shares the policy's network."""
    normalize_advantage: bool = True
    """Give the advantages of a rollout mean 0 and deviation 1."""
    temperature: float = 1.0
    """What logits are divided by, the policy's and a prior's, acting and learning alike; a checkpoint's are not."""
    max_grad_norm: float = 1.0
    """Longest gradient of each network."""
    hidden: tuple[int, ...] = (256, 256)
    """Widths of the policy's layers."""
    critic_hidden: tuple[int, ...] = (128, 128)
    """Widths of the critic's layers."""
    activation: Literal["relu", "tanh"] = "relu"
    """Between the layers of both."""
    shared: bool = False
    """One network with two heads in place of two."""
    recurrent: bool = False
    """Give the networks an LSTM, for observations that don't tell all."""
    trunk: Literal["lstm", "transformer", "gru"] = "lstm"
    """What remembers in the policy where recurrent is set; gru translates. A critic has an LSTM, to translate a gru."""
    seed: int = 0
    """Everything random follows from it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (0 <= self.gamma <= 1 and 0 <= self.gae_lambda <= 1):
            raise DescantError("gamma and gae_lambda must lie between 0 and 1.")
        if min(self.num_envs, self.n_steps) < 1 or self.learning_rate <= 0 or self.max_grad_norm <= 0:
            raise DescantError("num_envs, n_steps, learning_rate and max_grad_norm must be positive.")
        check_activation(self.activation)
        if not self.hidden or not self.critic_hidden:
            raise DescantError("hidden and critic_hidden must name a width at least.")


@dataclasses.dataclass
class Batch:
    """A rollout, KL taken from its rewards, with what the networks said of it when it was collected."""

    rollout: Rollout
    log_policy: Floats  # [T, N, A]
    values: Floats  # [T, N]
    following: Floats  # [T, N], of what comes after each step, 0 where it terminated
    log_prior: Floats | None  # [T, N, A]
    states: dict[str, State]  # of recurrent networks where it begins; none where all begin anew
    record: dict[str, float]


class OnPolicy(KeepingAgent):
    """A policy, a critic, and rollouts by both."""

    supports_recurrence: ClassVar[bool] = True
    deals = "rows"

    def __init__(self, env: Environment | None, config: Any, spaces: Any = None) -> None:
        super().__init__(env, config, spaces)
        self.memory: dict[str, State] = {}
        self.begun = False
        self.totals: Floats | None = None  # reward so far of the episodes under way, float[N]

    def build(self) -> dict[str, Network]:
        """A policy and a critic, or one network for both."""
        config, actions = self.config, int(self.action_space.n)

        def network(heads: dict[str, int], hidden: tuple[int, ...], trunk: str = "lstm") -> Network:
            memory = (config.recurrent, trunk)
            return make_network(self.observation_space, heads, hidden, *memory, config.activation)

        critic = critic_trunk(self.observation_space) if config.recurrent else "lstm"
        if config.shared:
            return {"policy": network({"policy": actions, "value": 1}, config.hidden, config.trunk)}
        return {
            "policy": network({"policy": actions}, config.hidden, config.trunk),
            "critic": network({"value": 1}, config.critic_hidden, critic),
        }

    @property
    def critic(self) -> str:
        """The name of the network that has the values."""
        return "policy" if self.config.shared else "critic"

    def schedule(self, total_timesteps: int) -> float:
        """Set the learning rate for where the training is; the weight of the entropy there."""
        left = self.progress_left(total_timesteps)
        self.set_learning_rate(
            self.config.learning_rate * (left if self.config.lr_schedule == "linear" else 1)
        )
        last = self.config.ent_coef_final
        return float(last + (self.config.ent_coef - last) * left)

    def roll(self, collector: Collector, whole: bool = False) -> Batch:
        """The next `n_steps` of every row, or one whole episode of each."""
        if whole:
            self.memory = {}
        elif not self.begun:
            collector.reset(seed=self.env_seed)
            self.memory, self.begun, self.totals = {}, True, None
        before, seen = dict(self.memory), []
        state: Any = parallel.own(before.get("policy"), 1)

        def act(observation: Any, masks: Bools | None, starts: Bools) -> Ints:
            nonlocal state
            log_probs, state = self.joint_step(observation, masks, starts, state)
            seen.append(log_probs)
            return self.draw(log_probs)

        rollout = (
            collector.episodes(act, seed=self.env_seed)
            if whole
            else collector.steps(self.config.n_steps, act)
        )
        if state is not None and not self.networks["policy"].cached:
            self.memory["policy"] = parallel.gather((state[0].clone(), state[1].clone()), 1)
        batch = self.assess(rollout, torch.stack(seen).numpy(), before)
        if whole:
            self.memory = {}
        return batch

    def draw(self, log_probs: Tensor) -> Ints:
        """Actions int64[N] of the policy."""
        return sample(log_probs, self.generator).numpy()

    def assess(self, rollout: Rollout, log_policy: Floats, before: dict[str, State]) -> Batch:
        """A batch of a rollout: KL taken from the rewards, values of what was seen and of what follows."""
        record = rollout_record(rollout) | self.ended_returns(rollout)
        values, last, cut = self.values(rollout, before)
        kept, log_prior, more = self.keep(rollout, log_policy)
        following = next_values(kept, values, last, cut)
        return Batch(kept, log_policy, values, following, log_prior, before, record | more)

    def ended_returns(self, rollout: Rollout) -> dict[str, float]:
        """Mean and deviation of the returns of all episodes that ended, also where they began in a rollout before."""
        total = np.zeros(rollout.rewards.shape[1]) if self.totals is None else self.totals
        found = []
        for t, rewards in enumerate(rollout.rewards):
            total = np.where(rollout.starts[t], 0.0, total) + np.where(rollout.valid[t], rewards, 0.0)
            found.append(total[(rollout.terminated[t] | rollout.truncated[t]) & rollout.valid[t]])
        self.totals, ended = total, np.concatenate(found)
        return {"return": float(ended.mean()), "return_std": float(ended.std())} if len(ended) else {}

    def values(self, rollout: Rollout, before: dict[str, State]) -> tuple[Floats, Floats, Floats]:
        """Values of all observations float[T, N], of the last ones float[N], of those cut off float[K]."""
        network = self.networks[self.critic]
        with torch.no_grad():
            if network.cached:
                return self._cached_values(network, rollout)
            if network.recurrent:
                return self._recurrent_values(network, rollout, before.get(self.critic))
            seen = flatten_time(parallel.own(to_tensor(rollout.observations), 1))
            mine = parallel.own(rollout.valid, 1)
            sizes = [CHUNK] * (mine.size // CHUNK) + [mine.size % CHUNK]
            starts = np.cumsum([0, *sizes[:-1]])
            parts = [_rows(seen, slice(a, a + n)) for a, n in zip(starts, sizes, strict=True) if n]
            found = [_value(network(part)) for part in parts]
            values = _gathered(np.concatenate(found).reshape(mine.shape), 1)
            last = _gathered(_value(network(parallel.own(to_tensor(rollout.last_observation)))), 0)
            if not rollout.resets_at_once:
                return values, last, _next_of(rollout.cut, values, last)
            cut = (
                _value(network(to_tensor(_stack(rollout.cut_observations)))) if len(rollout.cut) else last[:0]
            )
        return values, last, cut

    def _cached_values(self, network: Network, rollout: Rollout) -> tuple[Floats, Floats, Floats]:
        """The same of a network that observations tell all, a sentence in one pass; 0 where no step asks for it."""
        seen = {
            k: np.concatenate([v, rollout.last_observation[k][None]]) for k, v in rollout.observations.items()
        }
        asked = np.concatenate([rollout.valid, (rollout.valid[-1] & ~rollout.terminated[-1])[None]])
        asked[rollout.cut[:, 0] + 1, rollout.cut[:, 1]] |= not rollout.resets_at_once
        mine, wanted = parallel.own((to_tensor(seen), torch.as_tensor(asked)), 1)
        worth = network.valid_outputs(mine, wanted, wanted)["value"][:, 0].cpu()
        found = worth.new_zeros(wanted.shape)
        found[wanted] = worth
        both = _gathered(found.numpy().astype(np.float64), 1)
        values, last = both[:-1], both[-1]
        if not rollout.resets_at_once:
            return values, last, _next_of(rollout.cut, values, last)
        some = len(rollout.cut)
        return (
            values,
            last,
            _value(network(to_tensor(_stack(rollout.cut_observations)))) if some else last[:0],
        )

    def _recurrent_values(
        self, network: Network, rollout: Rollout, state: State | None
    ) -> tuple[Floats, Floats, Floats]:
        """The same with memory: step by step where what was cut off is not in the rollout, but had a memory too."""
        values, cut = [], np.zeros(len(rollout.cut))
        going_on = torch.zeros(rollout.valid.shape[1], dtype=torch.bool)
        seen = to_tensor(rollout.observations)
        if not rollout.resets_at_once:
            heads, state = network.sequence(seen, torch.as_tensor(rollout.starts), state)
            if state is not None and self.critic != "policy":
                self.memory[self.critic] = state
            last = _value(network.step(to_tensor(rollout.last_observation), going_on, state)[0])
            return _value(heads), last, _next_of(rollout.cut, _value(heads), last)
        for t, starts in enumerate(torch.as_tensor(rollout.starts)):
            heads, state = network.step(_rows(seen, t), starts, state)
            values.append(_value(heads))
            for k in np.flatnonzero(rollout.cut[:, 0] == t):
                assert state is not None
                row = int(rollout.cut[k, 1])
                own = (state[0][:, row : row + 1].contiguous(), state[1][:, row : row + 1].contiguous())
                observation = to_tensor(_stack([rollout.cut_observations[k]]))
                cut[k] = _value(network.step(observation, going_on[:1], own)[0])[0]
        if state is not None and self.critic != "policy":
            self.memory[self.critic] = state
        heads, _ = network.step(to_tensor(rollout.last_observation), going_on, state)
        return np.stack(values), _value(heads), cut

    def columns(self, batch: Batch, **arrays: Floats) -> dict[str, Any]:
        """Arrays of a batch as the networks' kind of number, with the prior where the loss needs it."""
        kind = np.float64 if next(self.networks["policy"].parameters()).dtype is torch.float64 else np.float32
        if self.control.in_loss and batch.log_prior is not None:
            arrays["log_prior"] = batch.log_prior
        return {name: array.astype(kind) for name, array in arrays.items()}

    def parts_of(
        self, batch: Batch, columns: dict[str, Any], size: int, shuffle: bool = True
    ) -> Iterator[Part]:
        """Parts of about `size` valid steps with gradients: in any order, or whole rows with a recurrent network."""
        steps = batch.rollout.steps
        count = max(round(steps / size), 1)
        if self.config.recurrent:
            rows = batch.rollout.valid.shape[1]
            order = torch.randperm(rows, generator=self.generator) if shuffle else torch.arange(rows)
            yield from row_parts(batch, self.networks, columns, list(order.chunk(min(count, rows))))
            return
        order = torch.randperm(steps, generator=self.generator) if shuffle else torch.arange(steps)
        yield from valid_parts(batch.rollout, self.networks, columns, order, math.ceil(steps / count))

    def scaled(self, batch: Batch, advantages: Floats) -> tuple[Floats, float]:
        """Advantages of mean 0 and deviation 1 where asked for, and what they were divided by."""
        if not self.config.normalize_advantage:
            return advantages, 1.0
        own = advantages[batch.rollout.valid]
        scale = float(own.std()) + 1e-8
        return (advantages - own.mean()) / scale, scale

    def parts(self) -> Parts:
        """As of every agent that keeps, and the memory of recurrent networks."""
        parts = super().parts()
        memory = {f"memory.{n}.{k}": x for n, s in self.memory.items() for k, x in zip("hc", s, strict=True)}
        if self.totals is not None:
            memory["totals"] = torch.as_tensor(self.totals)
        return Parts({**parts.weights, **memory}, parts.state)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take back what `parts` gave; where the environment can't go on, episodes begin anew, and memory with them."""
        super().restore(checkpoint)
        self.begun = bool(checkpoint.state.get("collector")) and self.env is not None
        found = {name: under(f"memory.{name}.", checkpoint.weights) for name in self.networks}
        self.memory = {n: (s["h"], s["c"]) for n, s in found.items() if s} if self.begun else {}
        totals = checkpoint.weights.get("totals") if self.begun else None
        self.totals = None if totals is None else totals.numpy().copy()


def row_parts(
    batch: Batch, networks: dict[str, Network], columns: dict[str, Any], groups: list[Tensor]
) -> Iterator[Part]:
    """Whole rows of a rollout, a group of them at a time: columns of their valid steps, and heads with gradients.

    Of every group each rank has its share of rows.
    """
    rollout = batch.rollout
    tensors = {name: torch.as_tensor(column) for name, column in columns.items()}
    tensors["actions"] = torch.as_tensor(rollout.actions)
    if rollout.masks is not None:
        tensors["masks"] = torch.as_tensor(rollout.masks)
    seen, starts = to_tensor(rollout.observations), torch.as_tensor(rollout.starts)
    valid = torch.as_tensor(rollout.valid)
    for group in groups:
        rows = parallel.dealt(group)
        mine = valid[:, rows]
        if not mine.any():
            raise DescantError(
                "A minibatch has no row for every rank: raise minibatch_size or num_envs, or start fewer ranks."
            )
        heads: dict[str, dict[str, Tensor]] = {}
        for name, network in networks.items():
            state = batch.states.get(name)
            own = None if state is None else (state[0][:, rows], state[1][:, rows])
            heads[name] = network.valid_outputs(_rows(seen, (slice(None), rows)), starts[:, rows], mine, own)
        yield (
            networks["policy"].here({name: tensor[:, rows][mine] for name, tensor in tensors.items()}),
            heads,
        )


def _next_of(cut: Ints, values: Floats, last: Floats) -> Floats:
    """Values float[K] one step after each (step, row): there NEXT_STEP environments show what was seen last."""
    found: Floats = np.concatenate([values, last[None]])[cut[:, 0] + 1, cut[:, 1]]
    return found


def _gathered(mine: Floats, axis: int) -> Floats:
    found: Floats = parallel.gather(torch.as_tensor(mine), axis).numpy()
    return found


def _value(heads: dict[str, Tensor]) -> Floats:
    found: Floats = heads["value"][..., 0].cpu().numpy().astype(np.float64)
    return found


def _rows(observations: Any, index: Any) -> Any:
    if isinstance(observations, dict):
        return {key: _rows(value, index) for key, value in observations.items()}
    return observations[index]


def _stack(observations: list[Any]) -> Any:
    if isinstance(observations[0], dict):
        return {key: _stack([o[key] for o in observations]) for key in observations[0]}
    return np.stack(observations)
