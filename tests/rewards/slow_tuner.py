"""The rules of `rl-tuner` once more, slowly: plain Python on lists of actions, sharing no code with the fast ones.

Written from the rules as docs/rl-tuner.md words them; looks back over the whole melody at every step.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

OFF, HOLD = 0, 1
# Pitch classes of the keys that the tests use, from the tonic up, counted from C.
KEYS = {
    ("C", "major"): [0, 2, 4, 5, 7, 9, 11],
    ("A", "minor"): [9, 11, 0, 2, 4, 5, 7],
    ("Bb", "major"): [10, 0, 2, 3, 5, 7, 9],
    ("F#", "mixolydian"): [6, 8, 10, 11, 1, 3, 4],
    ("B", "locrian"): [11, 0, 2, 4, 5, 7, 9],
}

Melody = Sequence[int]


def midi(action: int) -> int:
    return action + 46


def is_note(action: int) -> bool:
    return action not in (OFF, HOLD)


def notes_before(melody: Melody, t: int) -> list[int]:
    return [a for a in melody[:t] if is_note(a)]


def key(melody: Melody, t: int, scale: list[int], steps: int) -> float:
    return -1.0 if is_note(melody[t]) and midi(melody[t]) % 12 not in scale else 0.0


def tonic(melody: Melody, t: int, scale: list[int], steps: int) -> float:
    if t in (0, steps - 4):
        return 3.0 if midi(melody[t]) == 60 + scale[0] else 0.0
    if t == steps - 3:
        return 3.0 if melody[t] == HOLD else 0.0
    if t > steps - 3:
        return 3.0 if melody[t] in (HOLD, OFF) else 0.0
    return 0.0


def repeats_too_often(melody: Melody, t: int) -> bool:
    equal, holds, offs = 0, 0, 0
    for earlier in reversed(melody[:t]):
        if earlier == melody[t]:
            equal += 1
        elif earlier == HOLD:
            holds += 1
        elif earlier == OFF:
            offs += 1
        else:
            break
    if melody[t] == OFF:
        return equal >= 2
    return equal >= (7 if holds or offs else 5)


def repetition(melody: Melody, t: int, scale: list[int], steps: int) -> float:
    return -100.0 if repeats_too_often(melody, t) else 0.0


def coefficient(melody: Melody, lag: int) -> Fraction | None:
    total, n = sum(melody), len(melody)
    away = [n * a - total for a in melody]  # from the mean, times n
    power = sum(x * x for x in away)
    return Fraction(sum(x * y for x, y in zip(away, away[lag:], strict=False)), power) if power else None


def autocorrelation(melody: Melody, t: int, scale: list[int], steps: int) -> float:
    total = 0.0
    for lag in (1, 2, 3):
        r = coefficient(melody[: t + 1], lag)
        if r is not None and abs(r) > Fraction(15, 100):
            total -= 3 * float(abs(r))
    return total


def bar(melody: Melody, t: int) -> Melody | None:
    """The last eight steps, where they hold three pitches."""
    last = melody[t - 7 : t + 1] if t >= 7 else []
    return last if len({a for a in last if is_note(a)}) >= 3 else None


def pitches(melody: Melody) -> int:
    return len({a for a in melody if is_note(a)})


def motif(melody: Melody, t: int, scale: list[int], steps: int) -> float:
    last = bar(melody, t)
    return 0.0 if last is None else 3 + 0.3 * (pitches(last) - 3)


def stood_before(melody: Melody, t: int) -> bool:
    last, past = bar(melody, t), melody[: max(t - 7, 0)]
    return last is not None and any(past[i : i + 8] == last for i in range(len(past)))


def repeated_motif(melody: Melody, t: int, scale: list[int], steps: int) -> float:
    return 4.0 + pitches(melody[t - 7 : t + 1]) - 3 if stood_before(melody, t) else 0.0


def intervals(melody: Melody, t: int, scale: list[int], steps: int) -> float:
    earlier = notes_before(melody, t)
    if not earlier:
        return 0.0
    place, now = midi(earlier[-1]) % 12, melody[t]
    if now == HOLD:
        return 5 * (0.3 if place in (scale[0], scale[4]) else 0.075)
    if now == OFF:
        return 5 * (0.15 if place in (scale[0], scale[4]) else 0.05)
    size = abs(now - earlier[-1])
    if size == (scale[2] - scale[0]) % 12 and place in (scale[0], scale[2]):
        return 5 * 0.15
    if size == (scale[4] - scale[0]) % 12 and place in (scale[0], scale[4]):
        return 5 * 0.1
    if size > 12:
        return -5.0
    return 5 * {11: -0.3, 4: 0.09, 2: 0.08, 5: 0.07, 9: 0.05, 7: 0.02}.get(size, 0.0)


def leap_events(melody: Melody) -> dict[int, int]:
    """By step: 1 where a leap is resolved, -1 where one is doubled."""
    events: dict[int, int] = {}
    begun = [(t, a) for t, a in enumerate(melody) if is_note(a)]
    open_leap: tuple[int, int] | None = None  # the note that was left, 1 up or -1 down
    last_leap = -1
    for (_, before), (t, now) in pairwise(begun):
        way = 1 if now > before else -1
        if abs(now - before) < 7:
            if open_leap is not None:
                origin, direction = open_leap
                if now <= origin if direction == 1 else now >= origin:
                    events[t] = 1
                    open_leap = None
            continue
        between = t - last_leap - 1
        last_leap = t
        if open_leap is None:
            open_leap = before, way
        elif open_leap[1] == way:
            events[t] = -1
        else:
            if between > 6:
                events[t] = 1
            open_leap = None
    return events


def leaps(melody: Melody, t: int, scale: list[int], steps: int) -> float:
    return 5.0 * leap_events(melody[: t + 1]).get(t, 0)


def unique_highest(melody: Melody, t: int, scale: list[int], steps: int) -> float:
    notes = notes_before(melody, t + 1)
    return 3.0 if t == steps - 1 and notes and notes.count(max(notes)) == 1 else 0.0


def unique_lowest(melody: Melody, t: int, scale: list[int], steps: int) -> float:
    notes = notes_before(melody, t + 1)
    return 3.0 if t == steps - 1 and notes and notes.count(min(notes)) == 1 else 0.0


TERMS = {
    "key": key,
    "tonic": tonic,
    "repetition": repetition,
    "autocorrelation": autocorrelation,
    "motif": motif,
    "repeated-motif": repeated_motif,
    "intervals": intervals,
    "leaps": leaps,
    "unique-highest": unique_highest,
    "unique-lowest": unique_lowest,
}


def terms(melody: Melody, of: tuple[str, str] = ("C", "major")) -> dict[str, list[float]]:
    """Every term at every step of a complete melody."""
    return {
        name: [term(melody, t, KEYS[of], len(melody)) for t in range(len(melody))]
        for name, term in TERMS.items()
    }
