"""Statistics of melodies: exact values at melodies made by hand, and slow versions of them."""

from __future__ import annotations

import math
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from descant.errors import DescantError
from descant.music.keys import Key
from descant.music.melodies import midi_of, notes_of
from descant.music.melody_states import Actions, scan
from descant.music.melody_statistics import (
    Corpus,
    alike_openings,
    copied_share,
    distinct_share,
    measure,
    note_histograms,
    overlap_areas,
    summary,
)

from ...melodies import even, melodies, patterned, wild
from ...rewards import slow_tuner

C, D, E, F, G, A, B = 14, 16, 18, 19, 21, 23, 25
OFF, HOLD = 0, 1
MAJOR = [0, 2, 4, 5, 7, 9, 11]
NAN = float("nan")


def rows(*melodies: list[int]) -> Actions:
    return np.array(melodies, np.int8)


def of(*melodies: list[int], key: Key | None = None) -> dict[str, float]:
    return {k: round(v, 6) for k, v in summary(rows(*melodies), key or Key()).items()}


def test_values_at_melodies_made_by_hand() -> None:
    bar = [C, D, E, HOLD, F, OFF, C, 20]
    found = of(bar + bar, [OFF, *[HOLD] * 15])
    assert found["out_of_key"] == 2 / 32
    assert found["repeated"] == 8 / 32  # with a note-off before them, holds from the 8th on
    assert found["in_motif"] == 9 / 32
    assert found["in_repeated_motif"] == 1 / 32
    assert found["starts_on_tonic"] == 0.5
    assert (found["unique_highest"], found["unique_lowest"]) == (0, 0)
    assert math.isnan(found["leaps_resolved"])
    assert found["distinct"] == 1


def test_leaps_are_pooled_over_melodies() -> None:
    assert of([C, G, D, C], [C, G, 28, C], [C, D, E, C], [C, G, C, C])["leaps_resolved"] == 0.5
    assert of([C, G, D, C], [C, G, D, C], [C, G, 28, C])["leaps_resolved"] == round(2 / 3, 6)


def test_starting_on_the_tonic_is_starting_on_the_one_above_middle_c() -> None:
    melody = [A, C, A, C]
    assert of(melody)["starts_on_tonic"] == 0
    assert of(melody, key=Key("A", "minor"))["starts_on_tonic"] == 1
    assert of([2, C, C, C], [26, C, C, C])["starts_on_tonic"] == 0


def test_extremes_range_entropy_and_scale() -> None:
    found = of([C, D, C, E])
    assert (found["unique_highest"], found["unique_lowest"]) == (1, 0)
    assert found["pitch_range"] == 4
    assert found["pitch_class_entropy"] == 1.5
    assert of([C, D, 26, E])["pitch_class_entropy"] == 1.5  # octaves are one class
    assert of([C, 15, 16, 17])["scale_consistency"] == 0.75  # Db major
    assert of([C, D, E, 20])["scale_consistency"] == 1  # G major
    assert of([C, HOLD, C, OFF])["pitch_class_entropy"] == 0


def test_what_is_not_defined_is_left_out_of_means() -> None:
    silent = [OFF, OFF, HOLD, OFF]
    found = of([C, D, C, D], silent, [HOLD] * 4)
    assert (found["pitch_range"], found["pitch_class_entropy"], found["scale_consistency"]) == (2, 1, 1)
    assert found["autocorrelation_2"] == round((1 / 2 - 1 / 6) / 2, 6)
    assert math.isnan(of(silent)["pitch_range"])
    assert math.isnan(of([HOLD] * 4)["autocorrelation_1"])
    assert (found["unique_highest"], found["unique_lowest"]) == (0, 0)


def test_the_distinct_share_counts_melodies() -> None:
    assert distinct_share(rows([C, D], [C, D], [D, C], [C, C])) == 0.75
    assert of([C, D, C, D], [C, D, C, D])["distinct"] == 0.5


def test_openings_are_alike_where_the_first_eight_steps_are() -> None:
    scale, other = [C, D, E, F, C, D, E, F], [C, D, E, F, C, D, E, D]
    assert of([*scale, C], [*other, D], [*scale, E])["alike_openings"] == pytest.approx(1 / 3, abs=1e-6)
    assert of([*scale, C], [*scale, D], [*scale, E])["alike_openings"] == 1
    assert math.isnan(of(scale)["alike_openings"])
    assert alike_openings(rows([C, D], [D, C], [C, D])).tolist() == [0.5, 0, 0.5]
    assert alike_openings(rows([C, D], [D, C], [C, E]), steps=1).tolist() == [0.5, 0, 0.5]


def slow_measure(melody: list[int]) -> dict[str, float]:
    """The same, from the slow writing of the rules, in C major."""
    terms, steps = slow_tuner.terms(melody), len(melody)
    leaps = Counter(slow_tuner.leap_events(melody).values())
    midi = [int(midi_of(np.array(a))) for a in melody if a > 1]
    shares = [n / len(midi) for n in Counter(m % 12 for m in midi).values()]
    scales = [sum((m - t) % 12 in MAJOR for m in midi) for t in range(12)]
    found = {
        "out_of_key": -sum(terms["key"]) / steps,
        "repeated": sum(x < 0 for x in terms["repetition"]) / steps,
        "in_motif": sum(x > 0 for x in terms["motif"]) / steps,
        "in_repeated_motif": sum(x > 0 for x in terms["repeated-motif"]) / steps,
        "leaps_resolved": leaps[1],
        "leaps_doubled": leaps[-1],
        "starts_on_tonic": float(melody[0] == 14),
        "unique_highest": terms["unique-highest"][-1] / 3,
        "unique_lowest": terms["unique-lowest"][-1] / 3,
        "pitch_class_entropy": -sum(p * math.log2(p) for p in shares) if midi else NAN,
        "scale_consistency": max(scales) / len(midi) if midi else NAN,
        "pitch_range": max(midi) - min(midi) if midi else NAN,
    }
    lags = {lag: slow_tuner.coefficient(melody, lag) for lag in (1, 2, 3)}
    return found | {f"autocorrelation_{lag}": NAN if r is None else float(r) for lag, r in lags.items()}


