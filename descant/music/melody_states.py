"""A melody as it is written, step by step: what environment, reward and statistics of melodies share.

A state carries running features, so that what an action did (too often repeated, a motif, a leap resolved) is known
from a few numbers of each row. What counts as what is the published code's of Jaques et al. 2017 (Magenta,
`rl_tuner`); docs/rl-tuner.md tells where it differs.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from descant.errors import DescantError
from descant.music.keys import Key
from descant.music.melodies import ACTIONS, FIRST_NOTE, HOLD, NOTE_OFF, action_of, midi_of
from descant.tasks import Bools, Floats, Ints, put_rows, shared, take_rows

Actions = NDArray[np.int8]

MIN_STEPS, MAX_STEPS = 4, 1024
BAR = 8  # steps in which a motif stands
BITS = 6  # of an action in a window of a bar
WINDOW = (1 << BITS * BAR) - 1
MOTIF = 3  # distinct pitches that make one
LAGS = (1, 2, 3)
LEAP = 7  # semitones
LEAP_BACK = 6  # more steps than this between a leap and a leap back that resolves it
ROW_LIMIT, BROKEN_LIMIT, OFF_LIMIT = 4, 6, 1  # of equal actions before one that is not too much yet
COUNTED = (
    "out_of_key",
    "repeated",
    "in_motif",
    "in_repeated_motif",
    "leaps_resolved",
    "leaps_doubled",
)
"""The columns of `State.counts`."""


@dataclass(frozen=True, eq=False)
class State:
    """Melodies so far. int64[n] where nothing else is said."""

    written: Actions  # int8[n, T], -1 where nothing is written yet, -2 - a where a primer will write a
    step: Ints  # actions written
    window: Ints  # the last eight, six bits each, the last one lowest
    note: Ints  # the action that began the last note, 0 where there is none
    holds: Ints  # since that note began, or from the beginning
    offs: Ints  # the same of note-offs
    again: Ints  # times that note was begun since another one
    broken: Ints  # 1 where a hold or note-off stands since that other one
    total: Ints  # sum of the actions
    squares: Ints
    products: Ints  # int64[n, 3], sums of products at lags 1 to 3
    direction: Ints  # of a leap that is open: 1 up, -1 down, 0 none is
    origin: Ints  # the note that it left
    since: Ints  # steps since the last leap
    distinct: Ints  # distinct pitches in the last eight steps, 0 before there are eight
    counts: Ints  # int64[n, 6], how often what `COUNTED` names has happened
    key: Key = shared()
    steps: int = shared()


@dataclass(frozen=True)
class KeyTables:
    """What a key means to actions."""

    out_of_key: Bools  # [38]; note-off and hold are never out
    tonic: int  # the action that begins the tonic between middle C and the B above


@functools.lru_cache(maxsize=256)
def key_tables(key: Key) -> KeyTables:
    """Tables of a key."""
    midi = midi_of(np.arange(ACTIONS))
    inside = np.isin(midi % 12, list(key.pitch_classes))
    return KeyTables((midi >= 0) & ~inside, action_of(60 + key.pitch_class))


def start(n: int, key: Key, steps: int, primer: Ints | None = None) -> State:
    """`n` empty melodies; DescantError for a number of steps outside 4 to 1024.

    `primer` int64[n, t], t <= steps, says how each has to begin; -1 leaves a step free.
    """
    if not MIN_STEPS <= steps <= MAX_STEPS:
        raise DescantError(f"steps must be {MIN_STEPS} to {MAX_STEPS}, not {steps}.")
    zeros = (np.zeros(n, np.int64) for _ in range(12))
    step, window, note, holds, offs, again, broken, total, squares, direction, origin, since = zeros
    written = np.full((n, steps), -1, np.int8)
    if primer is not None:
        written[:, : primer.shape[1]] = np.where(primer < 0, -1, -2 - primer)
    return State(
        written, step, window, note, holds, offs, again, broken, total, squares,
        np.zeros((n, len(LAGS)), np.int64), direction, origin, since,
        np.zeros(n, np.int64), np.zeros((n, len(COUNTED)), np.int64), key, steps,
    )  # fmt: skip


def primed(state: State) -> Ints:
    """The action that a primer asks for now, -1 where none does: int64[n]."""
    coming = state.written[np.arange(len(state.step)), np.minimum(state.step, state.steps - 1)]
    return np.where(coming < -1, -2 - coming.astype(np.int64), -1)


def write(state: State, action: Ints) -> State:
    """The state after `action` int64[n]. A melody that is complete stays as it is."""
    after = _written(state, action)
    complete = state.step >= state.steps
    if complete.any():
        put_rows(after, complete, take_rows(state, complete))
    return after


def scan(compositions: Actions, key: Key) -> State:
    """The state at the end of complete melodies int[n, T]; DescantError for what is no action."""
    compositions = np.asarray(compositions)
    if compositions.ndim != 2 or compositions.dtype.kind not in "iu":
        raise DescantError(
            f"Compositions must be integers [n, T], not {compositions.dtype}{list(compositions.shape)}."
        )
    if compositions.size and not (compositions.min() >= 0 and compositions.max() < ACTIONS):
        raise DescantError(f"Compositions must hold actions 0 to {ACTIONS - 1} alone.")
    state = start(len(compositions), key, compositions.shape[1])
    for column in compositions.T.astype(np.int64):
        state = write(state, column)
    return state


def autocorrelations(state: State) -> Floats:
    """Of the actions so far with themselves at lags 1 to 3: float64[n, 3].

    NaN where all actions are equal, 0 where there are no more actions than the lag. Numerator and denominator are
    whole numbers, so that equal melodies have equal values whatever the batch.
    """
    n = state.step[:, None]
    total = state.total[:, None]
    first = np.cumsum(state.written[:, : len(LAGS)], axis=1, dtype=np.int64)
    last = np.cumsum(_recent(state.window, len(LAGS)), axis=1)
    lags = np.array(LAGS)
    above = n * n * state.products - n * total * (2 * total - first - last) + (n - lags) * total * total
    below = n * (n * state.squares[:, None] - total * total)
    above[n <= lags] = 0
    found: Floats = np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)
    return found


def unique_extremes(written: Actions) -> tuple[Bools, Bools]:
    """Whether the highest pitch is begun once only, and the lowest: bool[n] each; False without a note."""
    highest = written.max(axis=1, initial=-1)
    notes = np.where(written >= FIRST_NOTE, written, ACTIONS)
    lowest = notes.min(axis=1, initial=ACTIONS)
    high = ((written == highest[:, None]).sum(axis=1) == 1) & (highest >= FIRST_NOTE)
    low = ((notes == lowest[:, None]).sum(axis=1) == 1) & (lowest < ACTIONS)
    return high, low


def _written(state: State, action: Ints) -> State:
    t = np.minimum(state.step, state.steps - 1)
    written = state.written.copy()
    written[np.arange(len(t)), t] = action
    begins, held, off = action >= FIRST_NOTE, action == HOLD, action == NOTE_OFF
    same = action == state.note
    window = (state.window << BITS | action) & WINDOW
    distinct = np.where(t >= BAR - 1, _distinct(window), 0)
    motif = distinct >= MOTIF
    direction, origin, since, resolved, doubled = _leap(state, action, begins)
    happened = (
        key_tables(state.key).out_of_key[action],
        _repeated(state, same, begins, held, off),
        motif,
        _recurs(written, window, t, motif),
        resolved,
        doubled,
    )
    holds, offs = state.holds + held, state.offs + off
    interrupted = np.where(same, state.broken, (holds > 0) | (offs > 0))
    return State(
        written=written,
        step=t + 1,
        window=window,
        note=np.where(begins, action, state.note),
        holds=np.where(begins, 0, holds),
        offs=np.where(begins, 0, offs),
        again=np.where(begins, np.where(same, state.again, 0) + 1, state.again),
        broken=np.where(begins, interrupted, 1),
        total=state.total + action,
        squares=state.squares + action * action,
        products=state.products + _recent(state.window, len(LAGS)) * action[:, None],
        direction=direction,
        origin=origin,
        since=since,
        distinct=distinct,
        counts=state.counts + np.stack(happened, axis=1),
        key=state.key,
        steps=state.steps,
    )


def _recent(window: Ints, count: int) -> Ints:
    """The last `count` actions, the last one first: int64[n, count]; 0 before the first action."""
    return (window[:, None] >> BITS * np.arange(count)) & ((1 << BITS) - 1)


def _distinct(window: Ints) -> Ints:
    """Distinct pitches in windows of eight actions: int64[n]."""
    pitches = np.zeros_like(window)
    for i in range(BAR):
        pitches |= 1 << (window >> BITS * i & (1 << BITS) - 1)
    count: Ints = np.bitwise_count(pitches >> FIRST_NOTE).astype(np.int64)
    return count


def _repeated(state: State, same: Bools, begins: Bools, held: Bools, off: Bools) -> Bools:
    """Whether the action comes too often: equal ones are counted back to another note than it begins."""
    before = np.where(begins, np.where(same, state.again, 0), np.where(held, state.holds, state.offs))
    interrupted = np.where(begins, state.broken > 0, state.offs > 0)
    limit = np.where(off, OFF_LIMIT, np.where(interrupted, BROKEN_LIMIT, ROW_LIMIT))
    return before > limit


def _recurs(written: Actions, window: Ints, t: Ints, motif: Bools) -> Bools:
    """Whether the last eight actions, where they are a motif, stood before without sharing a step: bool[n]."""
    found = np.zeros(len(t), bool)
    rows = np.flatnonzero(motif & (t >= 2 * BAR - 1))
    if len(rows):
        starts = int(t[rows].max()) - 2 * BAR + 2
        past, now = written[rows], _recent(window[rows], BAR)[:, ::-1]
        equal = np.arange(starts) <= (t[rows] - 2 * BAR + 1)[:, None]
        for i in range(BAR):
            equal &= past[:, i : i + starts] == now[:, i : i + 1]
        found[rows] = equal.any(axis=1)
    return found


def _leap(state: State, action: Ints, begins: Bools) -> tuple[Ints, Ints, Ints, Bools, Bools]:
    """Direction and origin of the open leap, steps since the last, whether one is resolved, or doubled now."""
    move = np.where(begins & (state.note > 0), action - state.note, 0)
    leap, way = np.abs(move) >= LEAP, np.sign(move)
    is_open = state.direction != 0
    back = leap & (way == -state.direction)
    doubled = leap & (way == state.direction)
    beyond = (action - state.origin) * state.direction <= 0
    returned = begins & is_open & ~leap & beyond
    resolved = returned | (back & (state.since > LEAP_BACK))
    opened, closed = leap & ~is_open, back | returned
    direction = np.where(opened, way, np.where(closed, 0, state.direction))
    origin = np.where(opened, state.note, np.where(closed, 0, state.origin))
    return direction, origin, np.where(leap, 0, state.since + 1), resolved, doubled
