"""The reward `fux`: what a note of first-species counterpoint costs, and why."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from descant.errors import DescantError, did_you_mean
from descant.music.cantus_firmi import MAX_NOTES
from descant.music.counterpoint import CANTUS_PITCHES, GAMUT, Move, Problems, State
from descant.music.intervals import Interval
from descant.tasks import Bools, Episode, Finding, Floats, Ints, join_rows

from .first_species import RULES, Look, Rule
from .views import BarView, ClimaxView, LeapView, RunView, StepView

LOOKS: tuple[Look, ...] = ("unary", "pair", "triple", "run", "climax")
NAMES = tuple(dict.fromkeys(rule.name for rule in RULES))
HARD = frozenset(rule.name for rule in RULES if rule.is_hard)


def rules_of(look: Look) -> list[Rule]:
    """The rules that look at one field of `Move`; their order numbers the bits of its table."""
    return [rule for rule in RULES if rule.looks_at == look]


def _bits(look: Look, view: BarView | StepView | LeapView | RunView | ClimaxView) -> Ints:
    """By code: bit i is set where the look's i-th rule is broken."""
    bits = np.zeros(view.shape, np.int64)
    for i, rule in enumerate(rules_of(look)):
        bits |= rule.broken(view).astype(np.int64) << i
    return bits.ravel()


@functools.cache
def _common_bits() -> dict[Look, Ints]:
    """Bits of the looks that are the same for all problems."""
    return {
        "triple": _bits("triple", LeapView()),
        "run": _bits("run", RunView()),
        "climax": _bits("climax", ClimaxView()),
    }


_bits_of: WeakKeyDictionary[Problems, dict[Look, Ints]] = WeakKeyDictionary()


def broken_bits(problems: Problems) -> dict[Look, Ints]:
    """By look and code: bit i is set where the look's i-th rule is broken. Kept as long as the problems are."""
    if problems not in _bits_of:
        own: dict[Look, Ints] = {
            "unary": _bits("unary", BarView(problems.bar_kinds)),
            "pair": _bits("pair", StepView(problems.step_kinds)),
        }
        _bits_of[problems] = own | _common_bits()
    return _bits_of[problems]


@dataclass(frozen=True)
class Tables:
    """Rewards (not positive) and numbers of hard rules broken, for batched look-ups.

    The tables by unary and pair code are large, the sets of rules that one note can break are few: so those tables
    hold small class numbers, and reward and errors are looked up by pair of classes, in the processor's cache.
    """

    unary: NDArray[np.int16]  # class by code, times the number of pair classes
    pair: NDArray[np.uint8]  # class by code
    reward: Floats  # by unary class + pair class
    errors: Ints
    others: dict[Look, Floats]  # reward by code of the remaining looks, whose rules are all soft


