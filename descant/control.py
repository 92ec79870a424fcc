"""KL control: reward minus c times the KL to a prior, with c fixed or held to a target.

    r'_t = r_t - c k_t,   k_t = log pi(a_t|s_t) - log p(a_t|s_t)  ("k1")   or   KL(pi(.|s_t) || p(.|s_t))  ("exact")

Both descend KL(pi || p) over whole sequences. The mean of grad log pi is zero, so k1 needs no more than the reward. The
exact KL of a state also depends on the policy's weights by itself: its derivative is added to the loss (`kl_loss`).

The adaptive coefficient is that of Ziegler et al. ("Fine-tuning language models from human preferences", 2019): with
the exact KL a step of every rollout, before it is learned from,

    c <- c (1 + gain * clip((KL - target) / target, -0.2, 0.2))
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from descant import parallel
from descant.errors import DescantError
from descant.kl import estimators, exact_kl, meter
from descant.policies.categorical import MASKED, masked_log_softmax, probabilities
from descant.policies.encoders import to_tensor
from descant.policies.networks import Network
from descant.priors import Prior, make_prior
from descant.rollouts import Rollout
from descant.tasks import Floats

CLIP = 0.2  # of the relative error of the KL, as in Ziegler et al.


@dataclasses.dataclass(frozen=True)
class ControlConfig:
    """What can be chosen of KL control."""

    prior: str = ""
    """What to stay near: uniform, task (the environment's own), a run or a checkpoint; empty for nothing."""
    kl_coef: float = 0.0
    """Reward that a nat of KL to the prior costs; where there is a kl_target, at the beginning."""
    kl_estimator: Literal["k1", "exact"] = "exact"
    """The KL of each state exactly, or its sample k1 = log pi(a) - log p(a)."""
    kl_target: float = 0.0
    """KL in nats a step that kl_coef is moved to hold; 0 leaves it as it is."""
    kl_gain: float = 0.1
    """How fast kl_coef moves: after a rollout by at most 0.2 times this share."""

    def __post_init__(self) -> None:
        if self.kl_estimator not in ("k1", "exact"):
            raise DescantError(f"kl_estimator must be k1 or exact, not {self.kl_estimator!r}.")
        if not (0 <= self.kl_coef < np.inf and 0 <= self.kl_target < np.inf and 0 < self.kl_gain <= 1):
            raise DescantError("kl_coef and kl_target must be 0 or more, and kl_gain above 0 and at most 1.")
        if self.kl_coef and not self.prior:
            raise DescantError("kl_coef needs a prior to stay near: pass prior, such as uniform or a run.")
        if self.kl_target and not self.kl_coef:
            raise DescantError(
                "kl_target moves kl_coef by shares of it: pass a kl_coef above 0 to begin with."
            )


def adapted(coef: float, kl: float, target: float, gain: float) -> float:
    """The coefficient after a rollout of mean KL `kl`: larger where it is above the target, smaller below."""
    return coef * (1 + gain * float(np.clip((kl - target) / target, -CLIP, CLIP)))


def kl_loss(log_policy: Tensor, log_prior: Tensor) -> Tensor:
    """KL(pi || p) of each state with gradients, float[B], from log-probabilities float[B, A]."""
    return (probabilities(log_policy) * (log_policy - log_prior)).sum(dim=-1)


class Control:
    """The prior, the coefficient as it stands, and where a recurrent prior stands in its episodes.

    The prior is made when first asked for, so that a trained agent can be loaded where its prior is not.
    """

    def __init__(self, config: ControlConfig, env: Any) -> None:
        self.config = config
        self.env = env
        self.coef = config.kl_coef
        self.temperature = 1.0  # of the policy, and so of the prior
        self.memory: Any = None
        self._prior: Prior | None = None

    @property
    def on(self) -> bool:
        """Whether there is a prior."""
        return bool(self.config.prior) or self._prior is not None

    @property
    def prior(self) -> Prior:
        """The frozen policy to stay near."""
        if self._prior is None:
            self._prior = make_prior(self.config.prior, self.env, getattr(self.config, "device", None))
        return self._prior

    @prior.setter
    def prior(self, prior: Prior) -> None:
        self._prior = prior

    @property
    def in_loss(self) -> bool:
        """Whether the loss takes `kl_loss` too."""
        return self.on and self.config.kl_estimator == "exact" and self.coef > 0

    def log_prior(self, rollout: Rollout) -> Floats:
        """Log-probabilities of the prior float[T, N, A], about -1e9 where masked; 0 where a step is not valid.

        DescantError where the prior gives an allowed action no chance: the KL would be infinite.
        """
        valid, masks = rollout.valid, rollout.masks
        network = getattr(self.prior, "networks", {}).get("policy")
        own = getattr(getattr(self.prior, "control", None), "temperature", 1.0)  # what an agent acts at
        if network is not None and network.cached:
            found, own = policy_log_probs(network, rollout)[valid], 1.0
        elif network is not None and network.recurrent:
            found = self._recurrent(rollout)[valid]
        else:
            allowed = None if masks is None else masks[valid]
            found = self.prior.log_probs(_pick(rollout.observations, valid), None, allowed)
        allowed = np.ones(found.shape, bool) if masks is None else masks[valid]
        if not (found[allowed] > MASKED / 2).all():
            raise DescantError(
                "The prior gives no chance to an action that is allowed, so the KL to it is infinite: take a prior "
                "with the environment's own mask, or one that leaves every allowed action a chance."
            )
        if self.temperature != own:
            found = cooled(found, self.temperature / own)
        out = np.zeros((*valid.shape, found.shape[-1]), found.dtype)
        out[valid] = np.where(allowed, found, MASKED)
        return out

    def _recurrent(self, rollout: Rollout) -> Floats:
        """Log-probabilities of a prior with memory, step by step, going on where the last rollout ended."""
        prior: Any = self.prior
        if rollout.starts[0].all():
            self.memory = None
        steps = []
        for t, starts in enumerate(rollout.starts):
            masks = None if rollout.masks is None else rollout.masks[t]
            log_probs, self.memory = prior.policy_step(
                _pick(rollout.observations, t), masks, starts, self.memory
            )
            steps.append(log_probs.numpy().astype(np.float64))
        return np.stack(steps)

    def price(self, rollout: Rollout, log_policy: Floats, log_prior: Floats) -> Floats:
        """What the KL costs at each step, c * k_t, float[T, N]; to be taken from the rewards."""
        if self.config.kl_estimator == "exact":
            cost = exact_kl(log_policy, log_prior)
        else:
            taken = rollout.actions[..., None]
            pi, p = (np.take_along_axis(x, taken, axis=-1)[..., 0] for x in (log_policy, log_prior))
            cost = estimators(pi, p)["k1"]
        return np.where(rollout.valid, self.coef * cost, 0.0)

    def measure(self, rollout: Rollout, log_policy: Floats, log_prior: Floats) -> dict[str, float]:
        """Move the coefficient where there is a target; what the KL meter says, and the coefficient."""
        record = meter(log_policy, log_prior, rollout.actions, rollout.valid)
        if self.config.kl_target:
            self.coef = adapted(self.coef, record["kl"], self.config.kl_target, self.config.kl_gain)
        return record | {"kl_coef": self.coef}


def cooled(log_probs: Floats, temperature: float) -> Floats:
    """Log-probabilities float[..., A] of logits over a temperature, from those of the logits."""
    found: Floats = torch.log_softmax(torch.as_tensor(log_probs) / temperature, dim=-1).numpy()
    return found


def policy_log_probs(network: Network, rollout: Rollout) -> Floats:
    """Log-probabilities of a policy network along whole episodes, float[T, N, A], about -1e9 where masked.

    Of steps that are not valid a network that translates says nothing: 0. With several ranks, each works out its rows.
    """
    if parallel.ranks().world == 1 or rollout.valid.shape[1] % parallel.ranks().world:
        return _log_probs(network, rollout)
    found = torch.as_tensor(_log_probs(network, parallel.own_steps(rollout)))
    everything: Floats = parallel.gather(found, 1).numpy()
    return everything


def _log_probs(network: Network, rollout: Rollout) -> Floats:
    if network.cached:
        return _cached_log_probs(network, rollout)
    with torch.inference_mode():
        heads, _ = network.sequence(to_tensor(rollout.observations), torch.as_tensor(rollout.starts))
        masks = None if rollout.masks is None else torch.as_tensor(rollout.masks)
        found: Floats = masked_log_softmax(heads["policy"].cpu(), masks).numpy().astype(np.float64)
    return found


def _cached_log_probs(network: Network, rollout: Rollout) -> Floats:
    valid, starts = torch.as_tensor(rollout.valid), torch.as_tensor(rollout.starts)
    masks = None if rollout.masks is None else torch.as_tensor(rollout.masks)[valid]
    with torch.inference_mode():
        logits = network.valid_outputs(to_tensor(rollout.observations), starts, valid)["policy"].cpu()
        log_probs = masked_log_softmax(logits, masks).numpy()
    found = np.zeros((*rollout.valid.shape, log_probs.shape[-1]), log_probs.dtype)
    found[rollout.valid] = log_probs
    return found


def _pick(observations: Any, index: Any) -> Any:
    if isinstance(observations, dict):
        return {key: _pick(value, index) for key, value in observations.items()}
    return observations[index]
