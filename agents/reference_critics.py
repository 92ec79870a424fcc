"""A critic that sees the reference (Bahdanau et al. 2017), of what the policy translates without it.

    goal_t = r_t + gamma [(1 - lambda) sum_a p'(a|s_t+1) Q'(s_t+1, a) + lambda goal_t+1]      0 after the end
    critic: 1/2 (Q(s_t, a_t) - goal_t)^2 + q_spread sum_a (Q(s_t, a) - mean Q(s_t))^2
    actor:  - sum_a p(a|s_t) Q(s_t, a)

The critic is an encoder and a decoder like the policy's, which reads the reference in place of the source. p' and Q'
are target networks that follow slowly.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from descant.devices import CPU, moved
from descant.errors import DescantError
from descant.policies.categorical import MASKED, chosen, masked_log_softmax, probabilities
from descant.policies.encoders import to_tensor
from descant.policies.networks import Network
from descant.policies.sentences import Shape, sentence_shape
from descant.references import References
from descant.rollouts import Rollout
from descant.tasks import Floats

FOLLOWING = ("policy", "critic")  # what has a target network


def critic_of_references(space: spaces.Space[Any], hidden: tuple[int, ...]) -> Network:
    """Values of all actions, "q", of a reference in place of the source. DescantError for another space."""
    from descant.policies.translators import TranslationNetwork

    shape = sentence_shape(space)
    if shape is None:
        raise DescantError(
            "critic_sees reference learns from references, and this environment has none: train on "
            "descant/Translation-v0."
        )
    seen = Shape(shape.target, shape.target, shape.target_columns, shape.target_columns)
    return TranslationNetwork(seen, {"q": shape.target}, hidden, "gru")


def with_targets(networks: dict[str, Network]) -> dict[str, Network]:
    """The networks and a target for each, which no gradient reaches."""
    targets = {f"target_{n}": copy.deepcopy(networks[n]).requires_grad_(False) for n in FOLLOWING}
    return networks | targets


@torch.no_grad()
def follow(networks: Mapping[str, Network], tau: float) -> None:
    """Move each target so far of the way."""
    for name in FOLLOWING:
        target = networks[f"target_{name}"]
        for there, here in zip(target.parameters(), networks[name].parameters(), strict=True):
            there.lerp_(here, tau)


class Answered:
    """A rollout of whole episodes with its references: what the policy saw, and what the critic sees of it."""

    def __init__(
        self,
        rollout: Rollout,
        references: References,
        temperature: float = 1.0,
        device: torch.device = CPU,
    ) -> None:
        self.rollout = rollout
        self.temperature = temperature
        answers = references.of({key: part[0] for key, part in rollout.observations.items()})
        told = np.tile(answers[None], (len(rollout.actions), 1, 1))
        self.seen = to_tensor(rollout.observations)
        self.answered = to_tensor(rollout.observations | {"source": told})
        self.valid = torch.as_tensor(rollout.valid)
        self.actions = moved(torch.as_tensor(rollout.actions)[self.valid], device)
        masks = None if rollout.masks is None else torch.as_tensor(rollout.masks)[self.valid]
        self.masks = moved(masks, device)

    def log_probs(self, policy: Any) -> Tensor:
        """Of a policy at the steps that happened, float[K, A]."""
        return masked_log_softmax(policy.at(self.seen, self.valid)["policy"] / self.temperature, self.masks)

    def values(self, critic: Any) -> Tensor:
        """Of all actions at the steps that happened, float[K, A]."""
        found: Tensor = critic.at(self.answered, self.valid)["q"]
        return found


def goals(rollout: Rollout, values: Floats, gamma: float, lambda_: float) -> Floats:
    """What Q(s_t, a_t) is to be, float[T, N], from values float[T, N] of states; nothing follows an episode's end."""
    out, following, goal = np.zeros_like(values), np.zeros(values.shape[1]), np.zeros(values.shape[1])
    for t in reversed(range(len(out))):
        goal = rollout.rewards[t] + gamma * ((1 - lambda_) * following + lambda_ * goal)
        goal = np.where(rollout.valid[t], goal, 0.0)
        following = np.where(rollout.valid[t], values[t], 0.0)
        out[t] = goal
    return out


def expected_values(log_probs: Tensor, values: Tensor) -> Tensor:
    """sum_a p(a) Q(a), float[K], from float[K, A] each; masked actions add nothing."""
    return (probabilities(log_probs) * values).sum(dim=-1)


def critic_error(values: Tensor, log_probs: Tensor, actions: Tensor, goal: Tensor, q_spread: float) -> Tensor:
    """The critic's loss, a scalar, from values and log-probabilities float[K, A], actions int[K], goals float[K]."""
    error = 0.5 * torch.nn.functional.mse_loss(chosen(values, actions), goal)
    if not q_spread:
        return error
    allowed = (log_probs > MASKED / 2).to(values.dtype)
    mean = (values * allowed).sum(dim=-1, keepdim=True) / allowed.sum(dim=-1, keepdim=True)
    return error + q_spread * (allowed * (values - mean).square()).sum(dim=-1).mean()


def advantages_of(log_probs: Tensor, values: Tensor) -> Tensor:
    """Q less its mean under the policy, float[K, A].

    In units of reward: their deviation under the policy goes to zero as it makes up its mind, and to divide by it would
    make that irrevocable.
    """
    return values - expected_values(log_probs, values)[:, None]


def actor_error(log_probs: Tensor, advantages: Tensor) -> Tensor:
    """-mean of sum_a p(a) A(a), a scalar with gradients by the log-probabilities float[K, A] alone."""
    return -expected_values(log_probs, advantages.detach()).mean()