class Fux:
    """Rules of first species as a reward: minus the cost of every rule that a note breaks.

    An error costs `error` (1 by default), more than all warnings that an episode can collect together; rules and
    their sources are in `first_species.py`. The reward of a step depends on (state, action) alone, and the sum
    over an episode is minus the sum of the costs that `explain` lists.

    Args:
        weights: costs of soft rules that differ from the default, by name; 0 switches a rule off.
        error: cost of a broken hard rule.

    Raises:
        DescantError: an unknown rule, a negative weight, or warnings that could outweigh an error.
    """

    name = "fux"

    def __init__(self, weights: Mapping[str, float] | None = None, error: float = 1.0) -> None:
        if not _is_cost(error):
            raise DescantError(f"error must be a number of at least 0, not {error}.")
        self.costs = {r.name: error if r.is_hard else r.cost for r in RULES} | _checked(weights or {})
        worst = MAX_NOTES * sum(cost for name, cost in self.costs.items() if name not in HARD)
        if worst >= error:
            raise DescantError(
                f"The warnings of one episode could cost {worst:.3f}, more than an error ({error:g}): "
                f"lower the weights or pass error={np.ceil(worst) + 1:g}."
            )
        self.error = error
        self._tables: WeakKeyDictionary[Problems, Tables] = WeakKeyDictionary()

    def __call__(self, state: State, action: Ints, next_state: State) -> Floats:
        """Reward of each row: float64[n], in units of an error."""
        return self.judge(state.problems, state.problems.move(state, action))[0]

    def judge(self, problems: Problems, move: Move) -> tuple[Floats, Ints]:
        """Reward float64[n] and hard rules broken int64[n], from the move's codes."""
        tables = self.tables(problems)
        which = np.add(tables.unary.take(move.unary), tables.pair.take(move.pair), dtype=np.intp)
        reward: Floats = tables.reward.take(which)
        for look, table in tables.others.items():
            reward += table.take(getattr(move, look))
        return reward, tables.errors.take(which)

    def breaks(self, problems: Problems) -> dict[Look, Bools]:
        """By unary and by pair code: whether a hard rule is broken."""
        bits = broken_bits(problems)
        return {look: _weigh(look, bits[look], dict.fromkeys(HARD, 1.0)) > 0 for look in LOOKS[:2]}

    def terms(self, state: State, action: Ints, next_state: State) -> dict[str, Floats]:
        """Reward by rule: float64[n] each, summing to the reward."""
        move = state.problems.move(state, action)
        bits = broken_bits(state.problems)
        found = {name: np.zeros(len(action)) for name in NAMES}
        for look in LOOKS:
            here = bits[look].take(getattr(move, look))
            for i, rule in enumerate(rules_of(look)):
                found[rule.name] -= self.costs[rule.name] * (here >> i & 1)
        return found

    def explain(self, episode: Episode[State]) -> list[Finding]:
        """Every rule broken, in order of position, errors before warnings."""
        if not episode.actions:
            return []
        before = join_rows(episode.states[:-1])
        action = np.array(episode.actions)
        move = before.problems.move(before, action)
        findings = [
            self._finding(rule, int(t), before, action)
            for look in LOOKS
            for i, rule in enumerate(rules_of(look))
            if self.costs[rule.name]
            for t in np.flatnonzero(broken_bits(before.problems)[look].take(getattr(move, look)) >> i & 1)
        ]
        return sorted(findings, key=lambda f: (f.position, f.severity, f.rule))

    def tables(self, problems: Problems) -> Tables:
        """Reward and errors by code, made once for each set of problems."""
        if problems not in self._tables:
            self._tables[problems] = _tabulate(broken_bits(problems), self.costs)
        return self._tables[problems]

    def _finding(self, rule: Rule, t: int, states: State, action: Ints) -> Finding:
        message = rule.message.format(**_names(t, states, action))
        return Finding(rule.name, rule.severity, t + 1, self.costs[rule.name], message)


def _tabulate(bits: dict[Look, Ints], costs: Mapping[str, float]) -> Tables:
    unary, unary_class = np.unique(bits["unary"], return_inverse=True)
    pair, pair_class = np.unique(bits["pair"], return_inverse=True)
    if len(pair) > 256 or len(unary) * len(pair) > 2**15:
        raise AssertionError("more ways to break rules than the tables' types hold")
    hard = dict.fromkeys(HARD, 1.0)
    cost, errors = (
        np.add.outer(_weigh("unary", unary, by), _weigh("pair", pair, by)).ravel() for by in (costs, hard)
    )
    return Tables(
        (unary_class * len(pair)).astype(np.int16),
        pair_class.astype(np.uint8),
        -cost,
        errors.astype(np.int64),
        {look: -_weigh(look, bits[look], costs) for look in LOOKS[2:]},
    )


def _weigh(look: Look, bits: Ints, costs: Mapping[str, float]) -> Floats:
    total = np.zeros(len(bits))
    for i, rule in enumerate(rules_of(look)):
        total += costs.get(rule.name, 0.0) * (bits >> i & 1)
    return total


def _checked(weights: Mapping[str, float]) -> dict[str, float]:
    for name, weight in weights.items():
        if name not in NAMES:
            raise DescantError(f"Unknown rule {name!r}.{did_you_mean(name, NAMES)}")
        if name in HARD:
            raise DescantError(
                f"{name!r} is a hard rule: its cost is error=..., the same for all hard rules."
            )
        if not _is_cost(weight):
            raise DescantError(f"The weight of {name!r} must be a number of at least 0, not {weight}.")
    return {name: float(weight) for name, weight in weights.items()}


def _is_cost(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and value >= 0


def _names(t: int, states: State, action: Ints) -> dict[str, str]:
    """What messages may name of bar `t`: pitches, intervals, the opening and the cadence wanted."""
    problems = states.problems
    cantus = CANTUS_PITCHES[problems.cantus[states.bar[t]]]
    note = GAMUT[action[t]]
    before = GAMUT[action[t - 1]] if t else note
    problem = problems.problems[problems.problem_of(states)[t]]
    below = problem.position == "below"
    low, high = (note, cantus) if note.midi < cantus.midi else (cantus, note)
    was = problem.cantus[t - 1] if t else cantus
    return {
        "note": str(note),
        "before": str(before),
        "cantus": str(cantus),
        "interval": Interval.between(low, high).name,
        "move": Interval.between(before, note).name,
        "cadence": "a minor third below the cantus" if below else "a major sixth above the cantus",
        "opening": "a unison or an octave" if below else "a unison, a fifth or an octave",
        "into": "out of" if before == was else "into",
    }
