"""First-species counterpoint as data: the gamut, problems, the state and the move.

What environment and reward share. Rules look at a note in its bar, at two neighbouring notes, at the last leap,
at a run of equal consonances and at the climax; each of these is one integer code of a `Move`, so that a rule is
a small table and a step a few look-ups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from descant.errors import DescantError
from descant.music.cantus_firmi import HIGHEST, LOWEST, Line
from descant.music.modes import BY_FINAL
from descant.music.pitches import Pitch
from descant.tasks import Ints, shared

Position = Literal["above", "below"]
POSITIONS: tuple[Position, ...] = ("above", "below")
FINALS = "".join(BY_FINAL)
REACH = 16  # semitones beyond the cantus's own range that a counterpoint may go: a major tenth


def _pitches(low: int, high: int, altered: Sequence[tuple[str, int]]) -> Line:
    """Naturals and the given alterations between two MIDI numbers, lowest first."""
    spelled = [(letter, 0) for letter in "CDEFGAB"] + list(altered)
    every = [Pitch(letter, alteration, octave) for octave in range(9) for letter, alteration in spelled]
    return tuple(sorted((p for p in every if low <= p.midi <= high), key=lambda p: p.midi))


CANTUS_PITCHES = _pitches(LOWEST.midi, HIGHEST.midi, [("B", -1)])
GAMUT = _pitches(LOWEST.midi - REACH, HIGHEST.midi + REACH, [("C", 1), ("F", 1), ("G", 1), ("B", -1)])
"""The pitches that actions index: the modes' naturals, their raised leading notes, and B flat."""

G, C = len(GAMUT), len(CANTUS_PITCHES)
ACTION_OF = {pitch: action for action, pitch in enumerate(GAMUT)}
CANTUS_INDEX = {pitch: index for index, pitch in enumerate(CANTUS_PITCHES)}

LEAPS = 7  # 0 none, then up and down each: a third, a fourth, wider
RUNS = 7  # 0 none, then 1, 2, 3 or more thirds in a row, and as many sixths
MIDI = np.array([p.midi for p in GAMUT])
STAFF = np.array([p.diatonic for p in GAMUT])


@dataclass(frozen=True)
class Problem:
    """A cantus firmus and the side on which to write."""

    cantus: Line
    position: Position


def actions_of(line: Sequence[Pitch]) -> list[int]:
    """Pitches as actions; DescantError for one outside the gamut."""
    for position, pitch in enumerate(line, start=1):
        if pitch not in ACTION_OF:
            raise DescantError(
                f"Note {position}, {pitch}, is outside the gamut: {GAMUT[0]} to {GAMUT[-1]}, naturals, C#, F#, "
                "G# and Bb; respell or transpose it."
            )
    return [ACTION_OF[pitch] for pitch in line]


def _table(rows: Sequence[Sequence[int]]) -> Ints:
    return np.array(rows, dtype=np.int64)


def _leap_of(steps: int) -> int:
    """The leap code of a melodic move of so many staff steps, up positive."""
    return 0 if abs(steps) < 2 else min(abs(steps) - 1, 3) + (3 if steps < 0 else 0)


def _next_run(run: int, kind: int) -> int:
    """The run code after one more consonance: kind 1 a third, 2 a sixth, 0 another."""
    if kind == 0:
        return 0
    return min(run + 1, 3 * kind) if run and (run - 1) // 3 == kind - 1 else 3 * kind - 2


def _next_climax(climax: int, note: int) -> int:
    """The climax code (2 * (highest + 1) + whether it stood once) after the note."""
    highest, unique = divmod(climax, 2)
    if note + 1 > highest:
        return 2 * (note + 1) + 1
    return 2 * highest + (unique if note + 1 < highest else 0)


NEXT_LEAP = _table([[0] * G] + [[_leap_of(b - a) for b in STAFF] for a in STAFF]).ravel()
"""Leap code by move code (previous note + 1) * G + note: int[(G + 1) * G]."""
NEXT_RUN = _table([[_next_run(run, kind) for kind in range(3)] for run in range(RUNS)]).ravel()
"""Run code by run * 3 + kind: int[RUNS * 3]."""
CLIMAXES = 2 * G + 2
NEXT_CLIMAX = np.tile(
    _table([[_next_climax(c, note) for note in range(G)] for c in range(CLIMAXES)]).ravel(), 2
)
"""Climax code by (last * CLIMAXES + climax) * G + note: int[2 * CLIMAXES * G]."""


@dataclass(frozen=True, eq=False)
class State:
    """Where episodes stand: int64[n] each, before the note of `bar` is written."""

    bar: Ints  # row of the problems' bars
    note: Ints  # the note written last: 0 none, else gamut index + 1
    leap: Ints  # code of the last melodic move
    run: Ints  # code of the run of thirds or sixths that the last bars make
    climax: Ints  # code of the highest note so far, and whether it stood once
    errors: Ints  # hard rules broken so far
    problems: Problems = shared()


