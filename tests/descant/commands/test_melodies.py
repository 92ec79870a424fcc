"""`descant compose` and `descant evaluate` of runs on melodies."""

from __future__ import annotations

import json
import math
import wave
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import gymnasium
import numpy as np
import pytest
import torch

from descant import load_agent, make_agent
from descant.cli import main
from descant.commands.compose_melodies import _begins_and_ends_on
from descant.compositions import write_compositions
from descant.music.keys import Key
from descant.music.melodies import notes_of
from descant.music.melody_statistics import summary
from descant.music.primers import parse_primer
from descant.music.tune_files import read_tunes
from descant.music.tunes import TICKS_PER_STEP, Tune
from descant.music.windows import Windows
from descant.pretraining import write_data
from descant.runs.folders import RunFolder
from descant.shells import make_task

from ...melodies import sung

ID = "descant/Melody-v0"
KINDS = ("mid", "svg", "wav", "abc")


def saved(path: Path, name: str, options: dict[str, Any] | None = None, **config: Any) -> str:
    """An untrained agent, whose draws are wild."""
    env = gymnasium.make_vec(ID, num_envs=2, **(options or {}))
    small = {"hidden": (8,)} if name != "random" else {}
    agent = make_agent(name, env, **small, **config)
    if name.startswith("sb3/"):
        agent.learn(8)  # SB3 has nothing to save before
    agent.save(path)
    return str(path)


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run as `pretrain` leaves it, with tunes, but not trained."""
    run = RunFolder.create(tmp_path_factory.mktemp("prior") / "run", {"agent": "bc"})
    agent: Any = load_agent(saved(run.checkpoint_path("best"), "bc", data="none", recurrent=True))
    with torch.no_grad():
        agent.networks["policy"].heads["policy"].weight.mul_(3000)  # else all actions are about as likely
    agent.save(run.checkpoint_path("best"))
    rows = sung(np.random.default_rng(0), 90, 32)
    write_data(run, Windows(rows, np.arange(90), np.arange(90) % 3), 2)
    return str(run.path)


def composed(capsys: pytest.CaptureFixture[str], out: Path, *arguments: str) -> Any:
    capsys.readouterr()
    assert main(["compose", *arguments, "--out", str(out), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def pitches(notes: str, shift: int = 0) -> list[int]:
    """MIDI numbers of a melody as it is told, whatever its range."""
    return [note.midi - shift for note in notes_of(parse_primer(notes, shift))]


@pytest.fixture(scope="module")
def folder(prior: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three melodies in G dorian."""
    out = tmp_path_factory.mktemp("composed") / "new"
    asked = ["--n", "3", "--key", "G", "--mode", "dorian", "--primer", "G4 A4:2 Bb4:2", "--seed", "4"]
    assert main(["compose", prior, *asked, "--out", str(out)]) == 0
    return out


def told(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "melodies.json").read_text())["melodies"]
    return found


def test_four_files_a_melody_and_a_summary(folder: Path) -> None:
    names = [f"melody-{i:02d}.{kind}" for i in (1, 2, 3) for kind in KINDS]
    assert sorted(p.name for p in folder.iterdir()) == sorted([*names, "melodies.json"])
    assert [m["melody"] for m in told(folder)] == ["melody-01", "melody-02", "melody-03"]
    assert len({m["notes"] for m in told(folder)}) == 3


@pytest.mark.parametrize("kind", ["mid", "abc"])
def test_midi_and_abc_sound_the_notes_that_are_told(folder: Path, kind: str) -> None:
    for melody in told(folder):
        (tune,) = read_tunes(folder / f"{melody['melody']}.{kind}")
        assert isinstance(tune, Tune)
        expected = [
            (n.step * TICKS_PER_STEP, n.steps * TICKS_PER_STEP, n.midi + 5)
            for n in notes_of(parse_primer(melody["notes"], -5))
        ]
        assert [(start, length, midi) for start, length, midi in tune.notes] == expected


