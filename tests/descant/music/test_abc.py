"""ABC notation, as others read it."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings

from descant.music.abc import to_abc, write_abc
from descant.music.pitches import Pitch
from descant.music.scores import Note, Score, Voice

from .readers import read_midi, spelled, spelled_in, verovio_midi, written
from .strategies import scores

DUET = """%abc-2.1
X:1
T:Dorian
M:4/4
L:1/4
Q:1/4=120
%%score [1 2]
V:1 clef=bass name="Counterpoint"
V:2 clef=bass name="Cantus firmus"
K:C
V:1
A,4 | A,4 | G,4 | A,4 |
B,4 | C4 | C4 | B,4 |
D4 | ^C4 | D4 |]
V:2
D,4 | F,4 | E,4 | D,4 |
G,4 | F,4 | A,4 | G,4 |
F,4 | E,4 | D,4 |]
"""


def one_bar(*names: str) -> Score:
    return Score("", (Voice("", tuple(Note(Pitch.parse(name), 1) for name in names)),))


def music_of(score: Score) -> str:
    return to_abc(score).splitlines()[-1]


def test_golden(duet: Score, tmp_path: Path) -> None:
    write_abc(duet, tmp_path / "duet.abc")
    assert (tmp_path / "duet.abc").read_text() == DUET


@pytest.mark.parametrize(
    ("name", "letter"),
    [
        ("C4", "C"),
        ("B4", "B"),
        ("C5", "c"),
        ("C6", "c'"),
        ("C7", "c''"),
        ("C3", "C,"),
        ("C2", "C,,"),
        ("Bb4", "_B"),
    ],
)
def test_octaves(name: str, letter: str) -> None:
    assert music_of(one_bar(name)) == f"{letter} z3 |]"


def test_an_altered_letter_takes_a_natural_until_the_bar_line() -> None:
    assert music_of(one_bar("F#4", "F4", "F5", "F#4", "F4")) == "^F =F =f ^F | F z3 |]"


def test_lengths_ties_and_rests(tune: Score) -> None:
    lines = to_abc(tune).splitlines()
    assert lines[-2:] == [
        "^c3/2 =c1/2 ^c | z _B2- | _B3/2 ^^B1/4 __e- __e1/4- | __e3- |",
        "__e F2- | F1/2 E1/2 z2 |]",
    ]


def test_verovio_reads_it(tune: Score) -> None:
    read = read_midi(verovio_midi(to_abc(tune), "abc"), tune.tempo)
    assert read == [(pitch, start, pytest.approx(end, abs=0.011)) for pitch, start, end in written(tune)]


def test_music21_reads_it(duet: Score, tune: Score, music21: ModuleType) -> None:
    assert spelled(music21, to_abc(duet), "abc") == spelled_in(duet)
    names = [name for line in spelled(music21, to_abc(tune), "abc") for name, _, _ in line]
    # music21 keeps the ties of ABC as single notes.
    assert [name for name, before in zip(names, ["", *names], strict=False) if name != before] == [
        name for line in spelled_in(tune) for name, _, _ in line
    ]


@given(scores())
@settings(deadline=None)
def test_text_never_breaks_a_field(score: Score) -> None:
    lines = to_abc(score).splitlines()
    fields = [
        line[:2] for line in lines[: lines.index(next(line for line in lines if line.startswith("K:")))]
    ]
    assert fields == ["%a", "X:", "T:", "M:", "L:", "Q:", "%%", *["V:"] * len(score.voices)]


def test_signs_are_written_where_the_signature_has_others() -> None:
    """B flat major: B flats and E flats go without; after a B natural, each B has its sign until the bar line."""
    line = [
        Note(Pitch(letter, alteration, 4), 1)
        for letter, alteration in (("B", -1), ("E", -1), ("B", 0), ("B", -1))
    ]
    score = Score("", (Voice("", (*line, Note(Pitch("B", -1, 4), 1), Note(Pitch("F", 1, 4), 1))),), fifths=-2)
    assert to_abc(score).splitlines()[-3:] == ["K:Bb", "V:1", "B E =B _B | B ^F z2 |]"]
