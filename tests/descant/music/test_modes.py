"""Modes and their leading notes."""

from __future__ import annotations

import pytest

from descant.errors import DescantError
from descant.music.modes import MODES, mode_of
from descant.music.pitches import Pitch


@pytest.mark.parametrize(
    ("name", "final", "leading_note"),
    [
        ("dorian", "D", ("C", 1)),
        ("phrygian", "E", ("D", 0)),
        ("lydian", "F", ("E", 0)),
        ("mixolydian", "G", ("F", 1)),
        ("aeolian", "A", ("G", 1)),
        ("ionian", "C", ("B", 0)),
    ],
)
def test_modes(name: str, final: str, leading_note: tuple[str, int]) -> None:
    mode = MODES[name]
    assert mode_of(Pitch(final, 0, 4)) is mode
    assert mode.name == name
    assert mode.leading_note == leading_note
    assert mode.raises_leading_note == (leading_note[1] == 1)


def test_there_are_six() -> None:
    assert len(MODES) == 6


@pytest.mark.parametrize("final", ["B3", "F#4", "Db4"])
def test_other_finals_are_to_be_transposed(final: str) -> None:
    with pytest.raises(DescantError, match=rf"{final}.*Transpose.*D \(dorian\)"):
        mode_of(Pitch.parse(final))
