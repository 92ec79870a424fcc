"""How two voices move against each other."""

from __future__ import annotations

from enum import StrEnum

from descant.music.intervals import Interval
from descant.music.pitches import Pitch


class Motion(StrEnum):
    """The four motions of counterpoint, and none at all."""

    CONTRARY = "contrary"
    OBLIQUE = "oblique"
    SIMILAR = "similar"
    PARALLEL = "parallel"
    STATIC = "static"


def motion(lower_from: Pitch, upper_from: Pitch, lower_to: Pitch, upper_to: Pitch) -> Motion:
    """The motion of two voices from one pair of notes to the next.

    Parallel motion keeps the number of the interval (a major third may follow a minor one); similar motion is
    any other in one direction. Static: both voices repeat.
    """
    lower, upper = Interval.between(lower_from, lower_to), Interval.between(upper_from, upper_to)
    if lower.direction == 0 or upper.direction == 0:
        return Motion.STATIC if lower.direction == upper.direction else Motion.OBLIQUE
    if lower.direction != upper.direction:
        return Motion.CONTRARY
    return Motion.PARALLEL if lower.steps == upper.steps else Motion.SIMILAR
