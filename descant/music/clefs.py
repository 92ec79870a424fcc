"""Clefs, chosen by range."""

from __future__ import annotations

import statistics
from enum import Enum

from descant.music.pitches import Pitch
from descant.music.scores import Voice

MIDDLE_C = Pitch("C", 0, 4)


class Clef(Enum):
    """A clef's name, and its MusicXML sign and line."""

    TREBLE = ("treble", "G", 2)
    BASS = ("bass", "F", 4)


def clef_of(voice: Voice) -> Clef:
    """Treble where the median note is middle C or higher, or where there is none."""
    steps = [pitch.diatonic for pitch in voice.pitches] or [MIDDLE_C.diatonic]
    return Clef.TREBLE if statistics.median(steps) >= MIDDLE_C.diatonic else Clef.BASS
