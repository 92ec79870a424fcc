"""Bad input about melodies: one clear line on stderr that says what to do next, exit 2, and nothing on disk changed."""

from __future__ import annotations

import importlib.util
import shlex
from pathlib import Path
from typing import Any

import gymnasium
import pytest

from descant import make_agent
from descant.cli import main

from .refusing import Refused, snapshot
from .test_bad_input import melody

ID = "descant/Melody-v0"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: priors of several forms, a tuned agent, and MIDI files of every bad kind."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name, options in (("prior", {}), ("short", {"steps": 16}), ("last", {"observe": "last"})):
        make_agent("bc", gymnasium.make_vec(ID, **options), data="none", hidden=(4,)).save(tmp_path / name)
    make_agent("bc", gymnasium.make_vec("CartPole-v1"), data="none", hidden=(4,)).save(tmp_path / "cartpole")
    gone = make_agent("psi", gymnasium.make_vec(ID), prior=str(tmp_path / "prior"), hidden=(4,))
    gone.save(tmp_path / "tuned")
    whole = melody([62, 65, 64, 62] * 12)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "composed").mkdir()
    (tmp_path / "composed" / "melody-01.mid").write_bytes(whole)
    (tmp_path / "chords.mid").write_bytes(melody([62, 65, 69], together=True))
    (tmp_path / "empty.mid").write_bytes(b"")
    (tmp_path / "silent.mid").write_bytes(melody([]))
    (tmp_path / "microtonal.mid").write_bytes(melody([62, 65, 64, 62], bent=True))
    (tmp_path / "large.mid").write_bytes(whole + bytes(10_000_000))
    (tmp_path / "damaged.mid").write_bytes(whole[:40])
    (tmp_path / "folder").mkdir()
    for name in ("chords", "silent"):
        (tmp_path / "folder" / f"{name}.mid").write_bytes((tmp_path / f"{name}.mid").read_bytes())
    return tmp_path


LINES = [
    ("compose prior --key H", "'H' is no key."),
    ("compose prior --key Dm", "'Dm' is no key. Did you mean 'D'?"),
    ("compose prior --key D --mode dorain", "'dorain' is no mode. Did you mean 'dorian'?"),
    ("compose prior --primer 'D4 X4'", "Primer note 2: 'X4' is not a pitch."),
    ("compose prior --primer 'C6'", "note 1: C6 is out of range: the lowest note is C3, the highest B5."),
    ("compose prior --key D --primer 'C3'", "C3 is out of range: the lowest note is D3, the highest C#6."),
    ("compose prior --primer 'D4:0.5'", "'D4:0.5' has no length on the grid: write whole sixteenths"),
    ("compose prior --primer 'D4:33'", "The primer takes 33 steps of a melody of 32: shorten it"),
    ("compose short --primer 'D4:8 E4:8'", "The primer takes 16 steps of a melody of 16"),
    ("compose prior --primer ''", "The primer has no notes"),
    ("compose prior --temperature -1", "temperature must be 0 (the likeliest) or more, not -1.0"),
    ("compose prior --temperature nan", "temperature must be 0"),
    ("compose prior --greedy --temperature 0.9", "--greedy is --temperature 0: give one of them."),
    ("compose prior --greedy --temperature-final 0.9", "--greedy is --temperature 0: give one of them."),
    ("compose prior --temperature-final -2", "temperature must be 0 (the likeliest) or more, not -2.0"),
    ("compose prior --greedy --n 3", "The likeliest melody is one: leave out --n"),
    ("compose prior --n 0", "--n must be 1 to 1,000, not 0."),
    ("compose prior --n 1001", "--n must be 1 to 1,000, not 1001."),
    ("compose prior --seed -1", "--seed must be at least 0, not -1."),
    ("compose prior --cantus dorian", "--cantus is for counterpoint, which prior does not write: leave it out."),
    ("compose prior --position below", "--position is for counterpoint"),
    ("compose prior --out file", "Cannot write to 'file': it is a file, not a folder. Give another folder."),
    ("compose prior --out file/below", "Cannot write to 'file/below'"),
    ("compose prior --prior absent", "absent does not exist"),
    ("compose prior --prior short", "The prior short was trained on MultiDiscrete"),
    ("compose prior --prior last", "The prior last was trained on MultiDiscrete"),
    ("compose prior --prior cartpole", "The prior cartpole was trained on Box"),
    ("compose prior --prior task", "This environment carries no prior of its own"),
    ("compose absent --key D", "'absent' is no run, checkpoint or agent."),
    ("compose cartpole --key D", "cartpole was trained on CartPole-v1, not on descant/Melody-v0"),
    ("evaluate prior --n 0", "--n must be at least 1, not 0."),
    ("evaluate prior --temperature -1", "temperature must be 0"),
    ("evaluate prior --prior cartpole", "The prior cartpole was trained on Box"),
    ("evaluate prior --set steps=16", "leave out --set steps and observe, or pass them as in its training"),
    ("evaluate prior --set key=H", "'H' is no key."),
    ("evaluate prior --set mode=majr", "'majr' is no mode. Did you mean 'major'?"),
    ("evaluate prior --set foo=1", "has no option 'foo'"),
    ("train descant/Melody-v0 --agent psi --set key=H --config.prior prior --out new", "'H' is no key."),
    ("train descant/Melody-v0 --agent psi --config.prior cartpole --out new", "The prior cartpole was trained on"),
    ("train descant/Melody-v0 --agent psi --config.prior short --out new", "The prior short was trained on"),
    ("train descant/Melody-v0 --agent kl-q --config.prior last --out new", "train a prior on this environment"),
    ("pretrain --corpus chords.mid --out new", "No tune of the corpus can be used. The first: chords.mid"),
    ("pretrain --corpus empty.mid --out new", "empty.mid is empty: give a file with a line of notes."),
    ("pretrain --corpus silent.mid --out new", "has no notes: give one line of notes."),
    ("pretrain --corpus microtonal.mid --out new", "bends its notes: give notes of the twelve semitones."),
    ("pretrain --corpus large.mid --out new", "large.mid has 10 MB, over the 5 that a file of tunes may have"),
    ("pretrain --corpus damaged.mid --out new", "damaged.mid' is not a readable MIDI file."),
    ("pretrain --corpus folder --out new", "No tune of the corpus can be used. The first: chords.mid"),
    ("pretrain --corpus composed --out new", "The corpus has no window of 32 steps for"),
    ("pretrain --corpus absent.mid --out new", "'absent.mid' is no corpus, file or folder."),
    ("pretrain --corpus file --out new", "file is no tune file"),
    ("pretrain --set key=H --out new", "leave out --set key and mode"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "message"), LINES, ids=[line for line, _ in LINES])
