"""How a key spells pitches: F# in G major is Gb in Db major."""

from __future__ import annotations

from descant.music.keys import SCALES, Key
from descant.music.pitches import SEMITONES, Pitch

FIFTHS = "FCGDAEB"  # natural letters, each a fifth above the one before
# Modes with a lowered second or sixth degree: what lies outside of them takes one more flat and one less sharp.
FLAT_MODES = frozenset({"minor", "aeolian", "phrygian", "locrian"})


def spell(midi: int, key: Key) -> Pitch:
    """A MIDI number spelled in a key.

    The scale has each letter once. What lies outside of it is a natural where there is one, else the nearest on the
    line of fifths: Db, Eb, F#, Ab, Bb in C major, and in A minor, one fifth further to the flats, Bb, C#, Eb, F#, G#.
    """
    tonic = _fifths(key.tonic)
    lowest = tonic - (6 if key.mode in FLAT_MODES else 5)
    around = [f for f in range(lowest, lowest + 12) if _sounds(f, midi)]
    natural = [f for f in range(-1, 6) if _sounds(f, midi)]
    in_scale = (midi - key.pitch_class) % 12 in SCALES[key.mode]
    fifths = (around if in_scale else natural + around)[0]
    letter, alteration = FIFTHS[(fifths + 1) % 7], (fifths + 1) // 7
    return Pitch(letter, alteration, (int(midi) - SEMITONES[letter] - alteration) // 12 - 1)


def signature_fifths(key: Key) -> int:
    """Sharps of a key's signature, flats below 0: 2 in D major, 0 in D dorian. Past seven there is no signature: 0."""
    white = {pitch % 12 for pitch in SCALES["major"]}
    above = next(f for f in range(-1, 6) if {(7 * f + s) % 12 for s in SCALES[key.mode]} == white)
    fifths = _fifths(key.tonic) - above
    return fifths if abs(fifths) <= 7 else 0


def _fifths(name: str) -> int:
    """Fifths above C of a pitch's name: 0 for C, 7 for C#, -2 for Bb."""
    return FIFTHS.index(name[0]) - 1 + 7 * (name.count("#") - name.count("b"))


def _sounds(fifths: int, midi: int) -> bool:
    return (7 * fifths - midi) % 12 == 0
