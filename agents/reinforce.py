"""REINFORCE (Williams 1992): whole episodes, reward-to-go, a baseline, an entropy bonus.

    g = E[ sum_t (G_t - b_t) grad log pi(a_t | s_t) ] + ent_coef * grad H(pi)

Every update draws one whole episode in every row of the vector environment, so that the gradient is unbiased:
cutting by a number of steps would favour short episodes. Differences from the paper: the baseline may be learned, or
be what the likeliest actions earn (self-critical: Rennie et al. 2017); advantages are scaled to unit deviation, Adam
takes the step, the bonus on entropy shrinks as training goes on, and rewards are discounted (gamma 0.9): what a note
costs shows within a few notes, and less noise is learned from. With a prior, the KL to it is taken from the reward
(`descant.control`). With `updates` above 1 the same episodes are learned from again, with importance weights
(`agents/importance.py`).
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from descant import parallel
from descant.control import kl_loss
from descant.errors import DescantError
from descant.keeping import KeepingAgent, KeepingConfig
from descant.neural import rollout_record, valid_parts
from descant.policies.categorical import chosen, entropy, masked_log_softmax
from descant.policies.encoders import to_tensor
from descant.policies.making import critic_trunk, make_network
from descant.policies.networks import Network
from descant.rollouts import Collector, Rollout
from descant.tasks import Bools, Floats, Ints

from .importance import Importance, ratios_of, weighted_returns

Baseline = Literal["none", "mean", "learned", "self-critical"]


@dataclasses.dataclass(frozen=True)
class Config(KeepingConfig):
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
    """What returns are measured from: nothing, their mean at each step, a second network, or, whole, the return of the
    likeliest actions from the same start (self-critical)."""
    reward_to_go: bool = True
    """Credit a step with what comes after it only, not with the whole episode."""
    updates: int = 1
    """Gradient steps on the same episodes; those after the first are off-policy and have importance weights."""
    importance: Importance = "per-decision"
    """Weights of all actions up to a reward, which is unbiased, or of the step's own action alone (first-order)."""
    importance_clip: float = 0.0
    """The largest weight; 0 sets no bound."""
    ent_coef: float = 1.0
    """Weight of the policy's entropy at the beginning, in units of an advantage of unit deviation."""
    ent_coef_final: float = 0.02
    """The same at the end; in between it goes in a line."""
    normalize_advantage: bool = True
    """Divide advantages by their deviation."""
    temperature: float = 1.0
    """What logits are divided by, the policy's and a prior's, acting and learning alike; a checkpoint's are not."""
    max_grad_norm: float = 1.0
    """Longest gradient of each network."""
    hidden: tuple[int, ...] = (256, 256)
    """Widths of the policy's layers."""
    critic_hidden: tuple[int, ...] = (128, 128)
    """Widths of the critic's layers."""
    recurrent: bool = False
    """Give both networks an LSTM, for observations that don't tell all."""
    trunk: Literal["lstm", "transformer", "gru"] = "lstm"
    """What remembers in the policy where recurrent is set; gru translates. A critic has an LSTM, to translate a gru."""
    seed: int = 0
    """Everything random follows from it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.baseline not in get_args(Baseline):
            raise DescantError(
                f"baseline must be one of {', '.join(get_args(Baseline))}, not {self.baseline!r}."
            )
        if self.updates < 1 or self.importance_clip < 0:
            raise DescantError("updates must be 1 or more, and importance_clip 0 (no bound) or more.")
        if self.importance not in ("per-decision", "first-order"):
            raise DescantError(f"importance must be per-decision or first-order, not {self.importance!r}.")
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


class Reinforce(KeepingAgent):
    """Policy gradient with whole-episode returns; feed-forward or LSTM policy, masks honoured throughout."""

    name: ClassVar[str] = "reinforce"
    Config: ClassVar[type[Any]] = Config
    supports_recurrence: ClassVar[bool] = True
    deals = "rows"

    def build(self) -> dict[str, Network]:
        """The policy, and a critic where the baseline is learned."""
        config, space = self.config, self.observation_space
        actions = int(self.action_space.n)
        form = (config.hidden, config.recurrent, config.trunk)
        networks = {"policy": make_network(space, {"policy": actions}, *form)}
        if config.baseline == "learned":
            memory = (config.recurrent, critic_trunk(space) if config.recurrent else "lstm")
            networks["critic"] = make_network(space, {"value": 1}, config.critic_hidden, *memory)
        return networks

    def iterate(self, collector: Collector, total_timesteps: int) -> dict[str, float]:
        """One whole episode in every row, then one gradient step or several."""
        rollout = collector.episodes(self.actor(), seed=self.env_seed)
        greedy = self._greedy(collector) if self.config.baseline == "self-critical" else None
        left = self.progress_left(total_timesteps)
        first, last = self.config.ent_coef, self.config.ent_coef_final
        self.set_learning_rate(
            self.config.learning_rate * (left if self.config.lr_schedule == "linear" else 1)
        )
        ent_coef, again = last + (first - last) * left, self.config.updates - 1
        behaviour = self.acting_log_probs(rollout) if again else None
        record = self.update(rollout, ent_coef, greedy=greedy)
        for _ in range(again):
            record |= {"ratio_max": self.update(rollout, ent_coef, behaviour, greedy)["ratio_max"]}
        self.num_timesteps += rollout.steps + (greedy.steps if greedy is not None else 0)
        return record

    def _greedy(self, collector: Collector) -> Rollout:
        """Episodes of the likeliest actions from the same starts, the KL taken from their rewards too."""
        state: Any = None

        def act(observation: Any, masks: Bools | None, starts: Bools) -> Ints:
            nonlocal state
            log_probs, state = self.joint_step(observation, masks, starts, state)
            return log_probs.argmax(dim=-1).numpy()

        rollout = collector.episodes(act, seed=self.env_seed)
        now = self.acting_log_probs(rollout) if self.control.on else None
        return self._priced(rollout, now)[0]

    def update(
        self,
        rollout: Rollout,
        ent_coef: float,
        behaviour: Floats | None = None,
        greedy: Rollout | None = None,
    ) -> dict[str, float]:
        """One gradient step on a rollout of whole episodes; what there is to log.

        `behaviour`, log-probabilities float[T, N, A], says which policy acted, if not the present one; `greedy` are
        the likeliest actions' episodes, which a self-critical baseline measures from.
        """
        valid, record = rollout.valid, rollout_record(rollout)
        weigh = self.control.on or behaviour is not None
        now = self.acting_log_probs(rollout) if weigh else None
        if behaviour is None:
            rollout, log_prior, kept = self.keep(rollout, now)
        else:
            rollout, log_prior, kept = self._priced(rollout, now)
        returns = rollout.returns(self.config.gamma)
        if not self.config.reward_to_go or greedy is not None:
            returns = np.broadcast_to(returns[0], returns.shape)
        baseline = self._baseline(rollout, returns, greedy)
        advantages, scale = returns - baseline, 1.0
        if behaviour is not None and now is not None:
            advantages = self._weighted(rollout, ratios_of(now, behaviour, rollout), baseline)
            kept |= {"ratio_max": float(ratios_of(now, behaviour, rollout)[valid].max())}
        if self.config.normalize_advantage:
            scale = advantages[valid].std() + 1e-8
            advantages = advantages / scale
        columns: dict[str, Any] = {
            "advantages": advantages.astype(np.float32),
            "returns": returns.astype(np.float32),
        }
        if self.control.in_loss and log_prior is not None:
            columns["log_prior"] = log_prior.astype(np.float32)
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()
        totals = self._backward(rollout, columns, ent_coef, self.control.coef / scale)
        totals |= self.add_penalty()
        # Clipped apart: the critic's large first gradients must not shrink the policy's.
        norm = self.clip(list(self.networks.values()))
        for optimizer in self.optimizers.values():
            optimizer.step()
        record |= totals | kept | {"grad_norm": norm}
        if greedy is not None:
            record["greedy_return"] = float(greedy.finished_returns().mean())
        if self.config.baseline == "learned":
            spread = float(returns[valid].var())
            record["explained_variance"] = 1 - float((returns - baseline)[valid].var()) / max(spread, 1e-12)
        return record | {"length": float(valid.sum(axis=0).mean())}

    def _priced(
        self, rollout: Rollout, log_policy: Floats | None
    ) -> tuple[Rollout, Floats | None, dict[str, float]]:
        """As `keep`, for episodes that were learned from before: nothing is measured or moved again."""
        if not self.control.on or log_policy is None:
            return rollout, None, {}
        log_prior = self.control.log_prior(rollout)
        rewards = rollout.rewards - self.control.price(rollout, log_policy, log_prior)
        return dataclasses.replace(rollout, rewards=rewards), log_prior, {}

    def _weighted(self, rollout: Rollout, ratios: Floats, baseline: Floats) -> Floats:
        """Advantages of episodes that another policy acted, float[T, N]."""
        c = self.config
        to_go = c.reward_to_go and c.baseline != "self-critical"
        returns, weights = weighted_returns(rollout, ratios, c.gamma, to_go, c.importance, c.importance_clip)
        return returns - weights * baseline

    def _baseline(self, rollout: Rollout, returns: Floats, greedy: Rollout | None = None) -> Floats:
        """What each step's return is measured from, float[T, N]."""
        valid, baseline = rollout.valid, np.zeros_like(returns)
        if greedy is not None:
            return np.broadcast_to(greedy.returns(self.config.gamma)[0], returns.shape)
        if self.config.baseline == "learned":
            with torch.inference_mode():
                told = (
                    to_tensor(rollout.observations),
                    torch.as_tensor(rollout.starts),
                    torch.as_tensor(valid),
                )
                seen, starts, mine = parallel.own(told, 1)
                found = self.networks["critic"].valid_outputs(seen, starts, mine)["value"][:, 0].cpu()
                values = found.new_zeros(mine.shape)
                values[mine] = found
                baseline = parallel.gather(values, 1).numpy().astype(np.float64)
        elif self.config.baseline == "mean":
            count = np.maximum(valid.sum(axis=1, keepdims=True), 1)
            mean = (returns * valid).sum(axis=1, keepdims=True) / count
            baseline = np.broadcast_to(mean, returns.shape)
        return baseline

    def _backward(
        self, rollout: Rollout, columns: dict[str, Any], ent_coef: float, kl_coef: float
    ) -> dict[str, float]:
        """Add up the gradient of the whole rollout, part by part; the mean losses."""
        totals: dict[str, float] = dict.fromkeys(("policy_loss", "entropy", "value_loss"), 0.0)
        for part, heads in valid_parts(rollout, self.networks, columns):
            if not len(part["actions"]):  # fewer steps than ranks
                continue
            share = len(part["actions"]) / rollout.steps
            log_probs = masked_log_softmax(self.logits(heads["policy"]), part.get("masks"))
            spread = entropy(log_probs)
            policy = policy_loss(chosen(log_probs, part["actions"]), part["advantages"], spread, ent_coef)
            loss = policy
            if "critic" in heads:
                error = value_loss(heads["critic"]["value"][:, 0], part["returns"])
                loss = loss + error
                totals["value_loss"] += float(error.detach()) * share
            if "log_prior" in part:
                loss = loss + kl_coef * kl_loss(log_probs, part["log_prior"]).mean()
            (loss * share).backward()  # type: ignore[no-untyped-call]
            totals["policy_loss"] += float(policy.detach()) * share
            totals["entropy"] += float(spread.detach().mean()) * share
        return parallel.totals(totals)
