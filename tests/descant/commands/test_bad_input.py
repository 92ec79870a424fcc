"""Bad input: one clear line on stderr that says what to do next, exit 2, and nothing on disk changed."""

from __future__ import annotations

import io
import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import gymnasium
import mido
import pytest

import descant
from descant.cli import main
from descant.errors import DescantError

from ...playing import SOLUTIONS
from .refusing import Refused

FOUR = "D4 F4 E4 D4"
SMALL = ["--config.num-envs", "4", "--config.hidden", "8", "--config.critic-hidden", "8", "--no-progress"]
TINY = [*SMALL, "--set", "pool=8", "--total-timesteps", "30"]
FILES = ("weights.safetensors", "state.json", "manifest.json")


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two runs: `counterpoint` and `cartpole`."""
    folder = tmp_path_factory.mktemp("trained")
    assert main(["train", *TINY, "--out", str(folder / "counterpoint")]) == 0
    cartpole = ["train", "CartPole-v1", *SMALL, "--total-timesteps", "30", "--out", str(folder / "cartpole")]
    assert main(cartpole) == 0
    return folder


@pytest.fixture
def here(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: both runs, a file, and MIDI files of every bad kind."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    whole = melody([62, 65, 64, 62])
    (tmp_path / "whole.mid").write_bytes(whole)
    (tmp_path / "corrupt.mid").write_bytes(b"MThd but no more")
    (tmp_path / "truncated.mid").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.mid").write_bytes(b"")
    (tmp_path / "silent.mid").write_bytes(melody([]))
    (tmp_path / "microtonal.mid").write_bytes(melody([62, 65, 64, 62], bent=True))
    (tmp_path / "large.mid").write_bytes(whole + bytes(10_000_000))
    (tmp_path / "chords.mid").write_bytes(melody([62, 65, 69], together=True))
    return tmp_path


def melody(numbers: list[int], together: bool = False, bent: bool = False) -> bytes:
    """A MIDI file of notes one after the other, or all at once; or a quarter tone higher."""
    ends = [mido.Message("note_off", note=n, time=240 * (not together)) for n in numbers]
    begins = [mido.Message("note_on", note=n, velocity=80) for n in numbers]
    pairs = [m for pair in zip(begins, ends, strict=True) for m in pair]
    bend = [mido.Message("pitchwheel", pitch=2048)] if bent else []
    track = mido.MidiTrack(bend + (begins + ends if together else pairs))
    if together:
        ends[0].time = 240
    buffer = io.BytesIO()
    mido.MidiFile(tracks=[track]).save(file=buffer)
    return buffer.getvalue()


def cantus_commands(cantus: str) -> list[list[str]]:
    """Every command that takes a cantus, given this one."""
    return [
        ["solve", "--cantus", cantus],
        ["check", "--cantus", cantus, "--counterpoint", "A4 C5 C#5 D5"],
        ["compose", "exact", "--cantus", cantus, "--out", "composed"],
        ["compose", "counterpoint", "--cantus", cantus, "--out", "composed"],
    ]


CANTUS = {
    "D4 H4 E4 D4": "Note 2: 'H4' is not a pitch. Write a letter, at most two accidentals and an octave",
    "D4": "A cantus firmus has 3 to 32 notes, this one has 1: write more notes.",
    " ".join(["D4", "E4"] * 250): "3 to 32 notes, this one has 500: cut it into phrases.",
    "": "The line has no notes. Write pitches and spaces, such as 'D4 F4 E4 D4'.",
    "dorain": "Unknown cantus 'dorain'. Did you mean 'dorian'?",
    "D4 E4 F4 B3": "No mode has B3 as its final. Transpose the line to end on one of D (dorian)",
    "D4 F#4 E4 D4": "Note 2 of the cantus, F#4, is outside the modes",
    "D5 F5 E5 D5": "Note 1 of the cantus, D5, lies outside C3 to C5: transpose it by an octave.",
    "absent.mid": "Cannot read 'absent.mid': No such file or directory. Check the path.",
    "corrupt.mid": "'corrupt.mid' is not a readable MIDI file. Export the line as a standard MIDI file",
    "truncated.mid": "'truncated.mid' is not a readable MIDI file. Export the line",
    "empty.mid": "'empty.mid' is not a readable MIDI file. Export the line",
    "silent.mid": "'silent.mid' has no notes. Export the line",
    "microtonal.mid": "'microtonal.mid' bends its notes. Export the line",
    "large.mid": "'large.mid' has 10 MB, over the 5 that a line may have. Export the line",
    "chords.mid": "'chords.mid' has overlapping notes: 1 and 2. Export the line",
}


@pytest.mark.parametrize("cantus", CANTUS, ids=lambda text: text[:20])
def test_a_cantus_that_is_none(cantus: str, refused: Refused) -> None:
    for command in cantus_commands(cantus):
        assert CANTUS[cantus] in refused(*command)


def test_the_whole_melody_would_have_been_taken(here: Path) -> None:
    for command in cantus_commands("whole.mid"):
        assert main(command) in (0, 1)


SOLVED = SOLUTIONS["dorian", "above"]
LINES = [
    ("solve --cantus dorian --position abov", "Unknown position 'abov'. Did you mean 'above'?"),
    (f"check --cantus dorian --position abov --counterpoint '{SOLVED}'", "Unknown position 'abov'"),
    ("compose exact --cantus dorian --position abov", "Unknown position 'abov'"),
    ("check --cantus dorian --counterpoint 'A4 A4'", "11 notes, the counterpoint 2: write one note against"),
    ("check --cantus dorian --counterpoint 'A4 H4'", "Note 2: 'H4' is not a pitch. Write a letter"),
    ("check --cantus 'D4 E4 D4' --counterpoint 'D5 Db5 D5'", "Note 2, Db5, is outside the gamut"),
    ("check --cantus dorian --counterpoint corrupt.mid", "'corrupt.mid' is not a readable MIDI file."),
    ("evaluate randm", "'randm' is no run, checkpoint or agent. Did you mean 'random'?"),
    ("evaluate sb3/ppo", "Agent 'sb3/ppo' has to be trained first: descant train --agent sb3/ppo."),
    ("compose randm --cantus dorian", "'randm' is no run, checkpoint or agent. Did you mean 'random'?"),
    ("evaluate file", "file is neither a run nor a checkpoint"),
    ("evaluate counterpoint/checkpoints", "is neither a run nor a checkpoint"),
    ("evaluate counterpoint --set foo=1", "has no option 'foo'. Did you mean 'pool'? Known: cantus, mask"),
    ("evaluate counterpoint --set max_notes=20", "leave out --set max_notes, or pass it as in its training"),
    ("evaluate counterpoint --set max_notes=many", "max_notes must be a whole number, not 'many'"),
    ("evaluate counterpoint --set mask=rule", "Unknown mask 'rule'. Did you mean 'rules'?"),
    ("evaluate counterpoint --set mask", "'mask' is no option: write NAME=VALUE"),
    ("evaluate counterpoint --seed -1", "--seed must be at least 0, not -1."),
    ("evaluate cartpole --episodes 0", "--episodes must be at least 1, not 0."),
    ("evaluate cartpole --set foo=1", "CartPole-v1 does not take these options"),
    ("compose counterpoint --cantus dorian --seed -1", "--seed must be at least 0, not -1."),
    ("compose cartpole --cantus dorian", "cartpole was trained on CartPole-v1, not on descant/Melody-v0 or"),
    ("report absent", "absent/results.json can't be read"),
    ("report counterpoint", "(No such file or directory): give a folder that descant bench SUITE --out has"),
    ("bench quik", "Unknown suite 'quik'. Did you mean 'quick'?"),
    ("bench quick --workers 0", "--workers must be at least 1, not 0."),
    ("bench quick --out file", "file can't be written (Not a directory): choose another --out."),
    ("bench quick --out file/below", "can't be written (Not a directory): choose another --out."),
    ("trian", "Unknown command 'trian'. Did you mean 'train'?"),
    ("train --agent", "Missing value for argument '--agent'"),
    ("compose exact", "A counterpoint needs a cantus firmus: pass --cantus dorian"),
    ("compose exact --cantus dorian --key D", "--key is for melodies, which exact does not write: leave it out."),
    ("compose exact --cantus dorian --temperature-final 2", "--temperature-final is for melodies"),
    ("compose counterpoint --cantus dorian --n 3", "--n is for melodies, which counterpoint does not write"),
    ("solve", "--cantus"),
    ("solve --cantus dorian --positon above", "Perhaps you meant: --position STR"),
    ("solve --cantus dorian --count=maybe", "See: descant solve --help"),
    ("list everything", "Unrecognized options: everything. See: descant list --help"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "message"), LINES, ids=[line for line, _ in LINES])
def test_what_no_command_can_work_with(line: str, message: str, refused: Refused) -> None:
    assert message in refused(*shlex.split(line))


TRAIN = [
    ("--agent reinforc", "Unknown agent 'reinforc'. Did you mean 'reinforce'?"),
    ("--agent random", "Agent 'random' has nothing to learn: use descant evaluate random."),
    ("descant/Counterpont-v0", "Did you mean 'descant/Counterpoint-v0'?"),
    ("CartPol-v1", "Gymnasium can't make 'CartPol-v1'"),
    ("absent:CartPole-v1", "No module named 'absent'"),
    ("Pendulum-v1", "needs discrete actions, the environment has Box"),
    ("--set foo=1", "descant/Counterpoint-v0 has no option 'foo'. Did you mean 'pool'?"),
    ("--set foo", "'foo' is no option: write NAME=VALUE, such as cantus=dorian."),
    ("--set num_envs=4", "'num_envs' is no option of an environment; their number is --config.num-envs."),
    ("--set cantus=dorain", "Unknown cantus 'dorain'. Did you mean 'dorian'?"),
    ("--set position=abov", "position must be 'above', 'below' or 'both', not 'abov'."),
    ("--set max_notes=500", "max_notes must be 3 to 32, not 500."),
    ("--set pool=8 max_notes=4", "the environment takes 4: pass max_notes="),
    ("--set pool=all", "pool must be a whole number, not 'all'."),
    ("--set pool_seed=-1", "pool_seed"),
    ("--set reward=fuchs", "Unknown reward 'fuchs'. Did you mean 'fux'?"),
    ("--set reward=5", "5 is no reward: give a name, one of bleu, chrf, fux"),
    ("""--set 'reward={"name":"fux","weights":{"consonanc":1}}'""", "Did you mean 'consonance'?"),
    ("""--set 'reward={"weights":{}}'""", "A reward needs a 'name'"),
    ("--config.foo 1", "Unrecognized options: --config.foo, 1. See: descant train --help"),
    ("--config.hiden 8", "Perhaps you meant: --config.hidden"),
    ("--config.hidden", "hidden"),
    ("--config.num-envs many", "Error parsing --config.num-envs: invalid literal for int()"),
    ("--config.num-envs 0", "num_envs"),
    ("--config.learning-rate=-1", "learning_rate"),
    ("--config.baseline meen", "invalid choice 'meen' for argument '--config.baseline'"),
    ("--config.gamma 2", "gamma must lie between 0 and 1"),
    ("--seed -1", "seed must be 0 or more, not -1."),
    ("--total-timesteps 0", "--total-timesteps must be at least 1, not 0."),
    ("--track wandbb", "unknown tracker 'wandbb'. Did you mean 'wandb'?"),
    ("--agent sb3/ppo --config.n-steps 0", "n_steps must be at least 1, not 0."),
    ("--agent sb3/ppo --config.clip-range 0", "clip_range must be positive, not 0.0."),
    ("--agent sb3/ppo --config.batch-size 1", "SB3 does not take this configuration of 'sb3/ppo'"),
    ("--agent sb3/dqn --config.exploration-fraction 2", "exploration_fraction must lie between 0 and 1"),
    ("--agent sb3/dqn --seed -1", "seed must be at least 0, not -1."),
]  # fmt: skip


@pytest.mark.parametrize(("line", "message"), TRAIN, ids=[line for line, _ in TRAIN])
def test_a_run_that_can_not_work_leaves_no_folder(line: str, message: str, refused: Refused) -> None:
    short = [] if "--total-timesteps" in line else ["--total-timesteps", "30"]
    assert message in refused("train", *short, *shlex.split(line), "--out", "new")


@pytest.mark.parametrize("out", ["file", "file/below", "counterpoint", "."])
def test_a_run_needs_an_empty_folder_that_can_be_written(out: str, refused: Refused) -> None:
    message = refused("train", *TINY, "--out", out)
    assert "hoose another --out" in message
    assert ("pass --resume to go on with it" in message) == (out == "counterpoint")


@pytest.mark.parametrize("out", ["file", "file/below"])
@pytest.mark.parametrize("agent", ["exact", "counterpoint"])
def test_a_composition_needs_a_folder_that_can_be_written(out: str, agent: str, refused: Refused) -> None:
    message = refused("compose", agent, "--cantus", FOUR, "--out", out)
    assert f"Cannot write to '{out}'" in message
    assert "Give another folder." in message


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("absent", "absent is not a run: there is no config.json. A run folder has config.json"),
        ("file", "file is not a run"),
        ("counterpoint/checkpoints", "is not a run: there is no config.json."),
    ],
)
def test_only_a_run_can_be_resumed(path: str, message: str, refused: Refused) -> None:
    assert message in refused("train", "--resume", path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "config.json is not JSON"),
        ("[]", "is not the configuration of a run"),
        ('{"format": 1, "config": {}}', "has no 'agent': train can't go on with it."),
        ('{"format": 99, "config": {}}', "upgrade descant"),
    ],
)
def test_a_broken_configuration_is_not_resumed(
    content: str, message: str, here: Path, refused: Refused
) -> None:
    (here / "counterpoint" / "config.json").write_text(content)
    assert message in refused("train", "--resume", "counterpoint")


def test_a_configuration_of_what_there_is_no_more_is_not_resumed(here: Path, refused: Refused) -> None:
    path = here / "counterpoint" / "config.json"
    config = json.loads(path.read_text())
    for change, message in (
        ({"agent": "reinforc"}, "Unknown agent 'reinforc'"),
        ({"config": {"hiden": [8]}}, "has no option 'hiden'. Did you mean 'hidden'?"),
        ({"env": "descant/Gone-v0"}, "Unknown environment 'descant/Gone-v0'"),
        ({"env_options": {"foo": 1}}, "has no option 'foo'"),
    ):
        path.write_text(json.dumps({**config, "config": {**config["config"], **change}}))
        assert message in refused("train", "--resume", "counterpoint")


def test_damaged_metrics_are_not_written_on(here: Path, refused: Refused) -> None:
    (here / "counterpoint" / "metrics.jsonl").write_text("what?\n{}\n")
    message = refused("train", "--resume", "counterpoint", "--total-timesteps", "1000")
    assert "metrics.jsonl, line 1 is not a record of metrics" in message


def flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "damage", [lambda data: data[: len(data) // 2], flipped, lambda data: b"", None],
    ids=["truncated", "a bit flipped", "empty", "missing"],
)  # fmt: skip
def test_a_damaged_checkpoint_is_neither_used_nor_replaced(
    name: str, damage: Any, here: Path, refused: Refused
) -> None:
    file = here / "counterpoint" / "checkpoints" / "last" / name
    data = file.read_bytes()
    file.write_bytes(damage(data)) if damage else file.unlink()
    for command in (
        ["train", "--resume", "counterpoint", "--total-timesteps", "1000"],
        ["evaluate", "counterpoint"],
        ["compose", "counterpoint", "--cantus", "dorian"],
    ):
        message = refused(*command)
        assert str(here / "counterpoint") in message
        lost = name == "manifest.json" and not damage and command[0] != "train"
        advice = "has no checkpoint yet" if lost else "Use another checkpoint of the run, or train again"
        assert advice in message


def test_a_missing_checkpoint_is_said_to_be_missing(here: Path, refused: Refused) -> None:
    shutil.rmtree(here / "counterpoint" / "checkpoints")
    assert "counterpoint has no checkpoint yet: train it on with --resume" in refused(
        "evaluate", "counterpoint"
    )


def test_a_run_takes_no_cantus_longer_than_it_was_trained_on(refused: Refused) -> None:
    cantus = " ".join(["D4", "E4"] * 10 + ["D4"])
    message = refused("compose", "counterpoint", "--cantus", cantus)
    assert "The cantus has 21 notes, counterpoint was trained on up to 16: cut it into phrases" in message
    assert "train with --set max_notes=21" in message


def test_a_checkpoint_of_another_environment_is_not_loaded(here: Path) -> None:
    for path, other, trained_on in (
        ("cartpole", "descant/Counterpoint-v0", "CartPole-v1"),
        ("counterpoint", "CartPole-v1", "descant/Counterpoint-v0"),
    ):
        with pytest.raises(DescantError, match=f"was trained on {trained_on} with .* Give the one") as caught:
            descant.load_agent(path, other)
        assert "\n" not in str(caught.value)


def test_an_unknown_reset_option_is_named() -> None:
    env = gymnasium.make("descant/Counterpoint-v0", cantus="fux")
    for options, message in (
        ({"cantos": "dorian"}, "Unknown reset option 'cantos': there are 'cantus' and 'position'."),
        ({"cantus": "dorain"}, "Unknown cantus 'dorain'. Did you mean 'dorian'?"),
        ({"cantus": FOUR}, "No problem of this environment has that cantus and position"),
        ({"position": "abov"}, "No problem of this environment has that cantus and position"),
    ):
        with pytest.raises(DescantError, match=message.replace("?", r"\?")):
            env.reset(options=options)
