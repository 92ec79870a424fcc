"""Primers: from text and from arrays to actions, and what can't be one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from descant.errors import DescantError
from descant.music.keys import Key
from descant.music.melodies import Note, actions_of, notes_of
from descant.music.primers import parse_primer, primer_actions, primer_text

from ...melodies import melodies


def test_notes_lengths_and_rests() -> None:
    assert parse_primer("D4 E4:2").tolist() == [16, 1, 1, 1, 18, 1]
    assert parse_primer("R:2, c4:1 r:3 R:1 C4:2 z:1 D♯4:1").tolist() == [1, 1, 14, 0, 1, 1, 1, 14, 1, 0, 17]
    assert parse_primer("C3:1 B5:1").tolist() == [2, 37]
    assert parse_primer("G4:1", shift=-5).tolist() == [16]


def test_what_sounds_is_what_was_written() -> None:
    actions = parse_primer("F4:2 R:2 Bb4:3 A4")
    assert notes_of(actions) == (Note(0, 2, 65), Note(4, 3, 70), Note(7, 4, 69))
    np.testing.assert_array_equal(actions[:7], actions_of([Note(0, 2, 65), Note(4, 3, 70)], 7))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no notes"),
        ("D4 H4", "note 2: 'H4' is not a pitch"),
        ("D4:", "note 1: 'D4:' has no length on the grid"),
        ("D4 E4:1.5", "note 2: 'E4:1.5' has no length on the grid"),
        ("D4:0", "no length on the grid"),
        ("D4:-2", "no length on the grid"),
        ("D4:²", "no length on the grid"),
        ("D4:99999999999999999999", "no length on the grid"),
        ("C6", "note 1: C6 is out of range: the lowest note is C3, the highest B5"),
        ("D4 B2:2", "note 2: B2 is out of range"),
        ("60", "is not a pitch"),
    ],
)
def test_what_is_no_primer_is_refused(text: str, words: str) -> None:
    with pytest.raises(DescantError, match=words):
        parse_primer(text)


def test_the_range_is_told_as_it_is_shifted() -> None:
    with pytest.raises(DescantError, match="lowest note is F3, the highest E6"):
        parse_primer("E3", shift=-5)
    assert parse_primer("E6:1", shift=-5).tolist() == [37]


def test_rows_of_their_own() -> None:
    assert primer_actions("C4:2", 3, 8).tolist() == [[14, 1]] * 3
    assert primer_actions([14, 1], 2, 8).tolist() == [[14, 1]] * 2
    assert primer_actions(np.array([[14, 1], [16, -1], [-1, -1]], np.int8), 3, 8).tolist() == [
        [14, 1],
        [16, -1],
        [-1, -1],
    ]


@pytest.mark.parametrize(
    ("primer", "words"),
    [
        ([38], "actions 0 to 37"),
        ([-2], "actions 0 to 37"),
        ([[14, -1, 14]] * 2, "only behind them"),
        ([1.5], "text such as"),
        ([], "text such as"),
        (7, "text such as"),
        (None, "text such as"),
        ({"a": 1}, "text such as"),
        ([[14], [14, 1]], "equally long"),
        ([[14]] * 3, "3 rows, the environment 2"),
        ([1] * 8, "takes 8 steps of a melody of 8"),
        ("D4 E4", "takes 8 steps of a melody of 8"),
        ([[[14]]], "text such as"),
        (["C4"], "text such as"),
    ],
)
def test_what_fits_no_batch_is_refused(primer: Any, words: str) -> None:
    with pytest.raises(DescantError, match=words):
        primer_actions(primer, 2, 8)


def test_text_comes_back_and_can_be_shifted() -> None:
    key = Key("D", "dorian")
    for text in ("D4:4 E4:2", "R:2 C4:1 R:3 C4:2 R:1 Eb4:1", "R:8"):
        assert primer_text(parse_primer(text), key) == text
    assert primer_text(parse_primer("D4:4 F4:2"), Key("G", "dorian"), shift=5) == "G4:4 Bb4:2"
    for row in melodies(2, 60, 24):
        text = primer_text(row, key)
        assert notes_of(parse_primer(text)) == notes_of(row)
        assert len(parse_primer(text)) == 24
