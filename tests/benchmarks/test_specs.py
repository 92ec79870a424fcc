"""Suites and runs as data: one folder for each content."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from descant.benchmarks.specs import Entry, names_of, runs_of
from descant.benchmarks.suites.quick import QUICK
from descant.music.cantus_firmi import FUX

from .tiny_suite import TINY


def test_a_suite_has_a_run_for_every_seed_of_every_agent_that_trains() -> None:
    specs = runs_of(replace(TINY, seeds=(0, 1, 2)))
    trained = ["reinforce", "reinforce"]
    assert [spec.entry.agent for spec in specs] == [agent for agent in trained for _ in range(3)]
    assert [spec.seed for spec in specs] == [0, 1, 2] * 2
    assert len({spec.folder(Path()) for spec in specs}) == len(set(specs)) == 6


def test_every_difference_that_decides_the_outcome_makes_another_folder() -> None:
    spec = runs_of(TINY)[0]
    others = [
        replace(spec, seed=1),
        replace(spec, env_options={"pool": 17}),
        replace(spec, entry=replace(spec.entry, total_timesteps=7)),
        replace(spec, entry=replace(spec.entry, config={**spec.entry.config, "gamma": 0.5})),
    ]
    assert len({other.folder(Path("x")) for other in (spec, *others)}) == 5
    same = replace(spec, entry=replace(spec.entry, config=dict(reversed(spec.entry.config.items()))))
    assert same.folder(Path("x")) == spec.folder(Path("x"))
    assert spec.folder(Path("x")).parent == Path("x/runs")
    assert spec.folder(Path("x")).name.startswith("reinforce-0-")


def test_agents_that_come_twice_are_numbered() -> None:
    assert names_of(TINY) == ["random", "reinforce 1", "exact", "reinforce 2"]
    assert names_of(QUICK) == ["random", "reinforce", "sb3/ppo", "exact"]


def test_quick_trains_on_generated_cantus_firmi_and_is_tested_on_fuxs() -> None:
    assert QUICK.train_options.get("cantus", "generated") == "generated"
    assert QUICK.test_options == {"cantus": "fux"}
    assert len(FUX) == 6
    assert [entry.agent for entry in QUICK.entries if not entry.total_timesteps] == ["random", "exact"]
    assert all(isinstance(entry, Entry) for entry in QUICK.entries)