@dataclass(frozen=True)
class Written(State):
    """The same with all that was written, for rewards that look back on the whole line: -1 where nothing is yet."""

    line: Ints = field(kw_only=True)  # int64[n, max_notes]


def begun(state: State) -> Written:
    """Fresh episodes that keep their lines."""
    line = np.full((len(state.bar), state.problems.max_notes), -1, np.int64)
    return Written(*_fields(state), line=line)


def written(before: Written, action: Ints, after: State) -> Written:
    """The state after a note that keeps the line; of a finished episode it stays as it was."""
    rows = np.flatnonzero(after.bar > before.bar)
    line = before.line.copy()
    line[rows, before.bar[rows] % before.problems.stride] = action[rows]
    return Written(*_fields(after), line=line)


def _fields(state: State) -> tuple[Any, ...]:
    return (state.bar, state.note, state.leap, state.run, state.climax, state.errors, state.problems)


class Move(NamedTuple):
    """What one note did, as codes, int64[n] each: an index into the tables that rules are."""

    melodic: Ints  # previous note, note
    unary: Ints  # kind of bar, note
    pair: Ints  # kind of step of the cantus, previous note, note
    triple: Ints  # last leap, previous note, note
    run: Ints  # run so far, kind of consonance now
    climax: Ints  # whether the note is the last, climax so far, note
    last: NDArray[np.int32]  # not 0 where the note is the last
    advance: NDArray[np.int32]  # 1, or 0 where the episode has ended already


@dataclass(frozen=True)
class BarKinds:
    """Kinds of bar, one row each: all that a rule may ask of a single bar. int[k] each."""

    below: Ints  # 1 where the counterpoint is the lower voice
    role: Ints  # 0 opening, 1 inner, 2 penultimate, 3 last
    final: Ints  # index in FINALS
    cantus: Ints  # index in CANTUS_PITCHES
    lowest: Ints  # of the whole cantus
    highest: Ints


@dataclass(frozen=True)
class StepKinds:
    """Kinds of step of the cantus, one row each: all that a rule may ask of two bars. int[k] each."""

    below: Ints
    last: Ints  # 1 where the second bar is the last
    before: Ints  # cantus of the first bar: index in CANTUS_PITCHES, C in an opening bar, which has none
    now: Ints


OPENING, INNER, PENULTIMATE, LAST = range(4)
# Columns of an observation before the cantus itself, and how many values each takes.
HEAD = {
    "position": 2,
    "final": len(FINALS),
    "lowest cantus note": C,
    "highest cantus note": C,
    "note before": G + 1,
    "last leap": LEAPS,
    "run": RUNS,
    "climax": 2 * (G + 1),
    "notes left": 0,  # set by max_notes
    "cantus before": C + 1,
}
COLUMN = {name: column for column, name in enumerate(HEAD)}


