"""Motion of two voices."""

from __future__ import annotations

import pytest
from hypothesis import given

from descant.music.motions import Motion, motion
from descant.music.pitches import Pitch, parse_line

from .strategies import pitches

PITCHES = pitches()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("D4 A4 E4 G4", Motion.CONTRARY),
        ("E4 G4 D4 A4", Motion.CONTRARY),
        ("D4 A4 D4 G4", Motion.OBLIQUE),
        ("D4 A4 E4 A4", Motion.OBLIQUE),
        ("D4 F4 E4 A4", Motion.SIMILAR),
        ("D4 F4 E4 G4", Motion.PARALLEL),
        ("C4 E4 D4 F4", Motion.PARALLEL),
        ("D4 A4 D4 A4", Motion.STATIC),
        ("D4 F4 D4 F#4", Motion.OBLIQUE),
        ("C4 F4 C#4 F#4", Motion.PARALLEL),
        ("C#4 F4 C4 F#4", Motion.CONTRARY),
    ],
)
def test_motion(line: str, expected: Motion) -> None:
    """Lower and upper voice, then lower and upper voice again."""
    assert motion(*parse_line(line)) is expected


@given(PITCHES, PITCHES, PITCHES, PITCHES)
def test_motion_reads_the_same_backwards_and_with_voices_exchanged(
    a: Pitch, b: Pitch, c: Pitch, d: Pitch
) -> None:
    assert motion(a, b, c, d) is motion(c, d, a, b) is motion(b, a, d, c)


def test_motions_are_words() -> None:
    assert f"{Motion.CONTRARY}" == "contrary"
