"""`descant compose`."""

from __future__ import annotations

import json
import math
import wave
from pathlib import Path
from xml.etree import ElementTree

import gymnasium
import numpy as np
import pretty_midi
import pytest
from PIL import Image

import descant
from descant.cli import main
from descant.music.cantus_firmi import FUX
from descant.music.midi import write_midi
from descant.music.pitches import Pitch
from descant.music.scores import counterpoint_score

KINDS = ("mid", "svg", "wav", "png", "abc", "musicxml", "json")


@pytest.fixture(scope="module")
def composed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `compose exact` writes above Fux's dorian cantus."""
    folder = tmp_path_factory.mktemp("composed")
    assert main(["compose", "exact", "--cantus", "dorian", "--out", str(folder)]) == 0
    return folder / "counterpoint-above"


def line_of(stem: Path) -> list[Pitch]:
    notes = json.loads(stem.with_suffix(".json").read_text())["counterpoint"]
    return [Pitch.parse(note) for note in notes]


def test_seven_files_are_written_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "folder"
    asked = ["compose", "exact", "--cantus", "phrygian", "--position", "below", "--out", str(out), "--json"]
    assert main(asked) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["files"] == [str(out / f"counterpoint-below.{kind}") for kind in KINDS]
    assert sorted(path.name for path in out.iterdir()) == sorted(Path(f).name for f in found["files"])
    assert found["score"] == pytest.approx(1.0)
    assert found["errors"] == 0
    kept = json.loads((out / "counterpoint-below.json").read_text())
    assert kept == {name: value for name, value in found.items() if name != "files"}


def test_the_midi_has_both_voices(composed: Path) -> None:
    midi = pretty_midi.PrettyMIDI(str(composed.with_suffix(".mid")))
    upper, lower = ([note.pitch for note in voice.notes] for voice in midi.instruments)
    assert upper == [pitch.midi for pitch in line_of(composed)]
    assert lower == [pitch.midi for pitch in FUX["dorian"]]


def test_the_svg_is_well_formed_and_has_every_note(composed: Path) -> None:
    root = ElementTree.parse(composed.with_suffix(".svg")).getroot()
    assert root.tag.endswith("svg")
    notes = [
        g for g in root.iter("{http://www.w3.org/2000/svg}g") if g.get("class", "").split()[:1] == ["note"]
    ]
    assert len(notes) == 22


def test_the_wav_lasts_as_long_as_the_score_and_sounds_throughout(composed: Path) -> None:
    with wave.open(str(composed.with_suffix(".wav"))) as sound:
        assert sound.getsampwidth() == 2
        rate = sound.getframerate()
        samples = np.frombuffer(sound.readframes(sound.getnframes()), "<i2")[:: sound.getnchannels()]
    bars = np.array_split(samples[: 11 * 2 * rate].astype(float), 11)
    assert 22 <= len(samples) / rate <= 24  # eleven bars of two seconds, and what rings on
    assert min(np.abs(bar).max() for bar in bars) > 3000


def test_the_png_shows_something(composed: Path) -> None:
    with Image.open(composed.with_suffix(".png")) as image:
        assert len(image.getcolors(1 << 20) or ()) > 2


def test_the_json_says_how_good_it_is(composed: Path) -> None:
    found = json.loads(composed.with_suffix(".json").read_text())
    assert found["score"] == pytest.approx(1)
    assert found["return"] == pytest.approx(found["optimum"])
    assert (found["legal"], found["errors"]) == (1, 0)
    assert math.isclose(-found["return"], sum(f["cost"] for f in found["findings"]))


def test_the_texts_name_the_notes(composed: Path) -> None:
    abc = composed.with_suffix(".abc").read_text()
    assert "T:dorian, counterpoint above" in abc
    xml = ElementTree.parse(composed.with_suffix(".musicxml")).getroot()
    steps = [(n.findtext("step"), n.findtext("octave")) for n in xml.iter("pitch")]
    assert steps == [(p.letter, str(p.octave)) for p in (*line_of(composed), *FUX["dorian"])]


def test_a_midi_file_serves_as_cantus(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cantus = FUX["ionian"]
    write_midi(counterpoint_score(cantus, [None] * len(cantus), "above"), tmp_path / "cantus.MID")
    asked = ["compose", "exact", "--cantus", str(tmp_path / "cantus.MID"), "--out", str(tmp_path)]
    assert main([*asked, "--json"]) == 0
    from_file = json.loads(capsys.readouterr().out)
    main(["compose", "exact", "--cantus", "ionian", "--out", str(tmp_path), "--json"])
    assert json.loads(capsys.readouterr().out) == from_file


def test_old_files_are_replaced_and_others_left_alone(
    composed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "counterpoint-above.abc").write_text("old")
    (tmp_path / "mine.txt").write_text("mine")
    assert main(["compose", "exact", "--cantus", "dorian", "--out", str(tmp_path)]) == 0
    assert (tmp_path / "counterpoint-above.abc").read_bytes() == composed.with_suffix(".abc").read_bytes()
    assert (tmp_path / "mine.txt").read_text() == "mine"
    text = capsys.readouterr().out
    assert "score 1.0000 (0 chance, 1 the exact optimum)" in text
    assert all(f"  {tmp_path}/counterpoint-above.{kind}\n" in text for kind in KINDS)


def test_a_trained_agent_composes_any_cantus_up_to_its_length(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = gymnasium.make_vec("descant/Counterpoint-v0", num_envs=4, pool=8, max_notes=14)
    descant.make_agent("reinforce", made, hidden=(8,), critic_hidden=(8,)).save(tmp_path / "agent")
    asked = ["compose", str(tmp_path / "agent"), "--out", str(tmp_path), "--json", "--cantus"]
    lines = []
    for more in (
        ["mixolydian"],
        *[["D4 F4 E4 D4"]] * 2,
        *[["D4 F4 E4 D4", "--no-deterministic", "--seed", "1"]] * 2,
    ):
        assert main([*asked, *more]) == 0
        lines.append(json.loads(capsys.readouterr().out)["counterpoint"])
    assert [len(line) for line in lines] == [14, 4, 4, 4, 4]
    assert lines[1] == lines[2]
    assert lines[3] == lines[4] != lines[1]


def test_chance_draws_by_its_seed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = []
    for seed in ("1", "2", "1"):
        main(["compose", "random", "--cantus", "dorian", "--out", str(tmp_path), "--json", "--seed", seed])
        lines.append(json.loads(capsys.readouterr().out)["counterpoint"])
    assert lines[0] == lines[2] != lines[1]
