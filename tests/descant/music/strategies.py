"""Random music for property tests."""

from __future__ import annotations

from hypothesis import strategies as st

from descant.music.pitches import LETTERS, Pitch
from descant.music.scores import Note, Score, Voice


def pitches(lowest: int = 0, highest: int = 8) -> st.SearchStrategy[Pitch]:
    """Any spelling, with octaves from `lowest` to `highest`."""
    return st.builds(Pitch, st.sampled_from(LETTERS), st.integers(-2, 2), st.integers(lowest, highest))


def scores() -> st.SearchStrategy[Score]:
    """Scores of one to three voices, lengths in 64th notes, any time and key signature."""
    text = st.text(st.characters(), max_size=8)  # lone surrogates too
    lengths = st.integers(1, 160).map(lambda units: units / 16)
    notes = st.lists(st.builds(Note, st.none() | pitches(2, 6), lengths), min_size=1, max_size=8).map(tuple)
    voices = st.lists(st.builds(Voice, text, notes), min_size=1, max_size=3).map(tuple)
    bars = st.sampled_from([2, 3, 4, 1.5, 2.5, 8])
    return st.builds(Score, text, voices, bars, st.integers(40, 200), fifths=st.integers(-7, 7))