def test_the_key_signature_is_written(folder: Path) -> None:
    """G dorian has one flat."""
    for melody in told(folder):
        stem = folder / melody["melody"]
        assert "\nK:F\n" in stem.with_suffix(".abc").read_text()
        (tune,) = read_tunes(stem.with_suffix(".mid"))
        assert isinstance(tune, Tune)
        assert tune.key == Key("F")
        svg = stem.with_suffix(".svg").read_text()
        assert svg.count('data-class="keyAccid"') == svg.count('data-class="system"') >= 1


def test_svg_and_wav_are_of_two_bars(folder: Path) -> None:
    for melody in told(folder):
        root = ElementTree.parse(folder / f"{melody['melody']}.svg").getroot()
        noted = [g for g in root.iter() if g.get("class", "").split()[:1] == ["note"]]
        assert len(noted) >= len(pitches(melody["notes"], -5))  # tied ones are written apart
        with wave.open(str(folder / f"{melody['melody']}.wav")) as sound:
            assert sound.getnframes() / sound.getframerate() == pytest.approx(
                6
            )  # 8 quarter notes at 80 a minute


def test_every_melody_begins_with_the_primer(folder: Path) -> None:
    for melody in told(folder):
        assert melody["notes"].startswith("G4:4 A4:2 Bb4:")  # the last may be held on
        assert melody["starts_on_tonic"] == 1


def test_what_is_measured_holds_for_the_key_asked_for(folder: Path, prior: str) -> None:
    """As the task of that key says of the notes as the model wrote them: in D dorian, a fifth lower."""
    scale = {7, 9, 10, 0, 2, 4, 5}
    task = make_task(ID, key="D", mode="dorian")
    for melody in told(folder):
        notes = pitches(melody["notes"], -5)
        shares = [midi % 12 in scale for midi in notes]
        assert melody["in_key"] == pytest.approx(np.mean(shares), abs=1e-6)
        assert melody["out_of_key"] == pytest.approx(shares.count(False) / 32, abs=1e-6)
        assert melody["ends_on_tonic"] == (notes[-1] % 12 == 7)
        assert melody["begins_on_tonic"] == (notes[0] % 12 == 7) == 1
    agent = load_agent(prior)
    primer = {"primer": parse_primer("D4 E4:2 F4:2")}
    found = write_compositions(agent, task, 3, prior=agent, seed=4, options=primer)
    for name in ("reward", "log_prior", "log_policy", "kl"):
        assert [m[name] for m in told(folder)] == pytest.approx(found.scores[name].tolist(), abs=1e-5)
    last = task.metrics(found.last)
    assert [m["in_motif"] for m in told(folder)] == pytest.approx(last["in_motif"].tolist(), abs=1e-6)


