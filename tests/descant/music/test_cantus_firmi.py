"""Cantus firmi: Fux's six, generated ones, those that users give."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from descant.errors import DescantError
from descant.music import cantus_firmi
from descant.music.cantus_firmi import FUX, checked, find, generate
from descant.music.intervals import Interval
from descant.music.midi import write_midi
from descant.music.modes import BY_FINAL
from descant.music.pitches import Pitch, parse_line
from descant.music.scores import Note, Score, Voice

MANY = generate(1024, seed=7)
SUNG = {"m2", "M2", "m3", "M3", "P4", "P5", "P8"}


def flaws(line: Sequence[Pitch]) -> set[str]:
    """Which of the issue's demands a cantus firmus fails."""
    moves = [Interval.between(a, b) for a, b in pairwise(line)]
    leaps = sum(move.number > 2 for move in moves) / len(moves)
    top = max(line)
    demands = {
        "begins and ends on its final": line[0] == line[-1] and line[-1].letter in BY_FINAL,
        "is natural": all(pitch.is_natural for pitch in line),
        "final by step from above": moves[-1].steps == -1,
        "8 to 14 notes": 8 <= len(line) <= 14,
        "range a fifth to an octave": 5 <= Interval.between(min(line), top).number <= 8,
        "no note twice in a row": all(move.steps for move in moves),
        "one climax": list(line).count(top) == 1,
        "near the middle": 0.3 <= list(line).index(top) / (len(line) - 1) <= 0.8,
        "leaps 27 to 62 %": 0.27 <= leaps <= 0.62,
        "singable": all(m.name in SUNG or (m.name == "m6" and m.direction > 0) for m in moves),
        "comfortable": all(36 <= pitch.midi <= 84 for pitch in line),
    }
    return {demand for demand, met in demands.items() if not met}


def letters(line: Sequence[Pitch]) -> str:
    return "".join(pitch.letter for pitch in line)


@pytest.mark.parametrize("name", FUX)
def test_fuxs_six_are_well_formed(name: str) -> None:
    assert flaws(FUX[name]) == set()
    assert BY_FINAL[FUX[name][-1].letter].name == name
    assert checked(FUX[name]) is FUX[name]


def test_the_flaws_are_seen() -> None:
    """The checker above is no yes-man: each of its demands is failed by some line."""
    bad = ["D4 E4 D4", "D4 F4 E4 D4 G4 F4 A4 G4 F4 E4 C4", "B3 C#4 D4 E4 G4 B4 A4 A4 B4 C3 B3", "D3 D6 C2 D3"]
    bad += ["D4 F4 A4 C5 E5 B4 G4 E4 C4 A3 F4 D4", "D4 E4 F4 G4 A4 G4 F4 E4 D4 A5 C4 D4"]
    assert len(set().union(*(flaws(parse_line(line)) for line in bad))) == 11


def test_generated_ones_are_well_formed() -> None:
    assert {flaw for line in MANY for flaw in flaws(line)} == set()
    for line in MANY:
        checked(line)


def test_generated_ones_are_different_and_none_is_fuxs() -> None:
    assert len(set(MANY)) == len(MANY) == 1024
    assert not {letters(line) for line in MANY} & {letters(line) for line in FUX.values()}


def test_a_known_cantus_is_left_out_in_any_octave(monkeypatch: pytest.MonkeyPatch) -> None:
    first = MANY[0]
    higher = tuple(Pitch(p.letter, p.alteration, p.octave + 1) for p in first)
    monkeypatch.setitem(FUX, "known", higher)
    assert first not in generate.__wrapped__(1024, seed=7)


def test_all_modes_and_lengths_occur() -> None:
    assert {line[-1].letter for line in MANY} == set(BY_FINAL)
    assert {len(line) for line in MANY} == set(range(8, 15))
    climaxes = {list(line).index(max(line)) for line in MANY if len(line) == 12}
    assert len(climaxes) >= 4
    leaps = {Interval.between(a, b).name for line in MANY for a, b in pairwise(line)}
    assert SUNG | {"m6"} == leaps


