"""`bench rlhf`: a policy from comparisons, from the first question to melodies that the teacher prefers.

1. Rounds. The prior (`--prior`, a run of `descant pretrain`; else one is made) writes melodies, a noisy teacher judges
   pairs of them, an ensemble is fitted to all answers so far, `ppo` tunes the prior on it near the prior, and the next
   round asks about what the tuned policy writes too. Beside it: `dpo` straight from the same comparisons, tuning on the
   teacher's taste itself, and the prior.
2. Groups that disagree: `btl`, `dpl` and `vpl` on comparisons held out, policies tuned for a group's z, with the same
   KL for all and with the same price of a nat, one policy that reads z, and pluralism three ways.

After Christiano et al. 2017, Ziegler et al. 2019 and Poddar et al. 2024. The bars are in `rlhf_tables`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .jobs import Done, Job
from .rl_tuner_prior import OWN, given, prior_in
from .rlhf_settings import GROUPS, PRICED, READING, ROUNDS
from .rlhf_tables import (
    accuracy_table,
    bars_table,
    plural_table,
    priced_table,
    reading_table,
    rounds_table,
    steerable_table,
)
from .studies import Study, Table

WORK = {
    "the prior": "rlhf_rounds:untuned",
    "rules": "rlhf_rounds:by_rules",
    "rounds": "rlhf_rounds:learned",
    "groups": "rlhf_groups:disagreeing",
    "groups at one price": "rlhf_groups:at_one_price",
    "groups, one policy": "rlhf_groups:reading",
}
SETTINGS = {
    "groups": GROUPS,
    "groups at one price": PRICED,
    "groups, one policy": READING,
}  # and ROUNDS of the others


def prior_facts(prior: dict[str, Any], folder: str) -> dict[str, Any]:
    """Make the prior where it is not there; what `descant pretrain` said of it."""
    return prior_in(folder, prior).facts


def jobs(seeds: Sequence[int], prior: Path | None = None) -> list[Job]:
    """The prior, then every part on every seed."""
    said = dict(OWN) if prior is None else given(prior)
    made = [Job("prior", f"{__name__}:prior_facts", {"prior": said}, shares="prior")]
    for title, work in WORK.items():
        for seed in seeds:
            settings = dataclasses.asdict(SETTINGS.get(title, ROUNDS))
            arguments = {"seed": seed, "settings": settings, "prior": said}
            made.append(Job(f"{title} seed {seed}", f"{__package__}.{work}", arguments, shares="prior"))
    return made


def tables(done: Sequence[Done], out: Path) -> list[Table]:
    """Rounds, groups, pluralism, bars."""
    makers = (
        rounds_table,
        accuracy_table,
        steerable_table,
        priced_table,
        reading_table,
        plural_table,
        bars_table,
    )
    return [make(done) for make in makers]


RLHF = Study("rlhf", jobs, tables, seeds=10, options=("prior",))
"""Preferences to policies: three rounds with a teacher, and three groups that disagree."""
