"""VINE: several actions at states of an episode, each judged by playing on from there (Schulman et al. 2015).

    loss = - 1/N sum over branch points (s, a_1..a_K) of sum_k q_k A_k log pi(a_k | s)
    q_k = pi(a_k | s) / sum_j pi(a_j | s),    A_k = Q_k - sum_j q_j Q_j

Q_k is what comes after s when a_k is taken and the policy plays on to the end: what follows the branch is the same
policy for all K, so that they differ by the one action alone, and no other action's luck is in the credit. That needs a
task whose states can be copied, which all of descant's are. With the greedy policy playing before and after, it is
"locally optimal learning to search" (Chang et al. 2015) with the policy in both parts. Differences from the papers are
listed in docs/vine.md.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from descant.agent import Environment
from descant.branching import Trail, branch_returns
from descant.control import kl_loss
from descant.errors import DescantError
from descant.keeping import KeepingAgent, KeepingConfig
from descant.neural import rollout_record, valid_parts
from descant.policies.categorical import MASKED, entropy, masked_log_softmax, sample
from descant.policies.making import make_policy
from descant.policies.networks import Network
from descant.rollouts import Collector, Rollout
from descant.shells import TaskVectorEnv
from descant.tasks import Bools, Floats, Ints


@dataclasses.dataclass(frozen=True)
class Config(KeepingConfig):
    """What can be chosen of VINE."""

    num_envs: int = 64
    """Episodes in an update, where the agent makes its environment from an id."""
    points: int = 4
    """Steps of each episode at which other actions are tried, drawn by how unsure the policy is there; 0 for all."""
    actions: int = 4
    """Actions tried at each of them, the likeliest; 0 for all that are allowed."""
    follow: Literal["greedy", "sampled"] = "greedy"
    """Whether episodes, and what is played on from them, take the likeliest action each time or draw it."""
    learning_rate: float = 1e-3
    """Adam's step size at the beginning."""
    lr_schedule: Literal["constant", "linear"] = "linear"
    """linear falls to zero at the end of the training."""
    ent_coef: float = 0.0
    """Weight of the policy's entropy at the states that are learned from, in units of the reward."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Numbers of the gradient steps of a network that translates; bfloat16 pays on CUDA, and on processors with AMX."""
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
        if self.points < 0 or self.actions < 0 or self.actions == 1 or self.num_envs < 1:
            raise DescantError(
                "num_envs must be 1 or more, points 0 (all) or more, and actions 0 (all) or 2 or more: one alone has "
                "nothing to be compared with."
            )
        if self.follow not in ("greedy", "sampled"):
            raise DescantError(f"follow must be greedy or sampled, not {self.follow!r}.")
        if self.learning_rate <= 0 or self.max_grad_norm <= 0 or self.ent_coef < 0 or not self.hidden:
            raise DescantError(
                "learning_rate and max_grad_norm must be positive, ent_coef 0 or more, and hidden name a width."
            )
        if self.precision not in ("float32", "bfloat16"):
            raise DescantError(f"precision must be float32 or bfloat16, not {self.precision!r}.")
        if self.prior and self.kl_estimator != "exact":
            raise DescantError("vine has the KL in its loss: leave kl_estimator exact.")


def branch_points(log_policy: Floats, valid: Bools, points: int, rng: np.random.Generator) -> Bools:
    """`points` steps of each row, bool[T, N], drawn without replacement by 1 - max pi(a|s); all with 0 points.

    From log-probabilities float[T, N, A]. Of steps where all but one action have no chance, none is drawn.
    """
    unsure = np.where(valid, -np.expm1(np.minimum(log_policy.max(axis=-1), 0.0)), 0.0)
    if not points:
        return valid & (unsure > 0)
    with np.errstate(divide="ignore"):
        scores = np.log(unsure) + rng.gumbel(size=unsure.shape)
    order = np.argsort(-scores, axis=0, kind="stable")[:points]
    found = np.zeros(valid.shape, bool)
    np.put_along_axis(found, order, True, axis=0)
    return found & (unsure > 0)


def tried_actions(log_probs: Floats, taken: Ints, number: int) -> Ints:
    """The `number` likeliest actions of each point int[P, K], the one that was taken among them; all with 0.

    From log-probabilities float[P, A] and int[P]. Where it is none of the likeliest, it is put in the last one's place.
    """
    actions = log_probs.shape[1]
    if not number or number >= actions:
        return np.tile(np.arange(actions), (len(taken), 1))
    likely = np.argpartition(-log_probs, number - 1, axis=1)[:, :number]
    order = np.argsort(-np.take_along_axis(log_probs, likely, axis=1), axis=1, kind="stable")
    found: Ints = np.take_along_axis(likely, order, axis=1)
    missing = ~(found == taken[:, None]).any(axis=1)
    found[missing, -1] = taken[missing]
    return found


