"""EM: reward-weighted regression (Dayan and Hinton 1997; Peters and Schaal 2007), and its filtered variant.

    E-step: episodes of pi_k with weights w = exp(R / beta);    M-step: pi_k+1 = argmax sum of w log pi(episode)

With every episode at hand and a policy that can fit any, K steps from p give p exp(K R / beta) / Z: the optimum of
E[R] - c KL(pi || p) at c = beta / K. So EM is KL control whose price falls with every step. `filter` above 0 keeps that
share of the episodes, the best, with equal weights, and fits the base model to them anew each round (as in rejection
sampling: Zelikman et al. 2022; Gulcehre et al. 2023). Differences from the papers: weights are normalised within a
batch, and the M-step is a number of gradient steps on it, not a fit to the end.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from torch import Tensor

from descant.agent import Environment, Parts
from descant.devices import DeviceConfig
from descant.errors import DescantError
from descant.neural import NeuralAgent, rollout_record, under, valid_parts
from descant.penalties import load_policy
from descant.policies.categorical import chosen, masked_log_softmax
from descant.policies.making import make_network
from descant.policies.networks import Network
from descant.rollouts import Collector, Rollout
from descant.tasks import Floats

from .groups import whole_returns

if TYPE_CHECKING:
    from descant.runs.checkpoints import Checkpoint


@dataclasses.dataclass(frozen=True)
class Config(DeviceConfig):
    """What can be chosen of EM."""

    num_envs: int = 256
    """Episodes in a round, where the agent makes its environment from an id."""
    beta: float = 1.0
    """Temperature of the weights exp(R / beta), in units of reward."""
    filter: float = 0.0
    """Share of the episodes kept, the best, with equal weights, and the base model fitted anew; 0 for weights."""
    init: str = ""
    """A run or checkpoint whose policy is the base model; empty for an untrained one."""
    epochs: int = 4
    """Gradient steps of an M-step."""
    learning_rate: float = 3e-3
    """Adam's step size."""
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
        if not (self.beta > 0 and np.isfinite(self.beta)):
            raise DescantError(
                f"beta must be above 0, not {self.beta}: a small one follows the best episodes only."
            )
        if not 0 <= self.filter < 1:
            raise DescantError(f"filter must be 0 (off) or a share below 1, not {self.filter}.")
        if min(self.num_envs, self.epochs) < 1 or self.learning_rate <= 0 or not self.hidden:
            raise DescantError(
                "num_envs, epochs and learning_rate must be positive, and hidden name a width at least."
            )


def reward_weights(returns: Floats, beta: float) -> Floats:
    """exp(R / beta), normalised to sum to 1: float[N] from float[N]. Adding to all returns changes nothing."""
    weights = np.exp((returns - returns.max()) / beta)
    normalised: Floats = weights / weights.sum()
    return normalised


def best_share(returns: Floats, share: float) -> Floats:
    """Equal weights, summing to 1, for the best `share` of the episodes, one at least; ties by order: float[N]."""
    kept = np.argsort(-returns, kind="stable")[: max(round(share * len(returns)), 1)]
    weights = np.zeros(len(returns))
    weights[kept] = 1 / len(kept)
    return weights


def weighted_likelihood_loss(log_probs: Tensor, weights: Tensor) -> Tensor:
    """-sum w log pi(a|s), a scalar, from float[B] each; the weight of a step is its episode's."""
    return -(weights * log_probs).sum()


class EM(NeuralAgent):
    """Rounds of episodes, weighted by their returns, and maximum likelihood on them."""

    name: ClassVar[str] = "em"
    Config: ClassVar[type[Any]] = Config
    supports_recurrence: ClassVar[bool] = True

    def __init__(self, env: Environment | None, config: Any, spaces: Any = None) -> None:
        super().__init__(env, config, spaces)
        if spaces is None and config.init:
            load_policy(self.networks["policy"], config.init)
        self.base = {name: weight.clone() for name, weight in self.networks["policy"].state_dict().items()}

    def build(self) -> dict[str, Network]:
        """The policy alone."""
        config, actions = self.config, int(self.action_space.n)
        form = (config.hidden, config.recurrent, config.trunk)
        return {"policy": make_network(self.observation_space, {"policy": actions}, *form)}

    def iterate(self, collector: Collector, total_timesteps: int) -> dict[str, float]:
        """One round."""
        rollout = collector.episodes(self.actor(), seed=self.env_seed)
        record = self.update(rollout)
        self.num_timesteps += rollout.steps
        return record

    def update(self, rollout: Rollout) -> dict[str, float]:
        """E-step and M-step on whole episodes; what there is to log."""
        returns = whole_returns(rollout)
        if self.config.filter:
            weights = best_share(returns, self.config.filter)
            self.networks["policy"].load_state_dict(self.base)
            self.optimizers = self.make_optimizers()
        else:
            weights = reward_weights(returns, self.config.beta)
        used = dataclasses.replace(rollout, valid=rollout.valid & (weights > 0))
        columns = {"weights": np.tile(weights, (len(rollout.rewards), 1))}
        steps = [self._gradient_step(used, columns) for _ in range(self.config.epochs)]
        record = {name: float(np.mean([step[name] for step in steps])) for name in steps[0]}
        record["effective_episodes"] = float(1 / (weights**2).sum())
        return rollout_record(rollout) | record | {"length": float(rollout.valid.sum(axis=0).mean())}

    def _gradient_step(self, rollout: Rollout, columns: dict[str, Any]) -> dict[str, float]:
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()
        total = 0.0
        for part, heads in valid_parts(rollout, self.networks, columns):
            log_probs = masked_log_softmax(heads["policy"]["policy"], part.get("masks"))
            loss = weighted_likelihood_loss(chosen(log_probs, part["actions"]), part["weights"])
            loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        norm = self.clip([self.networks["policy"]])
        for optimizer in self.optimizers.values():
            optimizer.step()
        return {"policy_loss": total, "grad_norm": norm}

    def parts(self) -> Parts:
        """The base model too."""
        parts = super().parts()
        return Parts({**parts.weights, **{f"base.{k}": v for k, v in self.base.items()}}, parts.state)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take back what `parts` gave."""
        super().restore(checkpoint)
        self.base = under("base.", checkpoint.weights)
