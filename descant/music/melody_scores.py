"""Melodies on the grid as scores: one voice of notes and rests in 4/4."""

from __future__ import annotations

from collections.abc import Sequence

from descant.music.keys import Key
from descant.music.melodies import STEPS_PER_BEAT, notes_of
from descant.music.scores import Note, Score, Voice
from descant.music.spelling import signature_fifths, spell
from descant.tasks import Ints


def melody_score(
    actions: Sequence[int] | Ints,
    key: Key,
    steps: int | None = None,
    title: str = "",
    tempo: float = 80.0,
    shift: int = 0,
) -> Score:
    """Actions [t] as a score of `steps` sixteenths (t where None), at least one, filled up with rests.

    Note-offs and holds with nothing to hold are rests. `shift` moves all notes by so many semitones. 80 quarter notes
    a minute is Jaques et al.'s tempo.
    """
    written, at = [], 0
    for note in notes_of(actions):
        written += _rest(note.step - at)
        written.append(Note(spell(note.midi + shift, key), note.steps / STEPS_PER_BEAT))
        at = note.step + note.steps
    written += _rest((steps or len(actions)) - at)
    return Score(
        title, (Voice("Melody", tuple(written)),), tempo=tempo, mode=key.mode, fifths=signature_fifths(key)
    )


def _rest(steps: int) -> list[Note]:
    return [Note(None, steps / STEPS_PER_BEAT)] if steps else []