def branch_credits(log_probs: Floats, values: Floats) -> Floats:
    """q (Q - mean of Q under q), float[P, K], from log-probabilities of the actions tried and their values."""
    weights = np.exp(log_probs - log_probs.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    credits: Floats = weights * (values - (weights * values).sum(axis=1, keepdims=True))
    return credits


class Vine(KeepingAgent):
    """One gradient step on actions that were tried at some states of each episode."""

    name: ClassVar[str] = "vine"
    Config: ClassVar[type[Any]] = Config
    supports_recurrence: ClassVar[bool] = True

    def __init__(self, env: Environment | None, config: Any, spaces: Any = None) -> None:
        super().__init__(env, config, spaces)
        if env is not None and not isinstance(env.unwrapped, TaskVectorEnv):
            raise DescantError(
                f"vine plays on from copies of states, which {type(env.unwrapped).__name__} has not: take one of "
                "descant's environments, or another agent."
            )

    def build(self) -> dict[str, Network]:
        """The policy alone."""
        c, actions = self.config, int(self.action_space.n)
        return make_policy(self.observation_space, actions, c.hidden, c.recurrent, c.trunk, c.precision)

    def choose(self, log_probs: Tensor) -> Ints:
        """What is played, int[N], from log-probabilities float[N, A]."""
        if self.config.follow == "greedy":
            return log_probs.argmax(dim=-1).numpy()
        return sample(log_probs, self.generator).numpy()

    def iterate(self, collector: Collector, total_timesteps: int) -> dict[str, float]:
        """One whole episode in every row, other actions tried at some of its steps, and a gradient step."""
        linear = self.config.lr_schedule == "linear"
        left = self.progress_left(total_timesteps) if linear else 1.0
        self.set_learning_rate(self.config.learning_rate * left)
        trail, log_policy = self.play(collector)
        rollout, rng = trail.rollout, np.random.default_rng([self.env_seed, 1])
        self.refuse_no_numbers([float(log_policy[rollout.valid].max())])
        step, row = np.nonzero(branch_points(log_policy, rollout.valid, self.config.points, rng))
        where = (step, row)
        tried = tried_actions(log_policy[where], rollout.actions[where], self.config.actions)
        allowed = np.take_along_axis(log_policy[where], tried, axis=1) > MASKED / 2
        values, steps = branch_returns(self, trail, where, tried, allowed, rng)
        if not np.isfinite(values).all():
            raise DescantError(
                f"The environment's reward is not finite after step {self.num_timesteps}, where actions are tried: "
                "mend the environment. The last checkpoint is as it was."
            )
        record = self.update(rollout, log_policy, where, tried, values)
        self.num_timesteps += rollout.steps + steps
        return record

    def play(self, collector: Collector) -> tuple[Trail, Floats]:
        """Whole episodes, and log-probabilities of all actions float[T, N, A]."""
        states, memories, seen = [], [], []
        bare: Any = collector.env.unwrapped
        remembers = self.networks["policy"].recurrent and not self.networks["policy"].cached
        memory: Any = None

        def act(observation: Any, masks: Bools | None, starts: Bools) -> Ints:
            nonlocal memory
            log_probs, memory = self.policy_step(observation, masks, starts, memory)
            states.append(bare.state)
            memories.append(memory if remembers else None)
            seen.append(log_probs)
            return self.choose(log_probs)

        rollout = collector.episodes(act, seed=self.env_seed)
        limit = np.inf if bare.max_episode_steps is None else bare.max_episode_steps
        return Trail(bare.task, rollout, states, memories, limit), torch.stack(seen).numpy()

    def update(
        self, rollout: Rollout, log_policy: Floats, where: tuple[Ints, Ints], tried: Ints, values: Floats
    ) -> dict[str, float]:
        """A gradient step; `where` are P steps and rows, `tried` int[P, K] actions there, of `values` float[P, K]."""
        _, log_prior, measured = self.keep(rollout, log_policy)
        log_probs = np.take_along_axis(log_policy[where], tried, axis=1).astype(np.float64)
        credits = branch_credits(log_probs, values)
        columns: dict[str, Any] = {}
        for name, found, kind in (("tried", tried, np.int64), ("credits", credits, np.float32)):
            columns[name] = np.zeros((*rollout.valid.shape, tried.shape[1]), kind)
            columns[name][where] = found
        used = rollout
        if log_prior is not None and self.control.in_loss:
            columns["prior"] = log_prior
        else:
            valid = np.zeros_like(rollout.valid)
            valid[where] = True
            used = dataclasses.replace(rollout, valid=valid)
        record = (
            rollout_record(rollout)
            | measured
            | branch_record(rollout.actions[where], tried, values, log_probs)
        )
        record["length"] = float(rollout.valid.sum(axis=0).mean())
        return record | self._gradient_step(used, columns)

    def _gradient_step(self, rollout: Rollout, columns: dict[str, Any]) -> dict[str, float]:
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()
        policy, rows, total = self.networks["policy"], rollout.valid.shape[1], 0.0
        policy.autocast = self.config.precision == "bfloat16"
        for part, heads in valid_parts(rollout, self.networks, columns) if rollout.steps else ():
            log_probs = masked_log_softmax(self.logits(heads["policy"]), part.get("masks"))
            loss = -(part["credits"] * log_probs.gather(-1, part["tried"])).sum() / rows
            if self.config.ent_coef:
                loss = loss - self.config.ent_coef * entropy(log_probs).sum() / rows
            if "prior" in part:
                loss = loss + self.control.coef * kl_loss(log_probs, part["prior"]).sum() / rows
            loss.backward()
            total += float(loss.detach())
        record = {"policy_loss": total} | self.add_penalty()
        policy.autocast = False
        record["grad_norm"] = self.clip(list(self.networks.values()))
        for optimizer in self.optimizers.values():
            optimizer.step()
        return record


def branch_record(taken: Ints, tried: Ints, values: Floats, log_probs: Floats) -> dict[str, float]:
    """What there is to log of P branch points: how much better the best action was, and at how many it was another."""
    if not len(taken):
        return {"points": 0.0}
    played = values[tried == taken[:, None]]
    best = np.where(log_probs > MASKED / 2, values, -np.inf).max(axis=1)
    gain = best - played
    return {
        "points": float(len(taken)),
        "points_equal": float((np.ptp(values, axis=1) <= 1e-9).mean()),
        "better_found": float((gain > 1e-9).mean()),
        "gain": float(gain.mean()),
    }