def test_the_seed_decides() -> None:
    assert generate.__wrapped__(40, seed=7) == generate.__wrapped__(40, seed=7) == MANY[:40]
    assert set(generate(40, seed=8)) != set(MANY[:40])


def test_asking_for_more_than_there_are_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cantus_firmi, "MIDDLE", (2.0, 3.0))
    with pytest.raises(DescantError, match="fewer than 3 such cantus firmi"):
        generate.__wrapped__(3, seed=0)


@pytest.mark.parametrize(
    "given",
    [
        "D4 F4 E4 D4",
        "d4,f4 e4  d4",
        ["D4", "F4", "E4", "D4"],
        ("D4", "F4", "E4", "D4"),
        parse_line("D4 F4 E4 D4"),
        list(parse_line("D4 F4 E4 D4")),
    ],
)
def test_notes_are_taken_in_any_form(given: str | list[str]) -> None:
    assert find(given) == parse_line("D4 F4 E4 D4")


@pytest.mark.parametrize("name", ["dorian", "Dorian", " DORIAN "])
def test_names_are_taken_in_any_case(name: str) -> None:
    assert find(name) == FUX["dorian"]


def test_b_flats_and_repeated_notes_may_be_given() -> None:
    assert str(find("F4 Bb4 Bb4 A4 G4 F4")[1]) == "Bb4"


def save(path: Path, text: str) -> Path:
    notes = tuple(Note(pitch, 4) for pitch in parse_line(text))
    write_midi(Score("cantus", (Voice("cantus", notes),)), path)
    return path


def test_a_midi_file_is_read(tmp_path: Path) -> None:
    for name in ("cantus.mid", "cantus.MIDI"):
        path = save(tmp_path / name, "D4 F4 Bb4 A4 G4 F4 E4 D4")
        assert find(path) == find(str(path)) == parse_line("D4 F4 Bb4 A4 G4 F4 E4 D4")


def test_a_bad_midi_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DescantError, match=r"missing\.mid"):
        find(tmp_path / "missing.mid")
    path = save(tmp_path / "cantus.mid", "D4 E4 F#4 E4 D4")
    with pytest.raises(DescantError, match="Note 3 of the cantus, F#4, is outside the modes"):
        find(path)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DescantError, match=r"cantus\.mid"):
        find(path)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("D4", "3 to 32 notes, this one has 1: write more notes"),
        ("D4 D4", "this one has 2: write more"),
        ([], "this one has 0: write more"),
        (["D4"] * 500, "this one has 500: cut it into phrases"),
        ("D4 C#4 D4", r"Note 2 of the cantus, C#4, is outside the modes: .* transpose it"),
        ("D4 Eb4 D4", "Note 2 of the cantus, Eb4, is outside the modes"),
        ("D4 B2 D4", "Note 2 of the cantus, B2, lies outside C3 to C5: transpose it by an octave"),
        ("D4 D5 D4", "Note 2 of the cantus, D5, lies outside C3 to C5"),
        ("D4 C4 B3", "No mode has B3 as its final"),
        ("D4 C4 Bb3", "No mode has Bb3 as its final"),
        ("dorain", r"Unknown cantus 'dorain'\. Did you mean 'dorian'\?.* Or write its notes"),
        ("D4 H4 D4", "Note 2: 'H4' is not a pitch"),
        ("", "no notes"),
        (["D4", 64, "D4"], "'64' is not a pitch"),
    ],
)
def test_what_is_no_cantus_is_refused(given: str | list[str], message: str) -> None:
    with pytest.raises(DescantError, match=message):
        find(given)


def test_the_shortest_and_longest_are_taken() -> None:
    assert len(find("C3 C5 C3")) == 3
    assert len(find(["D4"] * 32)) == 32
