"""Melodies as scores."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from descant.music.keys import Key
from descant.music.melodies import notes_of
from descant.music.melody_scores import melody_score

MELODIES = st.lists(st.integers(0, 37), min_size=1, max_size=40)


def test_notes_rests_and_what_is_to_come() -> None:
    score = melody_score([1, 17, 1, 0, 0, 20], Key("Eb", "major"), 16, title="A tune")
    (voice,) = score.voices
    assert [(str(n.pitch), n.beats) for n in voice.notes] == [
        ("None", 0.25),
        ("Eb4", 0.5),
        ("None", 0.5),
        ("Gb4", 0.25),
        ("None", 2.5),
    ]
    assert (score.title, score.time_signature, score.tempo, score.mode) == ("A tune", (4, 4), 80, "major")


@given(MELODIES, st.integers(0, 8))
def test_every_note_sounds_when_and_as_long_as_it_is_written(actions: list[int], more: int) -> None:
    score = melody_score(actions, Key(), len(actions) + more)
    heard = [(p.midi, start * 4, end * 4) for p, start, end in score.voices[0].sounding()]
    assert heard == [(n.midi, n.step, n.step + n.steps) for n in notes_of(actions)]
    assert score.beats == (len(actions) + more) / 4


def test_the_length_is_that_of_the_actions_where_none_is_given() -> None:
    assert melody_score([14, 1, 0], Key()).beats == 0.75
