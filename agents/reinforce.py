"""REINFORCE (Williams 1992): whole episodes, reward-to-go, a baseline, an entropy bonus.

    g = E[ sum_t (G_t - b_t) grad log pi(a_t | s_t) ] + ent_coef * grad H(pi)

Every update draws one whole episode in every row of the vector environment, so that the gradient is unbiased:
cutting by a number of steps would favour short episodes. Differences from the paper: the baseline may be learned,
advantages are scaled to unit deviation, Adam takes the step, the bonus on entropy shrinks as training goes on, and
rewards are discounted (gamma 0.9): what a note costs shows within a few notes, and less noise is learned from.
"""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor

from descant.agent import Agent, Callback, Environment, Parts
from descant.errors import DescantError
from descant.policies.categorical import chosen, entropy, masked_log_softmax, sample
from descant.policies.encoders import flatten_time, to_tensor
from descant.policies.networks import Network
from descant.rollouts import Collector, Rollout
from descant.tasks import Bools, Floats, Ints

if TYPE_CHECKING:
    from descant.runs.checkpoints import Checkpoint
    from descant.runs.tracking import Tracker

Baseline = Literal["none", "mean", "learned"]
TERMS_EVERY = 20  # updates between two records of the reward by term, which cost more to compute
CHUNK = 4096  # steps of one pass through the network: as many as fit the processor's cache


@dataclasses.dataclass(frozen=True)
class Config:
    """What can be chosen of REINFORCE."""

    num_envs: int = 256
    """Episodes in an update, where the agent makes its environment from an id."""
    learning_rate: float = 3e-3
    """Adam's step size at the beginning."""
    lr_schedule: Literal["constant", "linear"] = "linear"
    """linear falls to zero at the end of the training."""
    gamma: float = 0.9
    """Discount of what comes after a step."""
    baseline: Baseline = "learned"
    """What returns are measured from: nothing, their mean at each step, or a second network."""
    reward_to_go: bool = True
    """Credit a step with what comes after it only, not with the whole episode."""
    ent_coef: float = 1.0
    """Weight of the policy's entropy at the beginning, in units of an advantage of unit deviation."""
    ent_coef_final: float = 0.02
    """The same at the end; in between it goes in a line."""
    normalize_advantage: bool = True
    """Divide advantages by their deviation."""
    max_grad_norm: float = 1.0
    """Longest gradient of each network."""
    hidden: tuple[int, ...] = (256, 256)
    """Widths of the policy's layers."""
    critic_hidden: tuple[int, ...] = (128, 128)
    """Widths of the critic's layers."""
    recurrent: bool = False
    """Give both networks an LSTM, for observations that don't tell all."""
    seed: int = 0
    """Everything random follows from it."""

    def __post_init__(self) -> None:
        if self.baseline not in ("none", "mean", "learned"):
            raise DescantError(f"baseline must be none, mean or learned, not {self.baseline!r}.")
        if not 0 <= self.gamma <= 1:
            raise DescantError(f"gamma must lie between 0 and 1, not {self.gamma}.")
        if self.learning_rate <= 0 or self.num_envs < 1 or not self.hidden:
            raise DescantError(
                "learning_rate and num_envs must be positive, and hidden name a width at least."
            )


def policy_loss(log_probs: Tensor, advantages: Tensor, entropies: Tensor, ent_coef: float) -> Tensor:
    """-mean(A log pi(a|s)) - ent_coef * mean(H), a scalar, from float[B] each."""
    return -(advantages * log_probs).mean() - ent_coef * entropies.mean()


def value_loss(values: Tensor, returns: Tensor) -> Tensor:
    """Half the mean squared error, a scalar, from float[B] each."""
    return 0.5 * torch.nn.functional.mse_loss(values, returns)