def test_the_same_draw_in_another_key_is_the_same_melody_moved(
    prior: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = composed(capsys, tmp_path / "c", prior, "--n", "2")
    assert (plain["key"], plain["mode"], plain["transposed"]) == ("C", "major", 0)
    for asked, shift in (
        (["--key", "Eb"], 3),
        (["--key", "D", "--mode", "dorian"], 0),
        (["--key", "F#"], -6),
    ):
        other = composed(capsys, tmp_path / "o", prior, "--n", "2", *asked)
        assert other["transposed"] == shift
        for one, two in zip(plain["melodies"], other["melodies"], strict=True):
            assert [p + shift for p in pitches(one["notes"])] == pitches(two["notes"], -shift)
            same_mode = len(asked) == 2
            assert (one["reward"] == two["reward"]) == same_mode
            if same_mode:
                assert one | {"notes": ""} == two | {"notes": ""}


def test_a_run_with_a_key_of_its_own_writes_in_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = saved(tmp_path / "a", "random", {"key": "E", "mode": "phrygian"})
    own = composed(capsys, tmp_path / "o", run, "--n", "2")
    assert (own["key"], own["mode"], own["transposed"]) == ("E", "phrygian", 0)
    moved = composed(capsys, tmp_path / "o", run, "--n", "2", "--key", "F#")
    assert (moved["key"], moved["mode"], moved["transposed"]) == ("F#", "phrygian", 2)
    assert moved["melodies"][0]["reward"] == own["melodies"][0]["reward"]
    other = composed(capsys, tmp_path / "o", run, "--n", "2", "--key", "D", "--mode", "dorian")
    assert other["transposed"] == 0
    assert any("was trained for E phrygian" in said and "key=D mode=dorian" in said for said in other["said"])
    assert not any("was trained for" in said for said in moved["said"])


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("reinforce", {"critic_hidden": (8,)}),
        ("ppo", {"recurrent": True}),
        ("psi", {"recurrent": True}),
        ("g", {}),
        ("kl-q", {}),
        ("sb3/ppo", {"n_steps": 4, "batch_size": 8}),
    ],
)
def test_every_agent_composes_from_a_primer_at_a_temperature(
    name: str, config: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    by_prior = {"prior": "uniform"} if name in ("psi", "g", "kl-q") else {}
    run = saved(tmp_path / "a", name, {"steps": 12}, **config, **by_prior)
    asked = [run, "--n", "2", "--primer", "D4:2 E4:1"]
    one = composed(capsys, tmp_path / "o", *asked, "--temperature", "0.5")
    assert all(m["notes"].startswith("D4:2 E4:") for m in one["melodies"])
    assert all(("log_prior" in m) == bool(by_prior) for m in one["melodies"])
    assert bool(one["said"]) == (not by_prior)
    again = composed(capsys, tmp_path / "o", *asked, "--temperature", "0.5")
    other = composed(capsys, tmp_path / "o", *asked, "--temperature", "0.5", "--seed", "1")
    assert one == again != other
    greedy = composed(capsys, tmp_path / "o", run, "--greedy", "--seed", "1")
    assert greedy == composed(capsys, tmp_path / "o", run, "--temperature", "0", "--seed", "2")
    assert len(greedy["melodies"]) == 1


def test_a_temperature_may_change_while_a_melody_is_written(
    prior: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    low = ["--temperature", "0"]
    (greedy,) = composed(capsys, tmp_path / "o", prior, *low)["melodies"]
    rising = composed(capsys, tmp_path / "o", prior, *low, "--temperature-final", "9")["melodies"]
    assert len(rising) == 10
    begins = greedy["notes"].partition(":")[0] + ":"
    assert all(melody["notes"].startswith(begins) for melody in rising)
    assert len({melody["notes"] for melody in rising}) == 10


def test_ten_melodies_are_written_where_nothing_is_said_and_told_in_a_table(
    prior: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compose", prior, "--out", str(tmp_path / "o")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "10 melodies in C major"
    rows = {line.split()[0]: line.split()[1:] for line in lines if line[:2].isdigit() or line[:4] == "mean"}
    first = told(tmp_path / "o")[0]
    assert float(rows["01"][0]) == pytest.approx(first["reward"], abs=0.06)
    assert float(rows["01"][1]) == pytest.approx(first["log_prior"], abs=6e-4)
    rewards = [m["reward"] for m in told(tmp_path / "o")]
    assert float(rows["mean"][0]) == pytest.approx(np.mean(rewards), abs=0.06)
    assert "wrote 41 files" in lines[-1]


def evaluated(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    capsys.readouterr()
    assert main(["evaluate", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_prior_is_evaluated_by_itself_and_its_tunes(prior: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = evaluated(capsys, prior, "--n", "300")
    agent = load_agent(prior)
    plain = write_compositions(agent, make_task(ID), 300, prior=agent)
    statistics = found["statistics"]
    expected = summary(plain.actions, Key()) | {k: v.mean() for k, v in plain.scores.items()}
    assert {k: statistics[k]["value"] for k in expected} == pytest.approx(expected)
    assert statistics["kl"] == {"value": 0, "low": 0, "high": 0}
    assert statistics["log_prior"] == statistics["log_policy"]
    assert {"copied", "longest_copied", "overlap_intervals", "overlap_durations"} <= statistics.keys()
    assert found["said"] == []
    held = sung(np.random.default_rng(0), 90, 32)[2::3]
    assert found["heldout"]["in_motif"] == pytest.approx(summary(held, Key())["in_motif"])
    assert found["heldout"]["copied"] == 0
    for name, e in statistics.items():
        assert e["low"] <= e["value"] <= e["high"], name


def test_a_tuned_run_is_measured_beside_its_prior(
    prior: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = saved(tmp_path / "a", "psi", prior=prior, recurrent=True)
    found = evaluated(capsys, run, "--n", "100")
    assert found["statistics"]["kl"]["value"] == pytest.approx(0, abs=0.01)  # psi begins at its prior
    assert "copied" in found["statistics"]
    other = saved(tmp_path / "b", "reinforce", critic_hidden=(8,))
    without = evaluated(capsys, other, "--n", "100")
    assert "kl" not in without["statistics"]
    assert len(without["said"]) == 2
    beside = evaluated(capsys, other, "--n", "100", "--prior", prior)
    assert beside["statistics"]["kl"]["value"] > 0.1
    assert beside["statistics"]["log_prior"] != beside["statistics"]["log_policy"]
    assert beside["said"] == []
    uniform = evaluated(capsys, other, "--n", "100", "--prior", "uniform")
    assert uniform["statistics"]["log_prior"]["value"] == pytest.approx(-math.log(38))


def test_temperature_seed_and_key_of_an_evaluation(prior: str, capsys: pytest.CaptureFixture[str]) -> None:
    one, again, other = (evaluated(capsys, prior, "--n", "20", "--seed", s) for s in "112")
    assert one == again != other
    cool = evaluated(capsys, prior, "--n", "20", "--temperature", "0.2")
    assert cool["statistics"]["log_policy"]["value"] > one["statistics"]["log_policy"]["value"]
    assert (
        evaluated(capsys, prior, "--n", "20", "--temperature", "0")["statistics"]["distinct"]["value"]
        == 1 / 20
    )
    rising = evaluated(capsys, prior, "--n", "20", "--temperature", "0", "--temperature-final", "2")
    assert rising["temperature"] == [0, 2]
    assert rising["statistics"]["distinct"]["value"] > 1 / 20
    moved = evaluated(capsys, prior, "--n", "20", "--set", "key=D")
    assert moved["key"] == "D"
    single = evaluated(capsys, prior, "--n", "1")
    assert single["statistics"]["reward"]["low"] is None


def test_the_table_tells_both_temperatures(prior: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", prior, "--n", "5", "--temperature-final", "0.5"]) == 0
    assert capsys.readouterr().out.startswith("5 melodies in C major, temperature 1 to 0.5; 95 % intervals")


def test_the_table_tells_what_json_tells(prior: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = evaluated(capsys, prior, "--n", "50")
    assert main(["evaluate", prior, "--n", "50"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("50 melodies in C major, temperature 1; 95 % intervals")
    low, value, high = (found["statistics"]["in_motif"][k] for k in ("low", "value", "high"))
    (row,) = [line for line in text.splitlines() if line.startswith("in a motif")]
    assert (
        " ".join(row.split())
        == f"in a motif {value:.2%} [{low:.2%}, {high:.2%}] {found['heldout']['in_motif']:.2%}"
    )
    shown = [line for line in text.splitlines()[3:] if "[" in line]
    assert len(shown) == len(found["statistics"])


def test_the_tonic_is_heard_in_any_octave() -> None:
    rows = np.array([[2, 1, 3, 26], [1, 1, 27, 14], [1, 0, 1, 1], [14, 3, 1, 1]], np.int8)
    begins, ends = _begins_and_ends_on(rows, 0)
    assert begins.tolist() == [1, 0, 0, 1]
    assert ends.tolist() == [1, 1, 0, 0]