def test_what_can_not_work_is_said_in_a_line(
    line: str, message: str, here: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = ["--no-progress"] if line.startswith(("train", "pretrain")) else []
    # What was read of a corpus is kept before windows are cut from it.
    cache = ["--cache", str(here.parent / f"cache-{here.name}")] if line.startswith("pretrain") else []
    assert message in refused(*shlex.split(line), *more, *cache)


def test_without_music21_the_command_that_installs_it_is_said(
    refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "music21" else find(name, *rest)
    )
    message = refused("pretrain", "--corpus", "essen", "--out", "new", "--no-progress")
    assert "pip install 'descant[corpora]'" in message


def test_a_prior_that_is_gone_is_said_and_the_rest_measured(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """psi acts by its own weights where it began as its prior; else it can't act at all."""
    agent: Any = make_agent("psi", gymnasium.make_vec(ID), prior=str(here / "prior"), hidden=(4,))
    assert not agent.residual
    (here / "prior").rename(here / "moved")
    assert main(["evaluate", "tuned", "--n", "5"]) == 0
    out = capsys.readouterr().out
    assert "note: no log p and KL: its prior is not at hand" in out
    assert "--prior says where it is" in out
    assert main(["evaluate", "tuned", "--n", "5", "--prior", "moved"]) == 0
    assert "KL to the prior" in capsys.readouterr().out


def test_what_is_good_of_these_is_taken(here: Path) -> None:
    """So that the refusals above are about what they say."""
    assert main(["compose", "prior", "--n", "1", "--primer", "B5:2 C3:29", "--out", "new"]) == 0
    assert main(["compose", "prior", "--n", "1", "--key", "D", "--primer", "C#6 D3", "--out", "new"]) == 0


def test_a_failure_midway_leaves_the_files_that_were_there(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import descant.music.audio
    from descant.errors import DescantError

    calls = []

    def fail(score: Any) -> bytes:
        calls.append(score)
        if len(calls) == 2:
            raise DescantError("No sound today.")
        return b"sound"

    monkeypatch.setattr(descant.music.audio, "to_wav", fail)
    before = snapshot(here)
    assert main(["compose", "prior", "--n", "2"]) == 2
    assert "No sound today." in capsys.readouterr().err
    assert snapshot(here) == before
