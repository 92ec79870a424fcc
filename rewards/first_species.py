"""The rules of first-species counterpoint, note against note.

A rule names what it looks at (a field of `Move`) and is a function of that view that is True where it is broken.
Hard rules are errors. Soft rules are warnings: Fux himself breaks nearly every one of them somewhere. They are
worded so that each cost falls on one note and depends on little of the past; `simplified` says what a textbook
would ask beyond that. Sources: Fux, Gradus ad Parnassum, 1725; Jeppesen, Counterpoint, 1939; Salzer & Schachter,
Counterpoint in Composition, 1969; Schubert, Modal Counterpoint, Renaissance Style, 1999.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from .views import (
    ALTERATION,
    CANTUS_ALTERATION,
    CANTUS_LETTER,
    LETTER,
    Array,
    BarView,
    ClimaxView,
    F,
    LeapView,
    RunView,
    StepView,
    one_of,
    simple,
    sonority,
)

Look = Literal["unary", "pair", "triple", "run", "climax"]
TENTH = 9  # staff steps


@dataclass(frozen=True)
class Rule:
    """One rule: `cost` in units of an error; `message` may name what `fux._names` gives."""

    name: str
    severity: Literal["error", "warning"]
    looks_at: Look
    cost: float
    message: str
    broken: Callable[[Any], Array]
    source: str
    simplified: str = ""

    @property
    def is_hard(self) -> bool:
        """Whether breaking it is an error."""
        return self.severity == "error"


RULES: list[Rule] = []


def _rule(
    name: str, looks_at: Look, message: str, source: str, cost: float | None = None, simplified: str = ""
) -> Callable[[Callable[[Any], Array]], Callable[[Any], Array]]:
    """Add a rule: without a cost it is a hard one."""

    def add(broken: Callable[[Any], Array]) -> Callable[[Any], Array]:
        severity: Literal["error", "warning"] = "error" if cost is None else "warning"
        price = 1.0 if cost is None else cost
        RULES.append(Rule(name, severity, looks_at, price, message, broken, source, simplified))
        return broken

    return add


# Hard rules of one bar.


@_rule("range", "unary", "{note} lies further than a tenth outside the cantus's own range", "Fux 1725, I.1")
def _range(v: BarView) -> Array:
    return ~v.in_range


@_rule("consonance", "unary", "{note} against {cantus} is a dissonance ({interval})", "Fux 1725, I.1")
def _consonance(v: BarView) -> Array:
    return ~v.sonority.consonant


@_rule("opening", "unary", "the line opens on {interval}, not on {opening}", "Fux 1725, I.1")
def _opening(v: BarView) -> Array:
    """Above: unison, fifth or octave. Below: unison or octave, so that the bass is the final."""
    fifth_above = v.sonority.perfect & ~v.sonority.octave & (v.below == 0) & (v.sonority.own_steps > 0)
    return v.opening & ~(v.sonority.octave | fifth_above)


@_rule("ending", "unary", "the line ends on {interval}, not on a unison or an octave", "Fux 1725, I.1")
def _ending(v: BarView) -> Array:
    return v.last & ~v.sonority.octave


@_rule("cadence", "unary", "the penultimate bar makes {interval}, not {cadence}", "Fux 1725, I.1")
def _cadence(v: BarView) -> Array:
    """A major sixth above the cantus, a minor third below it; this raises the leading note on D, G and A."""
    interval = simple(v.sonority.own_steps, v.sonority.own_semitones)
    wanted = np.where(v.below == 1, one_of(interval, ((2, 3),)), one_of(interval, ((5, 9),)))
    return v.penultimate & ~(wanted & (v.sonority.own_steps > 0))


@_rule("inner-unison", "unary", "a unison inside the line", "Fux 1725, I.1")
def _inner_unison(v: BarView) -> Array:
    return v.sonority.unison & ~v.opening & ~v.last


@_rule(
    "diatonic",
    "pair",
    "{note} is foreign to the mode here",
    "Fux 1725, I.1; Jeppesen 1939",
    simplified="what makes B flat right must have sounded: one that only avoids a tritone on the way to a later F "
    "is foreign",
)
def _diatonic_flat(v: StepView) -> Array:
    """B flat only where B natural would make a tritone: against the cantus's F (or B flat), or straight after F."""
    cantus = (CANTUS_LETTER[v.cantus] == F) | (CANTUS_ALTERATION[v.cantus] == -1)
    after_f = (LETTER[v.note_before] == F) & (ALTERATION[v.note_before] == 0) & v.exists
    return np.broadcast_to((ALTERATION[v.note] == -1) & ~(cantus | after_f), v.shape)


@_rule("diatonic", "unary", "{note}: only the penultimate bar's leading note is raised", "Fux 1725, I.1")
def _diatonic_sharp(v: BarView) -> Array:
    return (ALTERATION[v.note] == 1) & ~(v.raised_leading_note & v.penultimate)


# Hard rules of two bars.


@_rule("direct-perfect", "pair", "both voices move the same way into {interval}", "Fux 1725, I.1")
def _direct_perfect(v: StepView) -> Array:
    return v.exists & v.same_way & v.sonority.perfect


@_rule("unison-leap", "pair", "the counterpoint leaps {into} a unison", "Fux 1725, I.1")
def _unison_leap(v: StepView) -> Array:
    return v.exists & (np.abs(v.steps) >= 2) & (v.sonority.unison | v.sonority_before.unison)


