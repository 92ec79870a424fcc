"""Penalties on weights that keep what was learned before: `l2-sp` and `ewc`.

    l2-sp   1/2 lambda sum_i (w_i - w0_i)^2          (Li et al., "Explicit inductive bias for transfer learning", 2018)
    ewc     1/2 lambda sum_i F_i (w_i - w0_i)^2      (Kirkpatrick et al., "Overcoming catastrophic forgetting", 2017)

F is the diagonal of the Fisher information of the starting policy, over states of its own play and exact over actions:
F_i = mean over s of sum_a pi(a|s) (d log pi(a|s) / d w_i)^2. Along one weight, 1/2 F_i d^2 is KL(pi_w0 || pi_w) to
second order. Only weights that the policy's logits depend on are held.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from descant.conditioning import CODE, SEEN
from descant.devices import moved
from descant.errors import DescantError
from descant.policies.categorical import masked_log_softmax
from descant.policies.encoders import to_tensor
from descant.policies.networks import Network
from descant.rollouts import Rollout

ADDED, BENEATH = f"encoder.parts.{CODE}.", f"encoder.parts.{SEEN}."  # weights of a policy that sees a code
Kind = Literal["none", "l2-sp", "ewc"]


@dataclasses.dataclass(frozen=True)
class PenaltyConfig:
    """What can be chosen of where to start and of how to keep it."""

    init: str = ""
    """A run or checkpoint to take the policy's first weights from; empty for fresh ones."""
    penalty: Kind = "none"
    """Keep the weights near those of init: l2-sp by distance, ewc by Fisher information."""
    penalty_coef: float = 1.0
    """Weight of the penalty."""
    fisher_states: int = 128
    """States that ewc measures the Fisher information on."""

    def __post_init__(self) -> None:
        if self.penalty not in ("none", "l2-sp", "ewc"):
            raise DescantError(f"penalty must be none, l2-sp or ewc, not {self.penalty!r}.")
        if self.penalty != "none" and not self.init:
            raise DescantError(f"The penalty {self.penalty} keeps what init has learned: pass init, a run.")
        if not 0 <= self.penalty_coef < np.inf or self.fisher_states < 1:
            raise DescantError("penalty_coef must be 0 or more, and fisher_states 1 or more.")


