"""References: correct answers that an environment knows, for agents that learn from them by cross-entropy too.

The contract is a task's method `references(observation) -> int32[n, T]`: for the source that each row of observations
shows, whatever is written already, one correct translation, EOS at its end, then PAD; PAD alone where there is none
that can be written. So what an agent collected, in whatever order, is enough to ask for them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from descant.errors import DescantError
from descant.neural import valid_parts
from descant.policies.categorical import chosen, masked_log_softmax
from descant.policies.networks import Network
from descant.policies.sentences import sentence_shape
from descant.rollouts import Rollout
from descant.text.examples import Examples
from descant.text.vocabularies import PAD

MOST = 64  # references that one gradient step learns from


class References:
    """The references of an environment's sources.

    Raises:
        DescantError: for an environment that has none; `what` says who asks.
    """

    def __init__(self, env: Any, what: str) -> None:
        bare = env.unwrapped
        singles = getattr(bare, "envs", ())  # a SyncVectorEnv's
        task = getattr(bare, "task", None) or next(
            (getattr(e.unwrapped, "task", None) for e in singles), None
        )
        read = getattr(task, "references", None)
        space = env.single_observation_space
        if read is None or task.observation_space != space or sentence_shape(space) is None:  # type: ignore[union-attr]
            raise DescantError(
                f"{what} learns from references, and this environment has none: train on descant/Translation-v0."
            )
        self._read = read

    def of(self, observation: Any) -> NDArray[np.int32]:
        """int32[n, T] of observations with a leading axis n."""
        found: NDArray[np.int32] = self._read(observation)
        return found

    def shown_in(self, rollout: Rollout) -> Examples | None:
        """Each source of a rollout once with its reference; None where none has one."""
        first = rollout.starts.copy()
        first[0] = True
        first &= rollout.valid
        sources = np.unique(rollout.observations["source"][first], axis=0)
        targets = self.of({"source": sources})
        kept = targets[:, 0] != PAD
        return Examples(sources[kept], targets[kept]) if kept.any() else None


def reference_loss(network: Network, shown: Rollout) -> Tensor:
    """Mean negative log-likelihood in nats a token of references shown as episodes, a scalar with gradients.

    With several ranks, what this one's share adds to it.
    """
    total: Tensor = torch.zeros(())
    for part, heads in valid_parts(shown, {"policy": network}, {}):
        taken = chosen(masked_log_softmax(heads["policy"]["policy"]), part["actions"])
        total = total - taken.sum().cpu() / shown.steps
    return total


class CrossEntropy:
    """What policy-gradient agents add to their loss with `xent_coef`: the cross-entropy of the references.

    All sources of the rollout that is learned from count alike; with more than `MOST`, each gradient step draws some.
    """

    def __init__(self, coef: float, references: References | None) -> None:
        self.coef, self._references = coef, references
        self._shown: Examples | None = None

    @property
    def on(self) -> bool:
        """Whether anything is added."""
        return self._references is not None

    def prepare(self, rollout: Rollout) -> None:
        """Take the references of a rollout's sources."""
        if self._references is not None:
            self._shown = self._references.shown_in(rollout)

    def loss(self, network: Network, generator: torch.Generator) -> Tensor | None:
        """`reference_loss` of the rollout's sources; None where they have no references."""
        shown = self._shown
        if shown is None or not shown.steps:
            return None
        rows = np.arange(len(shown.targets))
        if len(rows) > MOST:
            rows = np.sort(torch.randperm(len(rows), generator=generator)[:MOST].numpy())
        return reference_loss(network, shown.take(rows))
