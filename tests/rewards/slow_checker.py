"""The rules of first species once more, slowly: plain loops over spelled pitches, sharing no table with the fast ones.

Written from the issue (hard rules) and from the sentences that word the soft rules, with `Pitch`, `Interval` and
`motion` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from descant.music.intervals import Interval
from descant.music.motions import Motion, motion
from descant.music.pitches import Pitch

SUNG = {"P1", "m2", "M2", "m3", "M3", "P4", "P5", "P8"}
SAME_WAY = {Motion.SIMILAR, Motion.PARALLEL}
RAISED = {"D": "C", "G": "F", "A": "G"}  # leading note by final
TENTH = 16  # semitones of a major tenth

Found = tuple[str, str, int, float]  # rule, severity, position from 1, cost


@dataclass(frozen=True)
class Bar:
    """A note of the counterpoint in its place: `t` from 0."""

    cantus: Sequence[Pitch]
    line: Sequence[Pitch]
    position: str
    t: int

    @property
    def note(self) -> Pitch:
        return self.line[self.t]

    @property
    def against(self) -> Pitch:
        return self.cantus[self.t]

    @property
    def is_first(self) -> bool:
        return self.t == 0

    @property
    def is_penultimate(self) -> bool:
        return self.t == len(self.cantus) - 2

    @property
    def is_last(self) -> bool:
        return self.t == len(self.cantus) - 1

    @property
    def is_crossed(self) -> bool:
        return self.note < self.against if self.position == "above" else self.note > self.against

    @property
    def harmony(self) -> str:
        """Within an octave, but P8 for any number of octaves."""
        return Interval.between(self.against, self.note).simple_name

    @property
    def before(self) -> Bar:
        return Bar(self.cantus, self.line, self.position, self.t - 1)

    @property
    def move(self) -> Interval:
        return Interval.between(self.before.note, self.note)

    @property
    def cantus_move(self) -> Interval:
        return Interval.between(self.before.against, self.against)

    @property
    def motion(self) -> Motion:
        return motion(self.before.against, self.before.note, self.against, self.note)


def leaps(move: Interval) -> bool:
    return move.number >= 3


def distance(bar: Bar) -> int:
    return abs(bar.note.midi - bar.against.midi)


def out_of_range(bar: Bar) -> bool:
    lowest, highest = min(p.midi for p in bar.cantus), max(p.midi for p in bar.cantus)
    if bar.position == "above":
        return not lowest <= bar.note.midi <= highest + TENTH
    return not lowest - TENTH <= bar.note.midi <= highest


def dissonant(bar: Bar) -> bool:
    return bar.harmony not in {"P1", "m3", "M3", "P5", "m6", "M6", "P8"}


def bad_opening(bar: Bar) -> bool:
    fifth_above = bar.harmony == "P5" and bar.position == "above" and bar.note > bar.against
    return bar.is_first and not (bar.harmony in {"P1", "P8"} or fifth_above)


def bad_ending(bar: Bar) -> bool:
    return bar.is_last and bar.harmony not in {"P1", "P8"}


def bad_cadence(bar: Bar) -> bool:
    wanted = "M6" if bar.position == "above" else "m3"
    return bar.is_penultimate and (bar.harmony != wanted or bar.is_crossed)


def inner_unison(bar: Bar) -> bool:
    return bar.note == bar.against and not bar.is_first and not bar.is_last


def foreign(bar: Bar) -> bool:
    if bar.note.alteration == 1:
        leading = RAISED.get(bar.cantus[-1].letter) == bar.note.letter
        return not (bar.is_penultimate and leading)
    if bar.note.alteration == -1:  # B flat
        after_f = not bar.is_first and (bar.before.note.letter, bar.before.note.alteration) == ("F", 0)
        flat_cantus = (bar.against.letter, bar.against.alteration) in {("F", 0), ("B", -1)}
        return not (after_f or flat_cantus)
    return False


def direct_perfect(bar: Bar) -> bool:
    return bar.motion in SAME_WAY and bar.harmony in {"P1", "P5", "P8"}


def unison_leap(bar: Bar) -> bool:
    return leaps(bar.move) and (bar.note == bar.against or bar.before.note == bar.before.against)


def converging_leap(bar: Bar) -> bool:
    return (
        bar.motion == Motion.CONTRARY
        and bar.harmony in {"P1", "P8"}
        and distance(bar.before) > distance(bar)
        and (leaps(bar.move) or leaps(bar.cantus_move))
    )


def unsung(bar: Bar) -> bool:
    return not (bar.move.name in SUNG or (bar.move.name == "m6" and bar.move.direction > 0))


def perfect_inside(bar: Bar) -> bool:
    return bar.harmony in {"P1", "P5", "P8"} and not (bar.is_first or bar.is_penultimate or bar.is_last)


def too_far_apart(bar: Bar) -> bool:
    return Interval.between(bar.against, bar.note).number > 10


def overlap(bar: Bar) -> bool:
    side = 1 if bar.position == "above" else -1
    passes = side * (bar.note.midi - bar.before.against.midi) < 0
    passed = side * (bar.before.note.midi - bar.against.midi) < 0
    return passes or passed


def leap_together(bar: Bar) -> bool:
    return bar.motion in SAME_WAY and leaps(bar.move) and leaps(bar.cantus_move)


def bad_final_move(bar: Bar) -> bool:
    return bar.is_last and not (bar.motion == Motion.CONTRARY and bar.move.number == 2)


def unrecovered(bar: Bar) -> bool:
    leap = bar.before.move
    return leap.number >= 4 and not (bar.move.number == 2 and bar.move.direction == -leap.direction)


def no_triad(bar: Bar) -> bool:
    first, second = bar.before.move, bar.move
    if not (leaps(first) and leaps(second) and first.direction == second.direction):
        return False
    return (first.number, second.number) not in {(3, 3), (3, 4), (4, 3)}


def long_run(bar: Bar) -> bool:
    """A fourth third (tenth, ...) in a row or a later one, or the same of sixths."""
    if bar.t < 3:
        return False
    number = {
        abs(Interval.between(bar.cantus[i], bar.line[i]).steps) % 7 for i in range(bar.t - 3, bar.t + 1)
    }
    return number in ({2}, {5})


def wide_compass(bar: Bar) -> bool:
    return any(Interval.between(bar.note, earlier).steps > 9 for earlier in bar.line[: bar.t])


def no_climax(bar: Bar) -> bool:
    return bar.is_last and list(bar.line).count(max(bar.line)) != 1


IN_ANY_BAR: dict[str, tuple[str, Callable[[Bar], bool]]] = {
    "range": ("error", out_of_range),
    "consonance": ("error", dissonant),
    "opening": ("error", bad_opening),
    "ending": ("error", bad_ending),
    "cadence": ("error", bad_cadence),
    "inner-unison": ("error", inner_unison),
    "diatonic": ("error", foreign),
    "imperfect": ("warning", perfect_inside),
    "crossing": ("warning", lambda bar: bar.is_crossed),
    "spacing": ("warning", too_far_apart),
    "run": ("warning", long_run),
    "compass": ("warning", wide_compass),
    "climax": ("warning", no_climax),
}
FROM_THE_SECOND: dict[str, tuple[str, Callable[[Bar], bool]]] = {
    "direct-perfect": ("error", direct_perfect),
    "unison-leap": ("error", unison_leap),
    "converging-leap": ("error", converging_leap),
    "melodic-interval": ("error", unsung),
    "motion": ("warning", lambda bar: bar.motion in SAME_WAY),
    "overlap": ("warning", overlap),
    "repetition": ("warning", lambda bar: bar.note == bar.before.note),
    "step": ("warning", lambda bar: leaps(bar.move)),
    "wide-skip": ("warning", lambda bar: bar.move.number > 5),
    "leaping-together": ("warning", leap_together),
    "cadence-step": ("warning", bad_final_move),
}
FROM_THE_THIRD: dict[str, tuple[str, Callable[[Bar], bool]]] = {
    "recovery": ("warning", unrecovered),
    "outline": ("warning", no_triad),
}


def check(
    cantus: Sequence[Pitch], position: str, line: Sequence[Pitch], costs: Mapping[str, float]
) -> set[Found]:
    """All that is wrong with a line, whole or begun. Rules of no cost are passed over."""
    return set(_found(cantus, position, line, costs))


def _found(
    cantus: Sequence[Pitch], position: str, line: Sequence[Pitch], costs: Mapping[str, float]
) -> Iterator[Found]:
    for t in range(len(line)):
        bar = Bar(cantus, line, position, t)
        for first, rules in enumerate((IN_ANY_BAR, FROM_THE_SECOND, FROM_THE_THIRD)):
            for rule, (severity, broken) in rules.items():
                if t >= first and costs[rule] and broken(bar):
                    yield rule, severity, t + 1, costs[rule]
