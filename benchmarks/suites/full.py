"""`full`: every suite and study that ships with descant, one after another."""

from __future__ import annotations

from descant.catalogue import SUITES

from ..specs import Plan

# Minutes of one core with the parts' own seeds, from the pages in docs/results and from the README.
MINUTES: dict[str, float] = {
    "quick": 6,
    "regret": 12,
    "classic": 32,
    "counterpoint": 120,
    "kl-control": 53,
    "imitation": 38,
    "over-optimisation": 1.3,
}

FULL = Plan("full", tuple((name, MINUTES.get(name)) for name in (*SUITES, "speed") if name != "full"))
"""All of them, in the order of the catalogue; parts that were never timed have no minutes."""
