"""Pitches spelled by key."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from descant.music.keys import SCALES, TONICS, Key
from descant.music.pitches import Pitch
from descant.music.scores import Note, Score, Voice
from descant.music.spelling import signature_fifths, spell

KEYS = st.builds(Key, st.sampled_from(sorted(TONICS)), st.sampled_from(sorted(SCALES)))


def names(key: Key) -> str:
    return " ".join(str(spell(60 + i, key)) for i in range(12))


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (Key("C", "major"), "C4 Db4 D4 Eb4 E4 F4 F#4 G4 Ab4 A4 Bb4 B4"),
        (Key("A", "minor"), "C4 C#4 D4 Eb4 E4 F4 F#4 G4 G#4 A4 Bb4 B4"),
        (Key("D", "dorian"), "C4 C#4 D4 Eb4 E4 F4 F#4 G4 G#4 A4 Bb4 B4"),
        (Key("Eb", "major"), "C4 Db4 D4 Eb4 E4 F4 Gb4 G4 Ab4 A4 Bb4 B4"),
        (Key("E", "major"), "C4 C#4 D4 D#4 E4 F4 F#4 G4 G#4 A4 A#4 B4"),
        (Key("Gb", "major"), "C4 Db4 D4 Eb4 E4 F4 Gb4 G4 Ab4 A4 Bb4 Cb5"),
        (Key("C#", "major"), "B#3 C#4 D4 D#4 E4 E#4 F#4 G4 G#4 A4 A#4 B4"),
    ],
)
def test_keys_spell_as_they_are_written(key: Key, expected: str) -> None:
    assert names(key) == expected


@given(KEYS, st.integers(48, 83))
def test_a_spelled_pitch_sounds_as_its_number(key: Key, midi: int) -> None:
    assert spell(midi, key).midi == midi


@given(KEYS)
def test_a_scale_has_every_letter_once_from_the_tonic_on(key: Key) -> None:
    low = 60 + key.pitch_class
    scale = [spell(low + semitones, key) for semitones in SCALES[key.mode]]
    assert str(scale[0])[:-1] == key.tonic
    assert [p.diatonic - scale[0].diatonic for p in scale] == list(range(7))


@pytest.mark.parametrize(
    ("key", "fifths"),
    [
        (Key(), 0), (Key("D"), 2), (Key("Eb"), -3), (Key("A", "minor"), 0), (Key("C", "minor"), -3),
        (Key("D", "dorian"), 0), (Key("G", "dorian"), -1), (Key("F", "lydian"), 0), (Key("E", "phrygian"), 0),
        (Key("G", "mixolydian"), 0), (Key("B", "locrian"), 0), (Key("C#"), 7), (Key("Cb"), -7), (Key("G#"), 0),
    ],
)  # fmt: skip
def test_signatures(key: Key, fifths: int) -> None:
    assert signature_fifths(key) == fifths


def test_a_signature_alters_what_the_scale_has_altered() -> None:
    for tonic, mode in itertools.product(TONICS, SCALES):
        key = Key(tonic, mode)
        score = Score("", (Voice("", (Note(Pitch("C", 0, 4), 1),)),), fifths=signature_fifths(key))
        scale = {spell(60 + key.pitch_class + s, key) for s in SCALES[mode]}
        altered = {p.letter: p.alteration for p in scale if p.alteration}
        assert score.signature == altered or not score.fifths
