"""What `bench rlhf` does: the teacher's taste, how much is asked, how policies are tuned; chosen on seeds from 100."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

# The teacher likes seven of the ten terms of `rl-tuner`, at the paper's prices. The others hang on all of a melody
# (autocorrelation) or on one slip (repetition costs 100): a person's few answers would say nothing else.
TASTE: Mapping[str, float] = MappingProxyType(
    {
        "key": 1.0,
        "tonic": 1.0,
        "motif": 1.0,
        "intervals": 1.0,
        "leaps": 1.0,
        "unique-highest": 1.0,
        "unique-lowest": 1.0,
    }
)
TUNING: Mapping[str, Any] = MappingProxyType(
    {
        "recurrent": True,
        "critic_hidden": [64, 100],
        "num_envs": 128,
        "n_steps": 32,
        "ent_coef": 0.0,
        "gamma": 1.0,
        "gae_lambda": 0.95,
        "n_epochs": 3,
        "minibatch_size": 2048,
        "learning_rate": 3e-3,
        "kl_coef": 0.3,
        "kl_gain": 1.0,
    }
)
PRICE = 0.2  # logits that a nat costs, where the price is the same for all
MARGIN = 0.97  # share of the target at which policies are drawn back, since their KL is measured on a sample
FITTED: dict[str, Any] = {"models": 1, "test": 0.2}  # of reward models for groups
SHARES: Mapping[str, int] = MappingProxyType({"step-lovers": 16, "leap-lovers": 14, "high-lovers": 10})
# Tastes that sum to about nothing: no policy serves two of them. If the first two did not mind how high melodies
# are, the average would like what the third likes, and a policy tuned on it would be the third's own.
TASTES: Mapping[str, str] = MappingProxyType(
    {
        "step-lovers": "steps=1,leaps=-1,high=-0.5",
        "leap-lovers": "leaps=1,steps=-1,high=-0.5",
        "high-lovers": "high=1",
    }
)


@dataclasses.dataclass(frozen=True)
class Settings:
    """Of the rounds.

    taste: weights of terms of `rl-tuner`; temperature: of the teacher, in units of the taste; clips: written in each
    round, by the prior in the first and then by the last round's policy; pairs: asked about in each round, of which
    there are as many; strategy: how they are chosen once there is a reward model; model: its configuration; kl_target:
    KL to the prior in nats a step that no policy may pass, of which each round may spend twice as much as the one
    before; steps: environment steps of one tuning; beta: of dpo; compositions: measured of each policy.
    """

    taste: Mapping[str, float] = dataclasses.field(default_factory=lambda: dict(TASTE))
    temperature: float = 8.0
    clips: int = 600
    pairs: Sequence[int] = dataclasses.field(default_factory=lambda: [100, 200, 300])
    strategy: str = "random"
    model: Mapping[str, Any] = dataclasses.field(
        default_factory=lambda: {
            "per_step": True,
            "hidden": [32, 32],
            "patience": 5,
            "weight_decay": 3.0,
        }
    )
    kl_target: float = 0.2
    steps: int = 160_000
    tuning: Mapping[str, Any] = dataclasses.field(default_factory=lambda: dict(TUNING))
    beta: float = 0.1
    compositions: int = 2048

    @property
    def rounds(self) -> int:
        """How many there are."""
        return len(self.pairs)

    @property
    def mode(self) -> str:
        """When the reward is told: step by step where the reward model says it so, else in the end."""
        return "delta" if self.model.get("per_step") else "terminal"

    def budget(self, number: int) -> float:
        """KL a step that the policy of a round may have, counted from 1."""
        return self.kl_target * 2.0 ** (number - self.rounds)


@dataclasses.dataclass(frozen=True)
class GroupSettings:
    """Of the groups that disagree.

    groups: annotators of each; tastes: of each, as `parse_taste` reads them; each: comparisons of an annotator;
    temperature: of the teachers, in units of the taste; clips: of the prior, compared; models: configurations of
    reward models by kind; the rest as of the rounds.
    """

    groups: Mapping[str, int] = dataclasses.field(default_factory=lambda: dict(SHARES))
    tastes: Mapping[str, str] = dataclasses.field(default_factory=lambda: dict(TASTES))
    each: int = 100
    temperature: float = 0.02
    clips: int = 2000
    models: Mapping[str, Mapping[str, Any]] = dataclasses.field(
        default_factory=lambda: {
            "btl": FITTED,
            "dpl": FITTED,
            "per-user": FITTED,
            "vpl": {**FITTED, "hidden": [16, 16], "epochs": 20, "pretrained": 15, "beta": 0.2},
        }
    )
    kl_target: float = 0.3
    steps: int = 100_000
    tuning: Mapping[str, Any] = dataclasses.field(default_factory=lambda: dict(TUNING))
    compositions: int = 1024


ROUNDS, GROUPS = Settings(), GroupSettings()
# The same with one price of a nat for all policies, so that a reward model that is unsure moves its policy little.
# In 20 epochs vpl had not told all groups apart on one of the seeds 100 to 104, in 40 it had. Five models of each kind
# and codes of 64 comparisons: on seeds 100 to 109 no group preferred its own policy in less than 86 % of pairs.
PRICED = dataclasses.replace(
    GROUPS,
    models={
        "btl": {**GROUPS.models["btl"], "models": 5},
        "vpl": {**GROUPS.models["vpl"], "models": 5, "epochs": 40, "context": 64},
    },
    tuning={**{name: value for name, value in TUNING.items() if name != "kl_gain"}, "kl_coef": PRICE},
)
# One policy that reads z, on the same reward models at the same price. It learns three tastes and how to tell them
# apart, in steps enough: after 200,000 the group that preferred it least to the prior did so in 63 % of pairs, after
# 800,000 in 96 (seed 100). The policy of btl has as many.
READING = dataclasses.replace(PRICED, steps=800_000)
