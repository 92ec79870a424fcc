"""First-species counterpoint: one note against each note of a cantus firmus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from descant.errors import DescantError, did_you_mean
from descant.makers import make_reward
from descant.music.cantus_firmi import FUX, MAX_NOTES, MIN_NOTES, Line, find, generate
from descant.music.counterpoint import (
    CANTUS_PITCHES,
    COLUMN,
    GAMUT,
    HEAD,
    MIDI,
    POSITIONS,
    REACH,
    G,
    Position,
    Problem,
    Problems,
    State,
    Written,
    begun,
    written,
)
from descant.tasks import Bools, Episode, Floats, Ints, Reward, Task, needs_line

from .counterpoint_views import render

Mask = Literal["range", "rules"]
MASKS: tuple[Mask, ...] = ("range", "rules")
# Columns of an observation: those that give the range, and those that the line written so far fills.
REACHES = ("position", "lowest cantus note", "highest cantus note")
OF_THE_LINE = ("note before", "last leap", "run", "climax")


class Counterpoint(Task[State]):
    """First-species counterpoint: write one note against each note of a cantus firmus.

    ## Description
    A cantus firmus is given, whole notes in one of six modes, and the side on which to write: `above` or `below`.
    Each step writes the counterpoint's next note. Hard rules (consonance, no direct perfects, the cadence ...) must
    be kept, soft rules weigh a good line against a dull one. The task is deterministic and enumerable: the best
    counterpoint is known exactly (agent `exact`).

    ## Action space
    `Discrete(52)`: the pitches from G#1 to E6 that the modes use, lowest first: naturals, C#, F#, G# and B flat.
    An action means the same pitch in every episode. Every action may be taken at any time; one that breaks rules
    is written down like any other and costs what they cost.

    ## Observation space
    `MultiDiscrete` of int16, a sufficient statistic: position (0 above, 1 below), final, lowest and highest
    cantus note, the note before, the last leap, the run of thirds or sixths, the climax (twice the highest note so
    far, plus 1 where it stood once), notes left, the cantus note before, then the cantus from
    the current note on (0: past its end).

    ## Reward
    `fux` unless another is named: minus the cost of each rule that the note breaks. An error costs 1, more than
    all warnings of an episode together. `reward` takes a name, or name and options, or a reward object.

    ## Action mask
    `mask="range"` allows every pitch from the cantus's lowest note to a tenth above its highest (above; mirrored
    below). `mask="rules"` allows only notes that break no hard rule now and force none later; where no such note
    is left (after an error, or for a cantus that has no faultless counterpoint), the range.

    ## Starting state
    `cantus="generated"` draws from `pool` generated cantus firmi (seed `pool_seed`) at every reset, `"fux"` from
    Fux's six, a name (`"dorian"`), notes (`"D4 F4 E4 D4"`) or a MIDI file fix it. `position="both"` draws the side.
    `reset(options={"cantus": ..., "position": ...})` fixes either for one reset; the cantus must be one of the
    environment's.

    ## Episode end
    Terminates with the last note of the cantus; never truncates.

    ## Example
    >>> import gymnasium, descant
    >>> env = gymnasium.make("descant/Counterpoint-v0", cantus="dorian", position="above", render_mode="ansi")
    >>> observation, info = env.reset(seed=0)
    """

    name = "descant/Counterpoint-v0"
    enumerable = True
    render_modes: ClassVar[tuple[str, ...]] = ("ansi", "rgb_array", "svg")

    def __init__(
        self,
        cantus: str | Path | Sequence[Any] = "generated",
        position: Position | Literal["both"] = "both",
        reward: Any = "fux",
        mask: Mask = "range",
        max_notes: int = 16,
        pool: int = 1024,
        pool_seed: int = 0,
    ) -> None:
        if position not in (*POSITIONS, "both"):
            raise DescantError(f"position must be 'above', 'below' or 'both', not {position!r}.")
        if mask not in MASKS:
            raise DescantError(f"Unknown mask {mask!r}.{did_you_mean(str(mask), MASKS)}")
        if not MIN_NOTES <= max_notes <= MAX_NOTES:
            raise DescantError(f"max_notes must be {MIN_NOTES} to {MAX_NOTES}, not {max_notes}.")
        if pool < 1 or pool_seed < 0:
            raise DescantError(f"pool must be at least 1 and pool_seed 0, not {pool} and {pool_seed}.")
        sides = POSITIONS if position == "both" else (position,)
        self.problems = _problems(_lines(cantus, pool, pool_seed), sides, max_notes)
        self.mask = mask
        self.rules: Any = make_reward("fux")  # says what is legal, whatever the reward
        self.reward: Reward = self.rules if reward == "fux" else make_reward(reward)
        self.keeps_line = needs_line(self.reward)
        self.observation_space = spaces.MultiDiscrete(self.problems.nvec(), dtype=np.int16)
        self.action_space = spaces.Discrete(G)

    def reset(self, rng: np.random.Generator, n: int, options: Mapping[str, Any] | None = None) -> State:
        """`n` problems drawn evenly from those of the environment, or those that `options` allow."""
        if not options:
            return self._start(_drawn(rng, n, len(self.problems)))
        allowed = self._allowed(options)
        return self._start(allowed[_drawn(rng, n, len(allowed))])

    def starts(self) -> State:
        """The first bar of every problem."""
        return self._start(np.arange(len(self.problems)))

    def _start(self, problems: Ints) -> State:
        """The first bar of these problems; where the reward looks at whole lines, states keep them."""
        fresh = self.problems.start(problems)
        return begun(fresh) if self.keeps_line else fresh

    def step(self, state: State, action: Ints, rng: np.random.Generator) -> tuple[State, Floats, Bools]:
        """Write a note. Uses no randomness."""
        problems = self.problems
        move = problems.move(state, action)
        reward, errors = self.rules.judge(problems, move)
        errors += state.errors
        after = problems.after(state, action, move, errors)
        if isinstance(state, Written):
            after = written(state, action, after)
        if self.reward is not self.rules:
            reward = self.reward(state, action, after)
        return after, reward, move.last != 0

    def observe(self, state: State) -> NDArray[np.int16]:
        """int16[n, W], W = 10 + max_notes."""
        rows: NDArray[np.int16] = self.problems.rows.take(state.bar, axis=0)
        rows[:, COLUMN["note before"]] = state.note
        rows[:, COLUMN["last leap"]] = state.leap
        rows[:, COLUMN["run"]] = state.run
        rows[:, COLUMN["climax"]] = state.climax
        return rows

    def action_mask(self, state: State) -> Bools:
        """bool[n, 52]."""
        in_range = self._ranges[self.problems.problem_of(state)]
        if self.mask == "range":
            return in_range
        lawful = self.lawful(state)
        return np.where(lawful.any(axis=1, keepdims=True), lawful, in_range)

    def observation_mask(self, batch: NDArray[np.int16]) -> Bools:
        """The mask as a function of observations, bool[n, 52]: they tell all it depends on."""
        seen = np.asarray(batch).astype(np.int64)
        if self.mask == "range":
            return _range(*(seen[:, COLUMN[name]] for name in REACHES))
        notes = seen[:, COLUMN["note before"]].copy()
        seen[:, [COLUMN[name] for name in OF_THE_LINE]] = 0
        bars, index = np.unique(seen, axis=0, return_inverse=True)
        return np.stack([_rules_masks(tuple(bar)) for bar in bars.tolist()])[index.ravel(), notes]

    def lawful(self, state: State) -> Bools:
        """Notes that break no hard rule now and force none later: bool[n, 52]; no note left, none True."""
        return self._without_errors(state) & self._viable[state.bar]

    def strict(self, state: State) -> Bools:
        """Notes of the strict set by which counterpoints are counted: bool[n, 52].

        They break no hard rule, do not cross, stay within a tenth, and are naturals, but for the raised leading
        note of the penultimate bar. (Nothing is looked ahead: a note may leave no way on.)
        """
        kinds = self.problems.bar_kinds
        row = self.problems.bar_kind[state.bar]
        cantus, below = kinds.cantus[row][:, None], kinds.below[row][:, None]
        own_steps = (1 - 2 * below) * (_STAFF[None, :] - _CANTUS_STAFF[cantus])
        own_semitones = (1 - 2 * below) * (MIDI[None, :] - _CANTUS_MIDI[cantus])
        close = (own_steps <= 9) & (own_semitones >= 0)
        return self._without_errors(state) & close & (_ALTERATION >= 0)[None, :]

    def key(self, state: State) -> Ints:
        """bar x note x leap x run x climax, int64[n]; errors do not change what is to come."""
        if self.keeps_line:
            raise DescantError(
                "The reward looks at whole lines: no state short of one says what is to come, so nothing is planned."
            )
        shape = (self.problems.bars, G + 1, 7, 7, 2 * G + 2)
        return np.ravel_multi_index((state.bar, state.note, state.leap, state.run, state.climax), shape)

    def metrics(self, state: State) -> dict[str, Floats]:
        """legal: 1 where no hard rule was broken; errors: how many were."""
        return {"legal": (state.errors == 0).astype(float), "errors": state.errors.astype(float)}

    def render(self, episode: Episode[State], mode: str) -> Any:
        """`ansi`: two staves of names, findings marked; `rgb_array`: a piano roll; `svg`: the engraved score."""
        return render(episode, mode, self.rules.explain(episode))

    def _allowed(self, options: Mapping[str, Any]) -> Ints:
        """Indices of the problems that `options` leave."""
        options = dict(options)
        cantus, position = options.pop("cantus", None), options.pop("position", None)
        if options:
            raise DescantError(
                f"Unknown reset option {next(iter(options))!r}: there are 'cantus' and 'position'."
            )
        line = None if cantus is None else find(cantus)
        fits = [
            i
            for i, problem in enumerate(self.problems.problems)
            if (line is None or problem.cantus == line) and position in (None, problem.position)
        ]
        if not fits:
            raise DescantError(
                "No problem of this environment has that cantus and position: make the environment with "
                "cantus=... and position=... instead."
            )
        return np.array(fits)

    def _codes(self, state: State) -> tuple[Ints, Ints]:
        """Unary and pair codes of every note in the current bars: int64[n, 52] each."""
        notes = np.arange(G)[None, :]
        unary = self.problems.bar_kind[state.bar][:, None] * G + notes
        pair = (self.problems.step_kind[state.bar] * (G + 1) + state.note)[:, None] * G + notes
        return unary, pair

    def _without_errors(self, state: State) -> Bools:
        unary, pair = self._codes(state)
        allowed: Bools = ~(self._breaks["unary"][unary] | self._breaks["pair"][pair])
        return allowed

    @cached_property
    def _breaks(self) -> dict[str, Bools]:
        """By unary and by pair code: whether a hard rule is broken."""
        breaks: dict[str, Bools] = self.rules.breaks(self.problems)
        return breaks

    @cached_property
    def _ranges(self) -> Bools:
        """bool[problems, 52]: pitches within reach of the cantus."""
        first = self.problems.rows[:: self.problems.stride].astype(np.int64)
        return _range(*(first[:, COLUMN[name]] for name in REACHES))

    @cached_property
    def _viable(self) -> Bools:
        """bool[bars, 52]: notes from which the line can be finished without an error. Backward induction."""
        problems, breaks = self.problems, self._breaks
        step_is_free = ~breaks["pair"].reshape(-1, G + 1, G)[:, 1:, :]
        note_is_free = ~breaks["unary"].reshape(-1, G)
        viable = np.zeros((len(problems), problems.stride, G), bool)
        unary = problems.bar_kind.reshape(len(problems), -1)
        step = problems.step_kind.reshape(len(problems), -1)
        for t in reversed(range(problems.max_notes)):
            lasts = problems.lengths == t + 1
            within = problems.lengths > t + 1
            viable[lasts, t] = True
            if within.any():
                onward = step_is_free[step[within, t + 1]]
                arrive = (note_is_free[unary[within, t + 1]] & viable[within, t + 1])[:, :, None]
                viable[within, t] = (onward @ arrive)[:, :, 0]
        return viable.reshape(-1, G)


_STAFF = np.array([p.diatonic for p in GAMUT])
_ALTERATION = np.array([p.alteration for p in GAMUT])
_CANTUS_STAFF = np.array([p.diatonic for p in CANTUS_PITCHES])
_CANTUS_MIDI = np.array([p.midi for p in CANTUS_PITCHES])


def _drawn(rng: np.random.Generator, n: int, count: int) -> Ints:
    """`n` of 0..count - 1. Half the time of `integers`, and as even: `count` is far below 2^53."""
    return (rng.random(n) * count).astype(np.int64)


def _range(position: Ints, lowest: Ints, highest: Ints) -> Bools:
    """Pitches from the cantus's lowest to a tenth above its highest, or a tenth below its lowest to its highest."""
    low = (_CANTUS_MIDI[lowest] - REACH * position)[:, None]
    high = (_CANTUS_MIDI[highest] + REACH * (1 - position))[:, None]
    return (MIDI[None, :] >= low) & (MIDI[None, :] <= high)