class Reinforce(Agent):
    """Policy gradient with whole-episode returns; feed-forward or LSTM policy, masks honoured throughout."""

    name: ClassVar[str] = "reinforce"
    Config: ClassVar[type[Any]] = Config
    supports_recurrence: ClassVar[bool] = True

    def __init__(self, env: Environment | None, config: Any, spaces: Any = None) -> None:
        super().__init__(env, config, spaces)
        torch.set_num_threads(int(os.environ.get("DESCANT_THREADS", "1")))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.policy = self._network({"policy": int(self.action_space.n)}, config.hidden)
            learned = config.baseline == "learned"
            self.critic = self._network({"value": 1}, config.critic_hidden) if learned else None
        self.optimizer = torch.optim.Adam(self._parameters(), lr=config.learning_rate, eps=1e-5, fused=True)
        self.iteration = 0
        self.ent_coef = config.ent_coef
        self._generator = torch.Generator()

    def learn(
        self,
        total_timesteps: int,
        callback: Callback | None = None,
        tracker: Tracker | None = None,
        progress_bar: bool = False,
    ) -> Self:
        """Train until `num_timesteps` reaches `total_timesteps`. All chance follows from seed and iteration."""
        from descant.runs.progress import progress

        if self.env is None:
            raise DescantError("This agent was loaded without an environment: pass env to learn on.")
        collector = Collector(self.env)
        with progress(total_timesteps, self.name, self.num_timesteps, progress_bar) as bar:
            while self.num_timesteps < total_timesteps:
                seed, noise = np.random.SeedSequence([self.config.seed, self.iteration]).generate_state(2)
                self._generator.manual_seed(int(noise))
                collector.watch_terms(self.iteration % TERMS_EVERY == 0)
                rollout = collector.episodes(self._actor(), seed=int(seed))
                self._set_schedules(total_timesteps)
                record = self.update(rollout)
                self.num_timesteps += rollout.steps
                self.iteration += 1
                if tracker is not None:
                    tracker.log(self.num_timesteps, record)
                bar.update(self.num_timesteps, **{"return": record["return"]})
                if callback is not None and not callback(self):
                    break
        return self

    def update(self, rollout: Rollout) -> dict[str, float]:
        """One gradient step on a rollout of whole episodes; what there is to log."""
        valid = rollout.valid
        returns = rollout.returns(self.config.gamma)
        if not self.config.reward_to_go:
            returns = np.broadcast_to(returns[0], returns.shape)
        self.optimizer.zero_grad()
        weight, values = self._advantages(rollout, returns)
        totals = self._backward(rollout, weight, returns)
        # Clipped apart: the critic's large first gradients must not shrink the policy's.
        norm = torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self.config.max_grad_norm)
        if self.critic is not None:
            torch.nn.utils.clip_grad_norm_(self.critic.parameters(), self.config.max_grad_norm)
        if not torch.isfinite(norm):
            raise DescantError(
                f"The gradient is not finite at step {self.num_timesteps}: lower learning_rate."
            )
        self.optimizer.step()
        whole = (rollout.rewards * valid).sum(axis=0)
        record = {"return": float(whole.mean()), "return_std": float(whole.std()), **totals}
        record |= {name: float(v.mean()) for name, v in rollout.metrics.items()}
        record |= {f"terms/{name}": total / valid.shape[1] for name, total in rollout.terms.items()}
        if self.critic is not None:
            spread = float(returns[valid].var())
            record["explained_variance"] = 1 - float((returns - values)[valid].var()) / max(spread, 1e-12)
        return record | {"grad_norm": float(norm), "length": float(valid.sum(axis=0).mean())}

    def log_probs(self, observation: Any, state: Any = None, action_masks: Bools | None = None) -> Floats:
        """Log-probability of every action: float[n, A]; about -1e9 where masked."""
        n = len(observation if not isinstance(observation, dict) else next(iter(observation.values())))
        log_probs, _ = self._step(observation, action_masks, np.zeros(n, bool), state)
        return log_probs.numpy().astype(np.float64)

    def act(
        self, batch: Any, state: Any, episode_start: Any, deterministic: bool, masks: Bools | None
    ) -> tuple[Ints, Any]:
        """Actions int64[n]; `state` is the LSTM's, where the policy has one."""
        n = len(batch if not isinstance(batch, dict) else next(iter(batch.values())))
        starts = np.zeros(n, bool) if episode_start is None else np.asarray(episode_start, bool)
        log_probs, state = self._step(batch, masks, starts, state)
        scores = log_probs.numpy()
        if not deterministic:
            scores = scores + self.noise.gumbel(size=scores.shape)
        return scores.argmax(axis=1), state

    def parts(self) -> Parts:
        """Networks and Adam's moments."""
        networks = {"policy": self.policy} | ({"critic": self.critic} if self.critic else {})
        weights = {f"{n}.{k}": v for n, net in networks.items() for k, v in net.state_dict().items()}
        for i, parameter in enumerate(self._parameters()):
            for key, value in self.optimizer.state.get(parameter, {}).items():
                weights[f"adam.{i}.{key}"] = value
        return Parts(weights, {"iteration": self.iteration})

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take back what `parts` gave."""
        self.iteration = int(checkpoint.state["iteration"])
        self.policy.load_state_dict(_under("policy.", checkpoint.weights))
        if self.critic is not None:
            self.critic.load_state_dict(_under("critic.", checkpoint.weights))
        for i, parameter in enumerate(self._parameters()):
            moments = _under(f"adam.{i}.", checkpoint.weights)
            if moments:
                self.optimizer.state[parameter] = moments

    def _network(self, heads: dict[str, int], hidden: tuple[int, ...]) -> Network:
        return Network(self.observation_space, heads, hidden, self.config.recurrent)

    def _parameters(self) -> list[Tensor]:
        return [*self.policy.parameters(), *(self.critic.parameters() if self.critic else [])]

    def _set_schedules(self, total_timesteps: int) -> None:
        """Learning rate and entropy bonus, by how much of the training is left."""
        left = max(1 - self.num_timesteps / total_timesteps, 0.0)
        first, last = self.config.ent_coef, self.config.ent_coef_final
        self.ent_coef = last + (first - last) * left
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * (left if self.config.lr_schedule == "linear" else 1)

    def _step(self, observation: Any, masks: Bools | None, starts: Bools, state: Any) -> tuple[Tensor, Any]:
        with torch.inference_mode():
            heads, state = self.policy.step(to_tensor(observation), torch.as_tensor(starts), state)
            mask = None if masks is None else torch.as_tensor(masks)
            return masked_log_softmax(heads["policy"], mask), state

    def _actor(self) -> Any:
        """How the collector acts: draws from the policy, and keeps the LSTM's state in between."""
        state: Any = None

        def act(observation: Any, masks: Bools | None, starts: Bools) -> Ints:
            nonlocal state
            log_probs, state = self._step(observation, masks, starts, state)
            return sample(log_probs, self._generator).numpy()

        return act

    def _advantages(self, rollout: Rollout, returns: Floats) -> tuple[Floats, Floats]:
        """Weight of each step's log-probability, float[T, N], and the baseline it was measured from."""
        valid, baseline = rollout.valid, np.zeros_like(returns)
        if self.critic is not None:
            with torch.inference_mode():
                baseline = self._values(rollout).numpy().astype(np.float64)
        elif self.config.baseline == "mean":
            count = np.maximum(valid.sum(axis=1, keepdims=True), 1)
            baseline = np.broadcast_to((returns * valid).sum(axis=1, keepdims=True) / count, returns.shape)
        advantages = returns - baseline
        if self.config.normalize_advantage:
            advantages = advantages / (advantages[valid].std() + 1e-8)
        return advantages, baseline

    def _values(self, rollout: Rollout) -> Tensor:
        """The critic's values of every step, float[T, N]."""
        assert self.critic is not None
        starts = torch.as_tensor(rollout.starts)
        heads, _ = self.critic.sequence(to_tensor(rollout.observations), starts)
        return heads["value"][..., 0]

    def _backward(self, rollout: Rollout, weight: Floats, returns: Floats) -> dict[str, float]:
        """Add up the gradient of the whole rollout, part by part; the mean losses."""
        totals = dict.fromkeys(("policy_loss", "entropy", "value_loss"), 0.0)
        count = rollout.steps
        for part in self._parts_of(rollout, weight, returns):
            steps = len(part["actions"])
            log_probs = masked_log_softmax(part["logits"], part["masks"])
            spread = entropy(log_probs)
            policy = policy_loss(chosen(log_probs, part["actions"]), part["weight"], spread, self.ent_coef)
            loss = policy
            if self.critic is not None:
                error = value_loss(part["values"], part["returns"])
                loss = loss + error
                totals["value_loss"] += float(error.detach()) * steps / count
            (loss * (steps / count)).backward()  # type: ignore[no-untyped-call]
            totals["policy_loss"] += float(policy.detach()) * steps / count
            totals["entropy"] += float(spread.detach().mean()) * steps / count
        return totals

    def _parts_of(self, rollout: Rollout, weight: Floats, returns: Floats) -> Any:
        """The valid steps in parts that fit the cache, through the networks; all at once where recurrent."""
        valid = torch.as_tensor(rollout.valid)
        columns = {
            "actions": torch.as_tensor(rollout.actions),
            "weight": torch.as_tensor(weight, dtype=torch.float32),
            "returns": torch.as_tensor(returns.copy(), dtype=torch.float32),
        }
        if rollout.masks is not None:
            columns["masks"] = torch.as_tensor(rollout.masks)
        if self.config.recurrent:
            starts = torch.as_tensor(rollout.starts)
            logits, _ = self.policy.sequence(to_tensor(rollout.observations), starts)
            part = {name: column[valid] for name, column in columns.items()}
            part["logits"] = logits["policy"][valid]
            if self.critic is not None:
                part["values"] = self._values(rollout)[valid]
            yield {"masks": None, **part}
            return
        rows = valid.reshape(-1).nonzero()[:, 0]
        observations = flatten_time(to_tensor(rollout.observations))
        flat = {name: flatten_time(column) for name, column in columns.items()}
        for chunk in torch.split(rows, CHUNK):
            seen = _pick(observations, chunk)
            part = {name: column[chunk] for name, column in flat.items()}
            part["logits"] = self.policy(seen)["policy"]
            if self.critic is not None:
                part["values"] = self.critic(seen)["value"][:, 0]
            yield {"masks": None, **part}


def _under(prefix: str, weights: Any) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}


def _pick(observations: Any, rows: Tensor) -> Any:
    if isinstance(observations, dict):
        return {key: _pick(value, rows) for key, value in observations.items()}
    return observations[rows]
