"""Suites of one's own: from files, checked whole before the first run, chosen from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from descant.benchmarks.checks import impossible, only
from descant.benchmarks.specs import Entry, Suite, names_of
from descant.benchmarks.suite_files import load_suite
from descant.benchmarks.suites.quick import QUICK
from descant.cli import main
from descant.errors import DescantError

from .tiny_suite import BROKEN, TINY

WHOLE = """
name: mine
env: descant/Counterpoint-v0
seeds: [0, 2]
train_options: {pool: 16}
test_options: {cantus: dorian}
entries:
  - agent: exact
  - agent: reinforce
    total_timesteps: 300
    config: {num_envs: 4, hidden: [8]}
    note: small
"""


def written(folder: Path, text: str, name: str = "mine.yaml") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def test_yaml_says_what_python_says(tmp_path: Path) -> None:
    found = load_suite(written(tmp_path, WHOLE))
    entries = (Entry("exact"), Entry("reinforce", 300, {"num_envs": 4, "hidden": [8]}, "small"))
    assert found == Suite(
        "mine", "descant/Counterpoint-v0", entries, {"pool": 16}, {"cantus": "dorian"}, (0, 2)
    )
    assert impossible(found) == []
    short = "env: descant/Counterpoint-v0\nseeds: 3\nentries: [{agent: exact}]"
    assert load_suite(written(tmp_path, short, "short.yml")) == Suite(
        "short", "descant/Counterpoint-v0", (Entry("exact"),), seeds=(0, 1, 2)
    )


PYTHON = """from descant.benchmarks.specs import Entry, Suite
A = Suite('a', 'descant/Counterpoint-v0', (Entry('exact'),))
"""


def test_a_python_file_has_suites(tmp_path: Path) -> None:
    one = written(tmp_path, PYTHON, "one.py")
    assert load_suite(one).name == load_suite(f"{one}:A").name == "a"
    two = written(tmp_path, PYTHON + "B = A\n", "two.py")
    for name in (two, f"{two}:C"):
        with pytest.raises(DescantError, match=r"has these suites: A, B\. Give .*two.py:NAME"):
            load_suite(name)
    with pytest.raises(DescantError, match="can't be run: ZeroDivisionError"):
        load_suite(written(tmp_path, "1 / 0", "bad.py"))
    with pytest.raises(DescantError, match="There is no file"):
        load_suite(str(tmp_path / "none.py"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "can't be read as YAML"),
        ("- 1", "it must be NAME: VALUE pairs"),
        ("env: x", "entries is missing"),
        ("env: x\nentries: []", "entries is empty"),
        ("env: x\nentries: 3", "entries must be a list, not 3"),
        ("env: x\nseeds: true\nentries: []", "seeds must be a number or a list, not True"),
        ("!!python/object/apply:os.getcwd []", "can't be read as YAML"),
        (
            "env: x\nentries: [{agnt: exact, agent: exact}, {note: 1}, 7]",
            "entry 1: unknown key 'agnt'. Did you mean 'agent'? Known: agent, config, note, total_timesteps; "
            "entry 2: agent is missing; entry 2: note must be text, not 1; entry 3: it must be",
        ),
        ("enw: x\nsede: 3", "env is missing; entries is missing; unknown key 'enw'. Did you mean 'env'"),
    ],
)
def test_a_file_that_says_something_else_is_refused(
    text: str, message: str, tmp_path: Path, capsys: Any
) -> None:
    assert main(["bench", written(tmp_path, text), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_all_that_is_impossible_is_listed_at_once(tmp_path: Path, capsys: Any) -> None:
    bad = """
env: descant/Counterpoint-v0
test_options: {cantos: dorian}
seeds: [0, 0, -1]
entries:
  - {agent: reinforc, total_timesteps: 5}
  - {agent: reinforce}
  - {agent: exact, total_timesteps: 5}
  - {agent: ppo, total_timesteps: 5, config: {learning_rat: 1}}
  - {agent: random}
  - {agent: random}
"""
    assert main(["bench", written(tmp_path, bad), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    for part in (
        "seed -1 is no whole number from 0",
        "there must be seeds, each once",
        "test_options: descant/Counterpoint-v0 has no option 'cantos'",
        "Unknown agent 'reinforc'",
        "reinforce: it has to be trained",
        "exact: it has nothing to learn",
        "has no option 'learning_rat'",
        "random 2: random stands there twice",
    ):
        assert part in said
    assert not (tmp_path / "out").exists()


def test_what_an_agent_has_against_the_environment_is_found_before_it_runs() -> None:
    assert impossible(TINY) == impossible(QUICK) == []
    for entry in (BROKEN, Entry("reinforce", 10, {"num_envs": 0}), Entry("psi", 10, {"prior": "task"})):
        assert len(impossible(replace(TINY, entries=(entry,)))) == 1
    entries = (
        Entry("reinforce", 10, {"num_envs": 0}),
        Entry("exact", 5),
        Entry("mixer", 10),
        Entry("mixer", 9),
    )
    said = impossible(replace(TINY, entries=entries))
    assert [line.partition(":")[0] for line in said] == ["reinforce", "exact", "mixer 1", "mixer 2"]
    (elsewhere,) = impossible(replace(TINY, env="descant/Melody-v0"))
    assert "write a study" in elsewhere


def test_only_chooses_by_name_and_by_pattern() -> None:
    def chosen(wanted: str) -> list[str]:
        return names_of(replace(TINY, entries=only(TINY, wanted)))

    assert chosen("exact") == ["exact"]
    assert chosen("reinforce") == ["reinforce 1", "reinforce 2"]
    assert only(TINY, "reinforce 2") == TINY.entries[3:4]
    assert chosen("r*, exact") == ["random", "reinforce 1", "exact", "reinforce 2"]
    with pytest.raises(DescantError, match=r"has no 'exat'\. Did you mean 'exact'"):
        chosen("random,exat")


def test_studies_take_no_choice_of_agents(capsys: Any) -> None:
    assert main(["bench", "regret", "--only", "psi"]) == 2
    assert "is a study, which takes no --only" in capsys.readouterr().err