def held(network: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that a network's policy depends on, by name: all but those of other heads."""
    named = network.named_parameters()
    return {n: p for n, p in named if not n.startswith("heads.") or n.startswith("heads.policy.")}


def quadratic(
    parameters: dict[str, nn.Parameter], start: dict[str, Tensor], scale: dict[str, Tensor] | None
) -> Tensor:
    """1/2 sum_i F_i (w_i - w0_i)^2, a scalar; F is 1 where `scale` is None."""
    total: Tensor = torch.zeros(())
    for name, parameter in parameters.items():
        squared = (parameter - start[name]) ** 2
        total = total + (squared if scale is None else scale[name] * squared).sum()
    return 0.5 * total


def fisher_diagonal(
    network: Network, log_probs: Iterator[Tensor], states: int | None = None
) -> dict[str, Tensor]:
    """F_i over states whose `log_probs` float[A] come with gradients, by the names of `held`.

    One backward pass for each action that can be taken: exact, and slow where there are many.
    """
    parameters = held(network)
    total = {name: torch.zeros_like(p) for name, p in parameters.items()}
    count = 0
    for row in log_probs:
        count += 1
        for action in (row > -1e8).nonzero()[:, 0]:
            gradients = torch.autograd.grad(
                row[action], list(parameters.values()), retain_graph=True, allow_unused=True
            )
            chance = row[action].detach().exp()
            for name, gradient in zip(total, gradients, strict=True):
                if gradient is not None:
                    total[name] += chance * gradient**2
        if states is not None and count >= states:
            break
    return {name: value / max(count, 1) for name, value in total.items()}


def states_of(
    network: Network, rollout: Rollout, states: int, generator: torch.Generator
) -> Iterator[Tensor]:
    """Log-probabilities float[A] with gradients of states drawn from a rollout; whole rows of a recurrent network."""
    observations = to_tensor(rollout.observations)
    valid = torch.as_tensor(rollout.valid)
    masks = None if rollout.masks is None else network.here(torch.as_tensor(rollout.masks))
    if network.recurrent:
        starts = torch.as_tensor(rollout.starts)
        for row in torch.randperm(valid.shape[1], generator=generator).tolist():
            seen = _at(observations, (slice(None), slice(row, row + 1)))
            logits = network.outputs(seen, starts[:, row : row + 1])["policy"][:, 0]
            rows = masked_log_softmax(logits, None if masks is None else masks[:, row])
            yield from rows[valid[:, row]]
        return
    places = valid.nonzero()
    drawn = places[torch.randperm(len(places), generator=generator)[:states]]
    for t, row in drawn.tolist():
        logits = network(_at(observations, (slice(t, t + 1), row)))["policy"]
        yield masked_log_softmax(logits, None if masks is None else masks[t, row][None])[0]


class Penalty:
    """The starting weights, and the Fisher diagonal once it is measured."""

    def __init__(self, config: PenaltyConfig, network: Network) -> None:
        self.config = config
        self.network = network
        self.start = {n: p.detach().clone() for n, p in held(network).items()} if self.on else {}
        self.fisher: dict[str, Tensor] | None = None

    @property
    def on(self) -> bool:
        """Whether anything is held."""
        return self.config.penalty != "none"

    def prepare(self, rollout: Rollout, generator: torch.Generator) -> None:
        """Measure the Fisher information on the first rollout, which the starting policy has played."""
        if self.config.penalty == "ewc" and self.fisher is None:
            drawn = states_of(self.network, rollout, self.config.fisher_states, generator)
            self.fisher = fisher_diagonal(self.network, drawn, self.config.fisher_states)

    def loss(self) -> Tensor:
        """What the weights as they stand cost: a scalar with gradients."""
        return self.config.penalty_coef * quadratic(held(self.network), self.start, self.fisher)

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint must hold."""
        kept = {f"start.{name}": value for name, value in self.start.items()}
        return kept | {f"fisher.{name}": value for name, value in (self.fisher or {}).items()}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take back what `tensors` gave."""
        starts = {n.removeprefix("start."): v for n, v in tensors.items() if n.startswith("start.")}
        self.start = moved(starts, self.network.device) or self.start
        fisher = {n.removeprefix("fisher."): v for n, v in tensors.items() if n.startswith("fisher.")}
        self.fisher = moved(fisher, self.network.device) or None


def load_policy(network: Network, path: Any) -> None:
    """Take the weights of a checkpoint's policy; DescantError where the architecture is another.

    A policy that sees whom an episode is for may begin as one that does not: then the code moves nothing yet.
    """
    from pathlib import Path

    from descant.runs.checkpoints import load_checkpoint
    from descant.runs.folders import find_checkpoint

    found = load_checkpoint(find_checkpoint(Path(path))).weights
    parted = any(name.startswith("policy.encoder.parts.") for name in found)
    for name, parameter in held(network).items():
        value = found.get(f"policy.{name}")
        if value is None and not parted:
            value = _without_code(name, parameter, found)
        if value is None or value.shape != parameter.shape:
            has = "no such weights" if value is None else f"{list(value.shape)}"
            raise DescantError(
                f"{path} has another network than this agent: {name} is {list(parameter.shape)} here and {has} "
                "there. Take its options hidden, recurrent and trunk, or one trained on this environment."
            )
        with torch.no_grad():
            parameter.copy_(value)


def _without_code(name: str, parameter: Tensor, found: Mapping[str, Tensor]) -> Tensor | None:
    """The weight of a policy that sees no code, where this one is its part; 0 for what the code adds."""
    if name.startswith(ADDED):
        return torch.zeros_like(parameter)
    return found.get(f"policy.{name.replace(BENEATH, 'encoder.', 1)}")


def _at(observations: Any, index: Any) -> Any:
    if isinstance(observations, dict):
        return {key: _at(value, index) for key, value in observations.items()}
    return observations[index]