@lru_cache(maxsize=4096)
def _rules_masks(bar: tuple[int, ...]) -> Bools:
    """The rules mask of one bar by the note before it, bool[53, 52]; `bar` is an observation less its line.

    What an observation leaves out of the past, the rules do not ask for: any line with the same lowest and highest
    note does in its place.
    """
    lowest, highest, before = (bar[COLUMN[name]] for name in (*REACHES[1:], "cantus before"))
    past = [CANTUS_PITCHES[i] for i in (lowest, highest, before - 1)] if before else []
    coming = [CANTUS_PITCHES[code - 1] for code in bar[len(HEAD) :] if code]
    task = Counterpoint(cantus="dorian", mask="rules")
    task.problems = Problems([Problem((*past, *coming), POSITIONS[bar[0]])], len(past) + len(coming))
    zeros = np.zeros(G + 1, np.int64)
    return task.action_mask(
        State(zeros + len(past), np.arange(G + 1), zeros, zeros, zeros, zeros, task.problems)
    )


def _lines(cantus: Any, pool: int, pool_seed: int) -> tuple[Line, ...]:
    """The cantus firmi that `cantus` stands for."""
    if isinstance(cantus, str) and cantus == "generated":
        return generate(pool, pool_seed)
    if isinstance(cantus, str) and cantus == "fux":
        return tuple(FUX.values())
    if isinstance(cantus, str) and cantus.isalpha() and cantus.lower() not in FUX and len(cantus) > 2:
        raise DescantError(f"Unknown cantus {cantus!r}.{did_you_mean(cantus, ['generated', 'fux', *FUX])}")
    return (find(cantus),)


@lru_cache(maxsize=8)
def _problems(lines: tuple[Line, ...], sides: tuple[Position, ...], max_notes: int) -> Problems:
    """Problems laid out once and shared by environments that have the same ones."""
    return Problems([Problem(line, side) for line in lines for side in sides], max_notes)
