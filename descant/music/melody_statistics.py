"""Statistics of melodies: those of Jaques et al. 2017, table 1, and others that say what these leave out.

Where Magenta's `rl_tuner_eval_metrics` has a statistic, it is defined as there: shares are of steps, not of notes
begun, so that at most 25 of 32 steps can lie in a motif (78 %).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from descant.errors import DescantError
from descant.music.keys import SCALES, Key
from descant.music.melodies import ACTIONS, FIRST_NOTE, HOLD
from descant.music.melody_states import (
    BAR,
    COUNTED,
    LAGS,
    Actions,
    State,
    autocorrelations,
    key_tables,
    scan,
    unique_extremes,
)
from descant.tasks import Bools, Floats, Ints

ROWS = 8192  # scanned at once: their state stays in the processor's cache
SHARES = ("out_of_key", "repeated", "in_motif", "in_repeated_motif")
COUNTS = ("leaps_resolved", "leaps_doubled")
COPIED_RUN = 16  # steps
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_BUCKET = np.uint64((1 << 24) - 1)
_WIDEST = ACTIONS - FIRST_NOTE - 1  # semitones of the widest interval


def measures(state: State) -> dict[str, Floats]:
    """What the paper counts, of each finished melody: float64[n] each.

    Shares of steps `out_of_key`, `repeated`, `in_motif`, `in_repeated_motif`; numbers `leaps_resolved`,
    `leaps_doubled`; 0 or 1 `starts_on_tonic`, `unique_highest`, `unique_lowest`; `autocorrelation_1` to `_3`, NaN where
    all actions are equal.
    """
    counts = dict(zip(COUNTED, state.counts.T.astype(np.float64), strict=True))
    high, low = unique_extremes(state.written)
    found = {name: counts[name] / state.steps for name in SHARES} | {name: counts[name] for name in COUNTS}
    found["starts_on_tonic"] = (state.written[:, 0] == key_tables(state.key).tonic).astype(float)
    found |= {"unique_highest": high.astype(float), "unique_lowest": low.astype(float)}
    lags = autocorrelations(state).T
    return found | {f"autocorrelation_{lag}": r.copy() for lag, r in zip(LAGS, lags, strict=True)}


def measure(compositions: Actions, key: Key) -> dict[str, Floats]:
    """`measures` of complete melodies int[n, T], and of each also these, float64[n], NaN where it begins no note:

    `pitch_class_entropy` in bits of the notes begun (at most log2 12); `scale_consistency`, the largest share of them
    that one major or natural minor scale holds; `pitch_range` in semitones. The first two as in MusPy.
    """
    compositions = np.asarray(compositions)
    if not len(compositions):
        raise DescantError("There is no composition to measure: pass at least one.")
    parts = [_measured(compositions[i : i + ROWS], key) for i in range(0, len(compositions), ROWS)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def summary(compositions: Actions, key: Key) -> dict[str, float]:
    """Statistics of a batch of complete melodies int[n, T], as fractions of 1 where the paper has percent.

    Means of `measure` (of melodies where it is defined), but `leaps_resolved`: the share of all leaps that were
    resolved or doubled; and of all together `distinct` and `alike_openings`. NaN where nothing defines a number.
    """
    found = measure(compositions, key)
    resolved, doubled = found.pop("leaps_resolved").sum(), found.pop("leaps_doubled").sum()
    means = {name: _mean(values) for name, values in found.items()}
    means["leaps_resolved"] = float(resolved / (resolved + doubled)) if resolved + doubled else float("nan")
    return means | {
        "distinct": distinct_share(compositions),
        "alike_openings": float(alike_openings(compositions).mean()),
    }


def distinct_share(compositions: Actions) -> float:
    """Distinct compositions over all of them."""
    rows = np.ascontiguousarray(compositions, np.int8)
    return len(np.unique(rows.view(f"V{rows.shape[1]}"))) / len(rows)


def alike_openings(compositions: Actions, steps: int = BAR) -> Floats:
    """Share of the other compositions that begin with the same `steps` actions: float64[n], NaN of one alone.

    The mean is the chance that two compositions begin alike, whatever their number.
    """
    rows = np.ascontiguousarray(np.asarray(compositions)[:, :steps], np.int8)
    _, which, counts = np.unique(
        rows.view(f"V{rows.shape[1]}")[:, 0], return_inverse=True, return_counts=True
    )
    others = len(rows) - 1
    return (counts[which] - 1) / others if others else np.full(1, np.nan)


@dataclass(frozen=True)
class Corpus:
    """Tunes int[m, T], in which runs of steps are looked up by hash; two runs share one in about 2^64 pairs."""

    windows: Actions

    def holds(self, compositions: Actions, run: int = COPIED_RUN) -> Bools:
        """Whether a composition holds `run` steps in a row that a tune holds too: bool[n]."""
        if not run >= 1:
            raise DescantError(f"A run must have at least 1 step, not {run}.")
        own = _hashes(compositions, run)
        if not own.shape[1]:
            return np.zeros(len(own), bool)
        return np.asarray(_among(own, _hashes(self.windows, run).ravel()).any(axis=1), bool)

    def longest(self, compositions: Actions) -> Ints:
        """Steps of the longest run of each composition that a tune holds too: int64[n]. Bisected: runs nest."""
        compositions = np.asarray(compositions)
        low, high = 0, min(compositions.shape[1], self.windows.shape[1])
        best = np.zeros(len(compositions), np.int64)
        _bisect(self, compositions, np.arange(len(compositions)), low, high, best)
        return best


def copied_share(compositions: Actions, training: Actions, run: int = COPIED_RUN) -> float:
    """Share of compositions int[n, T] that hold a run of steps of the training set int[m, S]."""
    return float(Corpus(np.asarray(training)).holds(compositions, run).mean())


def overlap_areas(compositions: Actions, others: Actions) -> dict[str, float]:
    """Overlap (sum of minima, 0 to 1) of the histograms of two batches: `intervals` from note to note, in semitones,
    and `durations` of notes, in steps. NaN where a batch has none."""
    own, their = note_histograms(compositions), note_histograms(others)
    return {name: _overlap(own[name], their[name]) for name in own}


def note_histograms(compositions: Actions) -> dict[str, Ints]:
    """`intervals`: moves of -35 to 35 semitones, int64[71]; `durations`: notes of 0 to T steps, int64[T + 1]."""
    bins = {"intervals": 2 * _WIDEST + 1, "durations": np.asarray(compositions).shape[1] + 1}
    return {
        name: np.bincount(bin_, minlength=bins[name]) for name, (_, bin_) in note_events(compositions).items()
    }


def note_events(compositions: Actions) -> dict[str, tuple[Ints, Ints]]:
    """What `note_histograms` counts: composition and bin of each interval and of each note, int64[events] each."""
    compositions = np.asarray(compositions, np.int64)
    steps = compositions.shape[1]
    row, column = np.nonzero(compositions >= FIRST_NOTE)
    note = compositions[row, column]
    same = np.diff(row) == 0
    ends = np.where(compositions != HOLD, np.arange(steps), steps)
    following = np.minimum.accumulate(ends[:, ::-1], axis=1)[:, ::-1]
    after = np.concatenate([following[:, 1:], np.full((len(following), 1), steps)], axis=1)
    return {
        "intervals": (row[1:][same], np.diff(note)[same] + _WIDEST),
        "durations": (row, after[row, column] - column),
    }


def _measured(compositions: Actions, key: Key) -> dict[str, Floats]:
    return measures(scan(compositions, key)) | _pitches(compositions)


def _pitches(compositions: Actions) -> dict[str, Floats]:
    n = len(compositions)
    row, column = np.nonzero(compositions >= FIRST_NOTE)
    # C3, action 2, is pitch class 0.
    classes = (compositions[row, column].astype(np.int64) - FIRST_NOTE) % 12
    histogram = np.bincount(row * 12 + classes, minlength=12 * n).reshape(n, 12).astype(np.float64)
    begun = histogram.sum(axis=1, keepdims=True)
    share = np.divide(histogram, begun, out=np.full_like(histogram, np.nan), where=begun > 0)
    log = np.log2(share, out=np.zeros_like(share), where=share > 0)
    entropy = np.where(begun[:, 0] > 0, np.abs((share * log).sum(axis=1)), np.nan)
    notes = np.where(compositions >= FIRST_NOTE, compositions, ACTIONS)
    span = compositions.max(axis=1).astype(np.float64) - notes.min(axis=1)
    return {
        "pitch_class_entropy": entropy,
        "scale_consistency": np.where(begun > 0, (histogram @ _SCALES) / np.maximum(begun, 1), np.nan).max(
            axis=1
        ),
        "pitch_range": np.where(begun[:, 0] > 0, span, np.nan),
    }


# Pitch classes by major scale, float64[12, 12]; natural minor scales have the same.
_SCALES = np.array(
    [[(pitch - tonic) % 12 in SCALES["major"] for tonic in range(12)] for pitch in range(12)], np.float64
)


def _mean(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _hashes(rows: NDArray[np.integer], run: int) -> NDArray[np.uint64]:
    """Hash of every run of `run` steps: uint64[n, T - run + 1], none where rows are shorter."""
    rows = np.asarray(rows)
    count = max(rows.shape[1] - run + 1, 0)
    found = np.zeros((len(rows), count), np.uint64)
    for i in range(run if count else 0):
        found ^= rows[:, i : i + count].astype(np.uint64) + np.uint64(1)
        found *= _FACTOR
        found ^= found >> np.uint64(29)
    return found


def _among(own: NDArray[np.uint64], known: NDArray[np.uint64]) -> Bools:
    """`np.isin` of hashes, but only those are sorted whose last 24 bits occur on both sides."""
    buckets = np.zeros(1 << 24, bool)
    buckets[known & _BUCKET] = True
    found: Bools = buckets[own & _BUCKET]
    buckets[:] = False
    buckets[own[found] & _BUCKET] = True
    found[found] = np.isin(own[found], known[buckets[known & _BUCKET]])
    return found


def _bisect(corpus: Corpus, compositions: Actions, rows: Ints, low: int, high: int, best: Ints) -> None:
    """Fill `best` of rows whose longest copied run is known to lie in `low`..`high`."""
    if not len(rows):
        return
    if low == high:
        best[rows] = low
        return
    middle = (low + high + 1) // 2
    held = corpus.holds(compositions[rows], middle)
    _bisect(corpus, compositions, rows[held], middle, high, best)
    _bisect(corpus, compositions, rows[~held], low, middle - 1, best)


def _overlap(own: Ints, their: Ints) -> float:
    size = max(len(own), len(their))
    a, b = (np.pad(h, (0, size - len(h))).astype(np.float64) for h in (own, their))
    if not a.sum() or not b.sum():
        return float("nan")
    return float(np.minimum(a / a.sum(), b / b.sum()).sum())
