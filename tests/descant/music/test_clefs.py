"""Clefs by range."""

from __future__ import annotations

import pytest

from descant.music.clefs import Clef, clef_of
from descant.music.pitches import Pitch
from descant.music.scores import Note, Voice


@pytest.mark.parametrize(
    ("names", "clef"),
    [
        ("C4", Clef.TREBLE),
        ("B3", Clef.BASS),
        ("G4 A4 C3", Clef.TREBLE),
        ("D3 E3 C4", Clef.BASS),
        ("", Clef.TREBLE),
    ],
)
def test_clef_follows_the_median(names: str, clef: Clef) -> None:
    notes = tuple(Note(Pitch.parse(name), 1) for name in names.split())
    assert clef_of(Voice("", (*notes, Note(None, 1)))) is clef
