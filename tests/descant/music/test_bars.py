"""Notes cut into signs, bar by bar."""

from __future__ import annotations

import pytest
from hypothesis import given

from descant.errors import DescantError
from descant.music.bars import DOTTED, TYPES, UNITS_PER_BEAT, Sign, bars_of
from descant.music.pitches import Pitch
from descant.music.scores import Note, Score, Voice

from .strategies import scores

D4 = Pitch.parse("D4")


@given(scores())
def test_bars_are_full_and_notes_keep_their_length(score: Score) -> None:
    for voice in score.voices:
        bars = bars_of(score, voice)
        assert {sum(sign.units for sign in bar) for bar in bars} == {UNITS_PER_BEAT * score.beats_per_bar}
        signs = [sign for bar in bars for sign in bar]
        for index, note in enumerate(voice.notes):
            parts = [sign for sign in signs if sign.index == index]
            assert sum(sign.units for sign in parts) == UNITS_PER_BEAT * note.beats
            assert {sign.pitch for sign in parts} == {note.pitch}
            ties = [note.pitch is not None] * (len(parts) - 1)
            assert [sign.tied_after for sign in parts] == [*ties, False]
            assert [sign.tied_before for sign in parts] == [False, *ties]


@given(scores())
def test_every_sign_has_a_note_value_and_voices_end_together(score: Score) -> None:
    bars = [bars_of(score, voice) for voice in score.voices]
    assert {sign.units for voice in bars for bar in voice for sign in bar} <= TYPES.keys() | DOTTED.keys()
    assert len({len(voice) for voice in bars}) == 1


def test_a_note_over_a_bar_line_is_tied() -> None:
    voice = Voice("", (Note(D4, 3), Note(D4, 2)))
    first, second = bars_of(Score("", (voice,)), voice)
    assert first == [Sign(D4, 48, 0), Sign(D4, 16, 1, tied_after=True)]
    assert second == [Sign(D4, 16, 1, tied_before=True), Sign(None, 48, None)]


def test_lengths_without_a_sign_are_an_error() -> None:
    voice = Voice("", (Note(D4, 1 / 3),))
    with pytest.raises(DescantError, match=r"0\.33.*Round"):
        bars_of(Score("", (voice,)), voice)