class Problems:
    """A fixed list of problems, laid out bar by bar for batched look-ups.

    Problem k owns bars k * (max_notes + 1) onwards; the bar after its last note is where a finished episode
    rests. Raises DescantError where a cantus is longer than `max_notes`.
    """

    def __init__(self, problems: Sequence[Problem], max_notes: int) -> None:
        longest = max(len(p.cantus) for p in problems)
        if longest > max_notes:
            raise DescantError(
                f"The cantus has {longest} notes, the environment takes {max_notes}: pass max_notes={longest}."
            )
        self.problems = tuple(problems)
        self.max_notes = max_notes
        self.stride = max_notes + 1
        self.bars = len(self.problems) * self.stride
        self.lengths = np.array([len(p.cantus) for p in problems])
        self._lay_out()

    def __len__(self) -> int:
        return len(self.problems)

    def _lay_out(self) -> None:
        k, stride = len(self.problems), self.stride
        cantus = np.full((k, stride), C, np.int64)
        for row, problem in enumerate(self.problems):
            cantus[row, : len(problem.cantus)] = [CANTUS_INDEX[p] for p in problem.cantus]
        time = np.broadcast_to(np.arange(stride), (k, stride))
        left = np.maximum(self.lengths[:, None] - time, 0)
        per_problem = {
            "below": np.array([p.position == "below" for p in self.problems], np.int64),
            "final": np.array([FINALS.index(p.cantus[-1].letter) for p in self.problems]),
            "lowest": np.array([CANTUS_INDEX[min(p.cantus)] for p in self.problems]),
            "highest": np.array([CANTUS_INDEX[max(p.cantus)] for p in self.problems]),
        }
        each = {name: np.broadcast_to(value[:, None], (k, stride)) for name, value in per_problem.items()}
        role = np.where(
            left == 1, LAST, np.where(left == 2, PENULTIMATE, np.where(time == 0, OPENING, INNER))
        )
        before = np.concatenate([np.full((k, 1), C), cantus[:, :-1]], axis=1)
        self.cantus = cantus.ravel()
        last = left <= 1
        # A finished episode's bar has no note: it counts as its kind that of a bar on the last cantus note.
        sounding = np.where(cantus == C, each["highest"], cantus)
        bars = (each["below"], role, each["final"], sounding, each["lowest"], each["highest"])
        kinds, self.bar_kind = _distinct(bars, (2, 4, len(FINALS), C, C, C))
        self.bar_kinds = BarKinds(*kinds)
        steps = (each["below"], (left == 1).astype(np.int64), before, sounding)
        kinds, self.step_kind = _distinct(steps, (2, 2, C + 1, C))
        self.step_kinds = StepKinds(*kinds)
        # All that a step asks of its bar in sixteen bytes, since a look-up costs a cache line whatever its width.
        bases = (self.bar_kind * G, self.step_kind * ((G + 1) * G), last.ravel() * CLIMAXES, left.ravel() > 0)
        self._words = np.stack(bases, axis=1).astype(np.int32).view(np.complex128).ravel()
        self.rows = self._observation_rows(each, left, before, cantus)

    def _observation_rows(
        self, each: dict[str, Ints], left: Ints, before: Ints, cantus: Ints
    ) -> NDArray[np.int16]:
        """What observations of each bar say of the problem: int16[bars, W], 0 in the columns of the state."""
        k, stride = left.shape
        rows = np.zeros((k, stride, len(HEAD) + self.max_notes), np.int16)
        rows[..., COLUMN["position"]] = each["below"]
        rows[..., COLUMN["final"]] = each["final"]
        rows[..., COLUMN["lowest cantus note"]] = each["lowest"]
        rows[..., COLUMN["highest cantus note"]] = each["highest"]
        rows[..., COLUMN["notes left"]] = left
        rows[..., COLUMN["cantus before"]] = (before + 1) % (C + 1)
        coming = np.concatenate([(cantus + 1) % (C + 1), np.zeros((k, stride), np.int64)], axis=1)
        for ahead in range(self.max_notes):
            rows[..., len(HEAD) + ahead] = coming[:, ahead : ahead + stride]
        return rows.reshape(k * stride, -1)

    @cached_property
    def consonance_kinds(self) -> NDArray[np.int8]:
        """By unary code: 1 where the note makes a third with the cantus (or a compound), 2 a sixth, else 0."""
        kinds = self.bar_kinds
        cantus_staff = np.array([p.diatonic for p in CANTUS_PITCHES])[kinds.cantus]
        number = np.abs(STAFF[None, :] - cantus_staff[:, None]) % 7
        return np.where(number == 2, 1, np.where(number == 5, 2, 0)).astype(np.int8).ravel()

    def nvec(self) -> list[int]:
        """How many values each column of an observation takes."""
        head = {**HEAD, "notes left": self.max_notes + 1}
        return [*head.values(), *[C + 1] * self.max_notes]

    def start(self, problem: Ints) -> State:
        """Fresh episodes of the given problems, int[n]."""
        note, leap, run, climax, errors = np.zeros((5, len(problem)), np.int64)
        return State(problem * self.stride, note, leap, run, climax, errors, self)

    def problem_of(self, state: State) -> Ints:
        """Which problem each row is at work on: int[n]."""
        return state.bar // self.stride

    def move(self, state: State, action: Ints) -> Move:
        """The codes of writing `action` in the current bar."""
        fields = self._words.take(state.bar).view(np.int32)
        melodic = state.note * G
        melodic += action
        unary = action + fields[0::4]
        pair = melodic + fields[1::4]
        triple = state.leap * ((G + 1) * G)
        triple += melodic
        run = state.run * 3
        run += self.consonance_kinds.take(unary)
        last = fields[2::4]
        climax = state.climax + last
        climax *= G
        climax += action
        return Move(melodic, unary, pair, triple, run, climax, last, fields[3::4])

    def after(self, state: State, action: Ints, move: Move, errors: Ints) -> State:
        """The state once the note is written; a finished episode stays in its last bar."""
        return State(
            state.bar + move.advance,
            action + 1,
            NEXT_LEAP.take(move.melodic),
            NEXT_RUN.take(move.run),
            NEXT_CLIMAX.take(move.climax),
            errors,
            self,
        )


def _distinct(columns: Sequence[Ints], sizes: Sequence[int]) -> tuple[list[Ints], Ints]:
    """Distinct combinations of columns, and for each element (raveled) the index of its own."""
    codes = np.ravel_multi_index([np.ravel(c) for c in columns], tuple(sizes))
    values, index = np.unique(codes, return_inverse=True)
    return [np.asarray(v, dtype=np.int64) for v in np.unravel_index(values, tuple(sizes))], index.astype(
        np.int64
    )