def test_fast_and_slow_measures_agree() -> None:
    compositions = melodies(8, 420)
    fast = measure(compositions, Key())
    slow = [slow_measure(melody) for melody in compositions.tolist()]
    assert fast.keys() == slow[0].keys()
    for name, values in fast.items():
        np.testing.assert_allclose(values, [found[name] for found in slow], atol=1e-12, err_msg=name)


def test_a_batch_is_measured_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    compositions = melodies(9, 60)
    whole = measure(compositions, Key())
    monkeypatch.setattr("descant.music.melody_statistics.ROWS", 7)
    for name, values in measure(compositions, Key()).items():
        np.testing.assert_array_equal(values, whole[name])


def slow_longest(melody: list[int], training: list[list[int]]) -> int:
    pieces = {
        tuple(tune[i:j]) for tune in training for i in range(len(tune)) for j in range(i + 1, len(tune) + 1)
    }
    own = ((i, j) for i in range(len(melody)) for j in range(i + 1, len(melody) + 1))
    return max((j - i for i, j in own if tuple(melody[i:j]) in pieces), default=0)


@pytest.mark.parametrize("buckets", [1, 4, 1 << 24])
def test_copied_runs_are_found_wherever_they_stand(buckets: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("descant.music.melody_statistics._BUCKET", np.uint64(buckets - 1))
    rng = np.random.default_rng(0)
    training, compositions = patterned(rng, 12, 24), wild(rng, 30, 32)
    for row in range(20):  # row steps of a tune, somewhere
        at, source = rng.integers(33 - row), rng.integers(25 - row)
        compositions[row, at : at + row] = training[row % 12, source : source + row]
    corpus = Corpus(training)
    expected = [slow_longest(c, training.tolist()) for c in compositions.tolist()]
    assert corpus.longest(compositions).tolist() == expected
    assert {16, 19} <= set(expected)
    for run in (1, 7, 16, 24, 25, 40):
        assert corpus.holds(compositions, run).tolist() == [n >= run for n in expected]
    assert copied_share(compositions, training) == np.mean([n >= 16 for n in expected])
    assert copied_share(training, training, 24) == 1
    with pytest.raises(DescantError, match="at least 1 step"):
        corpus.holds(compositions, 0)


def test_histograms_of_moves_and_durations() -> None:
    found = note_histograms(rows([HOLD, C, HOLD, E, OFF, HOLD, C, HOLD], [C, 37, OFF, OFF, 2, OFF, OFF, OFF]))
    moves = {size - 35: int(n) for size, n in enumerate(found["intervals"]) if n}
    assert moves == {4: 1, -4: 1, 23: 1, -35: 1}
    assert found["durations"].tolist() == [0, 4, 2, 0, 0, 0, 0, 0, 0]
    compositions = melodies(10, 120)
    found = note_histograms(compositions)
    notes = [notes_of(melody) for melody in compositions.tolist()]
    lengths = Counter(note.steps for line in notes for note in line)
    assert {k: int(n) for k, n in enumerate(found["durations"]) if n} == lengths
    sizes = Counter(b.midi - a.midi for line in notes for a, b in pairwise(line))
    assert {k - 35: int(n) for k, n in enumerate(found["intervals"]) if n} == sizes


def test_overlap_is_one_for_equals_and_none_for_strangers() -> None:
    up, down = rows([C, D, E, HOLD]), rows([E, HOLD, D, C])
    assert overlap_areas(up, up) == {"intervals": 1, "durations": 1}
    assert overlap_areas(up, down) == {"intervals": 0, "durations": 1}
    assert overlap_areas(rows([C, D, C, D]), up)["intervals"] == pytest.approx(2 / 3)
    assert overlap_areas(rows([C, HOLD, HOLD, HOLD, HOLD]), up)["durations"] == 0  # of another length
    assert math.isnan(overlap_areas(rows([C, HOLD]), up)["intervals"])


@pytest.mark.parametrize(
    ("compositions", "words"),
    [
        (np.zeros((0, 8), np.int8), "no composition"),
        (np.zeros(8, np.int8), r"integers \[n, T\]"),
        (np.zeros((2, 8)), r"not float64\[2, 8\]"),
        (np.full((2, 8), 38), "actions 0 to 37"),
        (np.full((2, 8), -1), "actions 0 to 37"),
        (np.zeros((2, 3), np.int8), "steps must be 4 to 1024"),
    ],
)
def test_what_are_no_melodies_is_refused(compositions: Actions, words: str) -> None:
    with pytest.raises(DescantError, match=words):
        summary(compositions, Key())


def test_a_scan_ends_where_the_melodies_do() -> None:
    compositions = even(np.random.default_rng(0), 5, 12)
    state = scan(compositions, Key("D", "dorian"))
    assert (state.written == compositions).all()
    assert (state.step == 12).all()
    assert state.key == Key("D", "dorian")


def test_the_table_in_the_document_names_every_statistic() -> None:
    document = (Path(__file__).parents[3] / "docs/melody.md").read_text(encoding="utf-8")
    cells = re.findall(r"^\| ((?:`\w+` )+)\|", document.split("| Statistic |")[1], re.MULTILINE)
    told = [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]
    assert sorted(told) == sorted([*of([C, D, E, F]), "copied_share", "longest_copied", "overlap_areas"])
