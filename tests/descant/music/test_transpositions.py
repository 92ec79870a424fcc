"""From a model's key to the one asked for."""

from __future__ import annotations

import itertools

import pytest

from descant.music.keys import SCALES, TONICS, Key
from descant.music.spelling import spell
from descant.music.transpositions import moved, shift_between


@pytest.mark.parametrize(
    ("own", "asked", "semitones"),
    [
        (Key(), Key("D", "dorian"), 0),
        (Key(), Key("A", "minor"), 0),
        (Key(), Key("D"), 2),
        (Key(), Key("G"), -5),
        (Key(), Key("F#"), -6),
        (Key(), Key("G", "dorian"), 5),
        (Key(), Key("E", "minor"), -5),
        (Key("D", "dorian"), Key("G", "dorian"), 5),
        (Key("D", "dorian"), Key("C"), 0),
        (Key("Bb"), Key("C"), 2),
    ],
)
def test_shifts_by_hand(own: Key, asked: Key, semitones: int) -> None:
    assert shift_between(own, asked) == semitones


def test_a_shifted_scale_is_the_one_asked_for() -> None:
    keys = [Key(tonic, mode) for tonic, mode in itertools.product(TONICS, SCALES)]
    for own, asked in itertools.product(keys[::7], keys):
        shift = shift_between(own, asked)
        assert -6 <= shift <= 5
        assert {(p + shift) % 12 for p in own.pitch_classes} == asked.pitch_classes
        inside = moved(asked, -shift)
        assert inside.mode == asked.mode
        assert {(p + shift) % 12 for p in inside.pitch_classes} == asked.pitch_classes


def test_keys_are_named_as_they_are_most_often() -> None:
    names = ["C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B"]
    assert {moved(Key("C"), i).tonic for i in range(1, 12)} | {"C"} <= set(names) | {"C#"}
    assert moved(Key("Gb"), 12) == Key("Gb")
    for i in range(12):
        key = moved(Key("C"), i)
        assert str(spell(60 + key.pitch_class, key))[:-1] == key.tonic
