"""Pitches spelled by key."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from descant.music.keys import SCALES, TONICS, Key
from descant.music.spelling import spell

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
