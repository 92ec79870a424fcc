"""MIXER (Ranzato, Chopra, Auli and Zaremba 2016): from cross-entropy, step by step, to REINFORCE.

    loss = [ - sum_{t < s} log pi(y*_t) + rl_coef sum_{t >= s} -(G_t - b_t) log pi(a_t) ] / steps

A translation begins with the words of the reference, and the policy writes its last tokens: none at first, `delta` more
at each stage, all in the end. b is a linear regression on the policy's features, which learn nothing from it.
Differences from the paper are listed in docs/mixer.md.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar, Literal

import numpy as np
from torch import Tensor, nn

from descant import parallel
from descant.agent import Environment
from descant.control import kl_loss, policy_log_probs
from descant.errors import DescantError
from descant.keeping import KeepingAgent, KeepingConfig
from descant.neural import pick, rollout_record, valid_parts
from descant.policies.categorical import chosen, entropy, masked_log_softmax
from descant.policies.making import make_network
from descant.policies.networks import Network
from descant.policies.sentences import sentence_shape
from descant.references import References
from descant.rollouts import Collector, Rollout
from descant.tasks import Bools, Floats, Ints
from descant.text.vocabularies import PAD


@dataclasses.dataclass(frozen=True)
class Config(KeepingConfig):
    """What can be chosen of MIXER."""

    num_envs: int = 64
    """Translations in an update, where the agent makes its environment from an id."""
    learning_rate: float = 1e-3
    """Adam's step size at the beginning."""
    lr_schedule: Literal["constant", "linear"] = "linear"
    """linear falls to zero at the end of the training."""
    xent: float = 0.0
    """Share of the training, at its beginning, that is cross-entropy alone."""
    anneal: float = 0.7
    """Share of the training after that, in which the tokens left to REINFORCE become more."""
    delta: int = 3
    """Tokens by which they become more at each stage."""
    tokens: int = 0
    """Last tokens that REINFORCE has in the end; 0 for all."""
    rl_coef: float = 1.0
    """Weight of REINFORCE's steps beside those of cross-entropy."""
    normalize_advantage: bool = False
    """Divide advantages by their deviation."""
    ent_coef: float = 0.0
    """Weight of the policy's entropy in the steps of REINFORCE."""
    max_grad_norm: float = 1.0
    """Longest gradient of the policy, and of the baseline."""
    hidden: tuple[int, ...] = (128, 256)
    """Widths of the policy's embeddings and layers."""
    recurrent: bool = True
    """Always: the policy translates."""
    trunk: Literal["gru", "transformer"] = "gru"
    """What encodes and decodes."""
    seed: int = 0
    """Everything random follows from it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.delta < 1 or self.tokens < 0:
            raise DescantError("delta must be 1 or more, and tokens 0 (all) or more.")
        if min(self.xent, self.anneal) < 0 or self.xent + self.anneal > 1:
            raise DescantError("xent and anneal must be 0 or more, and together 1 at most.")
        if min(self.learning_rate, self.max_grad_norm, self.rl_coef) <= 0 or self.ent_coef < 0:
            raise DescantError(
                "learning_rate, max_grad_norm and rl_coef must be positive, and ent_coef 0 or more."
            )
        if self.num_envs < 1 or not self.recurrent:
            raise DescantError("num_envs must be 1 or more, and recurrent stay on: mixer translates.")


def tail_of(done: float, config: Config, longest: int) -> int:
    """Last tokens that REINFORCE has, 0 to `longest`, when so much of the training is `done` (0 to 1)."""
    most = min(config.tokens or longest, longest)
    if done < config.xent:
        return 0
    if done >= config.xent + config.anneal:
        return most
    stages = math.ceil(most / config.delta)
    # The first stage begins at once, the last when the annealing is over.
    stage = 1 + math.floor((done - config.xent) / config.anneal * max(stages - 1, 1))
    return min(config.delta * stage, most)


class Features(nn.Module):
    """A head that hands on the features, cut off: what is learned from them does not reach the network."""

    def forward(self, features: Tensor) -> Tensor:
        """float[..., width]."""
        return features.detach()


class Baseline(nn.Linear):
    """A return from features, by linear regression."""

    def __init__(self, width: int) -> None:
        super().__init__(width, 1)
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)

    @property
    def weights(self) -> list[nn.Parameter]:
        """All parameters."""
        return list(self.parameters())


class Mixer(KeepingAgent):
    """Cross-entropy on the first tokens, REINFORCE on the last ones, whose number grows."""

    name: ClassVar[str] = "mixer"
    Config: ClassVar[type[Any]] = Config
    supports_recurrence: ClassVar[bool] = True
    deals = "rows"

    def __init__(self, env: Environment | None, config: Any, spaces: Any = None) -> None:
        super().__init__(env, config, spaces)
        self.known = None if env is None else References(env, "mixer")

    def build(self) -> dict[str, Network]:
        """The policy, which shows its features too, and the baseline."""
        c, space = self.config, self.observation_space
        if sentence_shape(space) is None:
            raise DescantError(
                "mixer learns from references, and this environment has none: train on descant/Translation-v0."
            )
        policy = make_network(space, {"policy": int(self.action_space.n)}, c.hidden, c.recurrent, c.trunk)
        policy.heads["features"] = Features()
        baseline: Any = Baseline(policy.trunk.out_features)
        return {"policy": policy, "baseline": baseline}

    def iterate(self, collector: Collector, total_timesteps: int) -> dict[str, float]:
        """One translation in every row, then one gradient step."""
        left = self.progress_left(total_timesteps)
        self.set_learning_rate(
            self.config.learning_rate * (left if self.config.lr_schedule == "linear" else 1)
        )
        longest = self.observation_space["target"].shape[0]
        tail = tail_of(1 - left, self.config, longest)
        rollout, own = self.write(collector, tail)
        record = self.update(rollout, own)
        self.num_timesteps += rollout.steps
        return record | {"tail": float(tail)}

    def write(self, collector: Collector, tail: int) -> tuple[Rollout, Bools]:
        """One translation in every row, references but for their last `tail` tokens; where the policy wrote."""
        targets: Any = None
        begun: Any = None
        t, free = -1, self.actor()

        def act(observation: Any, masks: Bools | None, starts: Bools) -> Ints:
            nonlocal targets, begun, t
            t += 1
            if t == 0:
                targets, begun = self._given(observation, tail)
            given = t < begun
            if given.all() or (not tail and begun.all()):  # what the policy is not asked now, it reads later
                return targets[:, t].astype(np.int64)
            actions: Ints = free(observation, masks, starts)
            if t < targets.shape[1]:
                actions = np.where(given, targets[:, t], actions)
            return actions

        rollout = collector.episodes(act, seed=self.env_seed)
        own = np.arange(len(rollout.actions))[:, None] >= begun
        return rollout, own & rollout.valid

    def _given(self, observation: Any, tail: int) -> tuple[Any, Ints]:
        """References int32[N, T], and how many tokens of each are given, int64[N]."""
        assert self.known is not None
        targets = self.known.of(observation)
        begun: Ints = np.maximum((targets != PAD).sum(axis=1) - tail, 0)
        return targets, begun

    def update(self, rollout: Rollout, own: Bools) -> dict[str, float]:
        """One gradient step on translations that the policy wrote where `own` bool[T, N]; what there is to log."""
        record = rollout_record(rollout)
        given = rollout.valid & ~own
        if rollout.masks is not None:  # an unknown word can't be written, nor learned
            given &= np.take_along_axis(rollout.masks, rollout.actions[..., None], -1)[..., 0]
        used = dataclasses.replace(rollout, valid=given | own)
        now = policy_log_probs(self.networks["policy"], used) if self.control.on else None
        acted = dataclasses.replace(rollout, valid=own)
        if own.any():
            priced, log_prior, kept = self.keep(acted, now)
            record |= kept
        else:
            priced, log_prior = acted, None
            self.references.prepare(rollout)
        columns: dict[str, Any] = {"own": own, "returns": _returns(priced).astype(np.float32)}
        if log_prior is not None and self.control.in_loss:
            columns["log_prior"] = log_prior.astype(np.float32)
        return record | self._descend(used, columns) | {"length": float(rollout.valid.sum(axis=0).mean())}

    def _descend(self, used: Rollout, columns: dict[str, Any]) -> dict[str, float]:
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()
        totals = self._backward(used, columns)
        totals |= self.add_penalty()
        norm = self.clip(list(self.networks.values()))
        for optimizer in self.optimizers.values():
            optimizer.step()
        return totals | {"grad_norm": norm}

    def _backward(self, used: Rollout, columns: dict[str, Any]) -> dict[str, float]:
        """Leave the gradient of the loss; its parts."""
        c, totals = self.config, dict.fromkeys(("xent_loss", "policy_loss", "value_loss", "entropy"), 0.0)
        written = int(columns["own"].sum())
        for part, heads in valid_parts(used, {"policy": self.networks["policy"]}, columns):
            log_probs = masked_log_softmax(heads["policy"]["policy"], part.get("masks"))
            taken, own = chosen(log_probs, part["actions"]), part["own"]
            loss = -taken[~own].sum()
            totals["xent_loss"] = float(loss.detach()) / max(used.steps - written, 1)
            if written:
                mine = pick({"returns": part["returns"], "features": heads["policy"]["features"]}, own)
                values = self.networks["baseline"](mine["features"])[:, 0]
                advantages = mine["returns"].to(values.dtype) - values.detach()
                scale = parallel.deviation(advantages) + 1e-8 if c.normalize_advantage else 1.0
                spread = entropy(log_probs[own])
                reinforce = -(advantages / scale * taken[own]).sum() - c.ent_coef * spread.sum()
                if "log_prior" in part:
                    cost = kl_loss(log_probs[own], part["log_prior"][own]).sum()
                    reinforce = reinforce + self.control.coef / scale * cost
                # The regression has its own parameters, so its weight is that of its step size.
                error = 0.5 * (values - mine["returns"]).square().sum() / written
                loss = loss + c.rl_coef * reinforce
                totals["policy_loss"] = float(reinforce.detach()) / written
                totals["value_loss"] = float(error.detach())
                totals["entropy"] = float(spread.detach().sum()) / written
                error.backward()
            (loss / used.steps).backward()  # type: ignore[no-untyped-call]
        return parallel.totals(totals)


def _returns(rollout: Rollout) -> Floats:
    """Reward from each step on, float[T, N], of rollouts whose valid steps are the last ones of each row."""
    rewards = np.where(rollout.valid, rollout.rewards, 0.0)
    total: Floats = rewards[::-1].cumsum(axis=0)[::-1]
    return total
