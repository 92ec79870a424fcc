"""`full`: every suite and study that ships with descant, one after another."""

from __future__ import annotations

from descant.catalogue import SUITES

from ..specs import Plan

# Minutes of one core with the parts' own seeds, of a machine that was shared: docs/results/full.md.
MINUTES: dict[str, float] = {
    "quick": 3,
    "regret": 13,
    "classic": 28,
    "counterpoint": 117,
    "kl-control": 53,
    "imitation": 38,
    "over-optimisation": 3.7,
    "rl-tuner": 117,
    "preferences": 24,
    "rlhf": 153,
    "translation": 129,
    "speed": 4.0,
}

FULL = Plan("full", tuple(name for name in SUITES if name != "full"))
"""All of them, in the order of the catalogue."""
