"""What several tests of music need."""

from __future__ import annotations

from types import ModuleType

import pytest

from descant.music.pitches import Pitch, parse_line
from descant.music.scores import Note, Score, Voice, counterpoint_score


@pytest.fixture(scope="session")
def music21() -> ModuleType:
    """An independent reader of music; its slow import stays outside the deadline of property tests."""
    module: ModuleType = pytest.importorskip("music21")
    return module


@pytest.fixture(scope="session")
def duet() -> Score:
    """Fux's dorian cantus and his counterpoint above it (1725, book I): eleven bars of whole notes."""
    cantus = parse_line("D3 F3 E3 D3 G3 F3 A3 G3 F3 E3 D3")
    counterpoint = parse_line("A3 A3 G3 A3 B3 C4 C4 B3 D4 C#4 D4")
    return counterpoint_score(cantus, counterpoint, "above", title="Dorian")


@pytest.fixture(scope="session")
def tune() -> Score:
    """One voice in 3/4 with a rest, every accidental, and notes that cross bar lines."""
    parts = ["C#5 1.5", "C5 0.5", "C#5 1", "r 1", "Bb4 3.5", "B##4 0.25", "Ebb5 5.25", "F4 2.5", "E4 0.5"]
    return Score("Tune", (Voice("Melody", tuple(_note(part) for part in parts)),), beats_per_bar=3, tempo=90)


def _note(text: str) -> Note:
    name, beats = text.split()
    return Note(None if name == "r" else Pitch.parse(name), float(beats))
