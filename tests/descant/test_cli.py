"""The command line as a whole: overview, help, version, pipes, exit codes."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import descant
from descant.catalogue import COMMANDS
from descant.cli import main, one_line, together
from descant.registry import commands, load
from descant.runs.folders import RunFolder


@pytest.mark.parametrize("asked", [[], ["--help"], ["-h"], ["help"]])
def test_the_overview_names_every_command_with_a_summary(
    asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(asked) == 0
    text = capsys.readouterr().out
    for name, target in COMMANDS.items():
        (row,) = [line for line in text.splitlines() if line.split()[:1] == [name]]
        assert row.removeprefix(f"  {name}").strip() == load(target).__doc__.split("\n")[0]
    assert "not installed" not in text
    assert "Exit codes: 0 fine, 1 the answer is no" in text


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_help_of_every_command_has_an_example_of_it(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([name, "--help"]) == 0
    captured = capsys.readouterr()
    assert f"\nExample: descant {name} " in captured.out
    assert f"usage: descant {name}" in captured.out
    assert captured.err == ""


def test_the_help_of_train_is_that_of_the_agent(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--agent", "sb3/ppo", "--help"]) == 0
    of_ppo = capsys.readouterr().out
    assert main(["train", "--agent=reinforce", "--help"]) == 0
    of_reinforce = capsys.readouterr().out
    assert "--config.clip-range" in of_ppo
    assert "--config.clip-range" not in of_reinforce
    assert re.search(r"--config\.baseline\s+\{none,mean,learned\b", of_reinforce)


@pytest.mark.parametrize("asked", ["--version", "-V"])
def test_the_version_is_told(asked: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([asked]) == 0
    assert capsys.readouterr().out == f"descant {descant.__version__}\n"


def test_without_arguments_it_takes_those_of_the_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["descant", "--version"])
    assert main() == 0
    assert capsys.readouterr().out.startswith("descant ")


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("asked", ["list", "--help", "solve --help"])
def test_a_reader_who_has_gone_is_not_an_error(unbuffered: str, asked: str, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "descant", *asked.split()],
        stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60, cwd=tmp_path,
        env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
    )  # fmt: skip
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def test_head_takes_what_it_wants(tmp_path: Path) -> None:
    program = f"{sys.executable} -m descant"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {program} list | head -1"],
        capture_output=True, text=True, timeout=60, cwd=tmp_path,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "environments:\n", "")


def test_ctrl_c_leaves_with_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    @dataclasses.dataclass
    class Stopped:
        """A command that is interrupted."""

        def run(self) -> int:
            raise KeyboardInterrupt

    monkeypatch.setitem(commands._entries, "stopped", Stopped)
    assert main(["stopped"]) == 130
    assert capsys.readouterr().err == "\ninterrupted\n"


def test_what_the_parser_says_fits_one_line() -> None:
    box = (
        "\x1b[31m╭─ Unrecognized options ───────────╮\x1b[0m\n"
        "│ Unrecognized options: --config.hiden, 5 │\n"
        "│ ──────────────────────────────────────── │\n"
        "│ Perhaps you meant:                      │\n"
        "│     --config.hidden [INT [INT ...]]     │\n"
        "│ ──────────────────────────────────────── │\n"
        "│ For full helptext, run descant --help   │\n"
        "╰──────────────────────────────────────────╯\n"
    )
    assert one_line(box) == (
        "Unrecognized options: --config.hiden, 5 Perhaps you meant: --config.hidden [INT [INT ...]]"
    )


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("--set a=1 --set b=2", "--set a=1 b=2"),
        ("x --set a=1 c=3 --n 5 --set b=2 --json", "x --set a=1 c=3 b=2 --n 5 --json"),
        ("--set=a=1 --out y --set b={}", "--set a=1 b={} --out y"),
        ("--n 5 y", "--n 5 y"),
        ("--settle a --set", "--settle a --set"),
    ],
)
def test_an_option_given_twice_has_all_its_values(given: str, wanted: str) -> None:
    assert together(given.split(), "--set") == wanted.split()


def test_both_of_two_sets_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--total-timesteps", "8", "--config.num-envs", "2", "--config.hidden", "4", "--no-progress"]
    sets = ["--set", "cantus=dorian", "--set", "position=above"]
    train = ["train", "descant/Counterpoint-v0", "--agent", "reinforce", *sets, *small]
    assert main([*train, "--out", str(tmp_path / "run")]) == 0
    kept = RunFolder.open(tmp_path / "run").config["env_options"]
    assert kept == {"cantus": "dorian", "position": "above"}