@_rule("converging-leap", "pair", "the voices leap together into {interval}", "Fux 1725, I.1 (battuta)")
def _converging_leap(v: StepView) -> Array:
    leap = (np.abs(v.steps) >= 2) | (np.abs(v.cantus_steps) >= 2)
    wider = np.abs(v.sonority_before.own_semitones) > np.abs(v.sonority.own_semitones)
    return v.exists & v.contrary & v.sonority.octave & wider & leap


@_rule("melodic-interval", "pair", "{before} to {note} is {move}, which is not sung", "Fux 1725, I.1")
def _melodic_interval(v: StepView) -> Array:
    """Seconds, thirds, fourth, fifth, octave, ascending minor sixth, or repetition."""
    within = simple(v.steps, v.semitones)
    small = one_of(within, ((1, 1), (1, 2), (2, 3), (2, 4), (3, 5), (4, 7))) & (np.abs(v.steps) < 7)
    octave = (np.abs(v.steps) == 7) & one_of(within, ((0, 0),))
    repeated = (v.steps == 0) & (v.semitones == 0)
    return v.exists & ~(small | octave | repeated | ((v.steps == 5) & (v.semitones == 8)))


# Soft rules.


@_rule("imperfect", "unary", "a perfect consonance ({interval}) inside the line", "Fux 1725, I.1", 0.001)
def _imperfect(v: BarView) -> Array:
    return v.sonority.perfect & ~v.opening & ~v.last & ~v.penultimate


@_rule("crossing", "unary", "the voices cross: {note} against {cantus}", "Salzer & Schachter 1969", 0.003)
def _crossing(v: BarView) -> Array:
    return np.where(v.sonority.own_steps == 0, v.sonority.own_semitones, v.sonority.own_steps) < 0


@_rule("spacing", "unary", "the voices are more than a tenth apart", "Jeppesen 1939", 0.002)
def _spacing(v: BarView) -> Array:
    return np.abs(v.sonority.own_steps) > TENTH


@_rule("motion", "pair", "both voices move the same way", "Fux 1725, I.1", 0.001)
def _motion(v: StepView) -> Array:
    return np.broadcast_to(v.exists & v.same_way, v.shape)


@_rule(
    "overlap",
    "pair",
    "a voice passes where the other has just been",
    "Salzer & Schachter 1969",
    0.002,
)
def _overlap(v: StepView) -> Array:
    passes = sonority(v.below, v.cantus_before, v.note).own_semitones < 0
    passed = sonority(v.below, v.cantus, v.note_before).own_semitones < 0
    return v.exists & (passes | passed)


@_rule("repetition", "pair", "{note} is repeated", "Jeppesen 1939", 0.001)
def _repetition(v: StepView) -> Array:
    return np.broadcast_to(v.exists & (v.direction == 0), v.shape)


@_rule("step", "pair", "a leap ({move}) rather than a step", "Fux 1725, I.1", 0.0005)
def _step(v: StepView) -> Array:
    return np.broadcast_to(v.exists & (np.abs(v.steps) >= 2), v.shape)


@_rule("wide-skip", "pair", "a skip over a fifth ({move})", "Fux 1725, I.1", 0.001)
def _wide_skip(v: StepView) -> Array:
    return np.broadcast_to(v.exists & (np.abs(v.steps) > 4), v.shape)


@_rule("leaping-together", "pair", "both voices leap the same way", "Salzer & Schachter 1969", 0.002)
def _leaping_together(v: StepView) -> Array:
    return v.exists & v.same_way & (np.abs(v.steps) >= 2) & (np.abs(v.cantus_steps) >= 2)


@_rule("cadence-step", "pair", "the final is not reached by step in contrary motion", "Fux 1725, I.1", 0.002)
def _cadence_step(v: StepView) -> Array:
    return v.exists & v.last & ~(v.contrary & (np.abs(v.steps) == 1))


@_rule(
    "recovery",
    "triple",
    "the leap before {before} is not recovered by a step back",
    "Jeppesen 1939",
    0.002,
    simplified="the very next note must turn back by step; filling the leap later does not count",
)
def _recovery(v: LeapView) -> Array:
    return v.exists & (v.size >= 2) & ~(v.steps == -v.direction)


@_rule(
    "outline",
    "triple",
    "two leaps one way that outline no triad",
    "Salzer & Schachter 1969",
    0.002,
    simplified="a third and a third, or a third and a fourth in either order, count as a triad whatever their quality",
)
def _outline(v: LeapView) -> Array:
    onward = v.steps * v.direction  # staff steps of a second leap the same way
    triad = ((v.size == 1) & ((onward == 2) | (onward == 3))) | ((v.size == 2) & (onward == 2))
    return v.exists & (v.size >= 1) & (onward >= 2) & ~triad


@_rule("run", "run", "more than three thirds or sixths in a row", "Salzer & Schachter 1969", 0.002)
def _run(v: RunView) -> Array:
    return v.would_be_fourth


@_rule(
    "compass",
    "climax",
    "{note} lies more than a tenth below the line's highest note",
    "Jeppesen 1939",
    0.001,
    simplified="falls are measured from the highest note so far; a rise past a tenth counts when the line comes "
    "down again, so that the lowest note need not be remembered",
)
def _compass(v: ClimaxView) -> Array:
    return np.broadcast_to(v.below_highest > TENTH, v.shape)


@_rule(
    "climax",
    "climax",
    "the highest note is not reached once only",
    "Jeppesen 1939",
    0.003,
    simplified="the climax need only be unique; where it stands is left free",
)
def _climax(v: ClimaxView) -> Array:
    return v.last & ~v.unique
