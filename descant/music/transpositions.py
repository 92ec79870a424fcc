"""From the key that a model writes in to the one that is asked for."""

from __future__ import annotations

from descant.music.keys import TONICS, Key
from descant.music.tunes import WHITE_TONICS


def shift_between(own: Key, asked: Key) -> int:
    """Semitones, -6 to 5, that take the notes of one scale to those of the other.

    Of equal modes the tonics come to lie on each other. Of others the scales do, as D dorian lies on C major: their
    tonics do not.
    """
    return (_signature(asked) - _signature(own) + 6) % 12 - 6


def moved(key: Key, semitones: int) -> Key:
    """A key of the same mode so many semitones higher, named as keys are named most often."""
    names = {value: name for name, value in reversed(TONICS.items()) if name not in ODD}
    return key if semitones % 12 == 0 else Key(names[(key.pitch_class + semitones) % 12], key.mode)


ODD = frozenset({"B#", "Fb", "E#", "Cb", "D#", "G#", "A#", "Gb"})


def _signature(key: Key) -> int:
    """Semitones of its scale above the one without sharps or flats."""
    return (key.pitch_class - WHITE_TONICS[key.mode]) % 12
