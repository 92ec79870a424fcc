"""`bench imitation`: races, comparisons, and what their tables count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from descant.benchmarks import imitation
from descant.benchmarks.exams import exam_on
from descant.benchmarks.imitation import (
    LEARNERS,
    LINES,
    METHODS,
    RACES,
    errors,
    jobs,
    race,
    race_cloning,
    reached,
    tables,
)
from descant.benchmarks.imitation_picture import SHORTEST, regret_so_far, wrong_by_position
from descant.benchmarks.jobs import Done, Job
from descant.shells import make_task

SMALL: dict[str, Any] = {"hidden": (16,)}


@pytest.fixture
def easy(monkeypatch: pytest.MonkeyPatch) -> None:
    """One short cantus to learn and to be examined on."""
    monkeypatch.setattr(imitation, "WORLD", {"cantus": "D4 F4 E4 D4"})
    task = make_task(imitation.ENV, cantus="D4 F4 E4 D4")
    exam = exam_on(task)
    monkeypatch.setattr(imitation, "exams", lambda: {"fux": exam, "unseen": exam})


def test_the_unseen_are_unseen_and_of_many_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the plans, which take seconds."""
    monkeypatch.setattr(imitation, "exam_on", lambda task, starts=None: (task, starts))
    found: Any = imitation.exams.__wrapped__()
    task, starts = found["unseen"]
    rows = task.problems.problem_of(starts)
    chosen = [task.problems.problems[i] for i in rows]
    training: Any = make_task(imitation.ENV, **imitation.WORLD)
    assert not {p.cantus for p in chosen} & {p.cantus for p in training.problems.problems}
    assert len(chosen) == 48
    assert len({p.cantus for p in chosen}) == 24
    assert {len(p.cantus) for p in chosen} == set(range(8, 15))
    assert len({p.cantus[-1].letter for p in chosen}) == 6
    assert found["fux"][1] is None


@pytest.mark.usefixtures("easy")
def test_a_race_ends_at_the_goal_and_looks_now_and_then(tmp_path: Path) -> None:
    found = race(
        "dagger", 20_000, 1, {**SMALL, "num_envs": 16, "updates": 32, "learning_rate": 0.01}, 0, str(tmp_path)
    )
    looks = found["looks"]
    assert found["reached"] == {"fux": looks[-1]["steps"], "unseen": looks[-1]["steps"]}
    assert all(look["fux"] < 0.99 for look in looks[:-1])
    assert 64 <= looks[-1]["steps"] < 20_000
    slow = race("reinforce", 2_000, 500, {**SMALL, "num_envs": 16, "critic_hidden": (16,)}, 0, str(tmp_path))
    steps = [look["steps"] for look in slow["looks"]]
    assert slow["reached"] == {"fux": None, "unseen": None}
    assert steps[0] == 64
    assert steps == list(range(64, 2_001, 512))  # every 500 or more, in updates of 64


@pytest.mark.usefixtures("easy")
def test_a_cloner_is_taught_with_more_and_more_lines(tmp_path: Path) -> None:
    found = race_cloning(
        "bc", (2, 64, 128), {**SMALL, "num_envs": 8, "learning_rate": 0.01}, 0, str(tmp_path)
    )
    steps = [look["steps"] for look in found["looks"]]
    assert steps == [4 * lines for lines in (2, 64, 128)][: len(steps)]
    assert found["reached"]["fux"] == steps[-1] <= 4 * 64


def test_the_first_look_at_the_goal_counts() -> None:
    looks = [{"steps": 5, "fux": 0.98, "unseen": 0.99}, {"steps": 9, "fux": 0.995, "unseen": 0.9}]
    assert reached(looks) == {"fux": 9, "unseen": 5}
    assert reached(looks[:1]) == {"fux": None, "unseen": 5}


@pytest.mark.usefixtures("easy")
def test_cloning_and_dagger_have_as_many_labels(tmp_path: Path) -> None:
    one, two = (
        errors(method, 16, {**METHODS[method], **SMALL, "updates": 4}, 0, str(tmp_path))
        for method in ("cloning", "dagger")
    )
    assert one["steps"] == two["steps"] == 4 * 16
    assert one["own"]["notes"][:5] == two["forced"]["notes"][:5] == [4, 4, 4, 4, 0]  # above, below, two exams
    assert one["own"]["cost"] != two["own"]["cost"]


def done_of(reach: dict[str, list[Any]], ratio: float = 2.0, error: str = "") -> list[Done]:
    """What jobs would have found: steps by agent and seed; own costs of cloning `ratio` times the teacher's."""
    found = []
    for agent, own in reach.items():
        for seed, steps in enumerate(own):
            look = {"steps": steps or 9, "fux": 0.99, "unseen": 0.5}
            value = {"reached": {"fux": steps, "unseen": steps}, "looks": [look]}
            job = Job(f"{agent} seed {seed}", "", {"agent": agent, "seed": seed})
            found.append(Done(job, None if error else value, 1.0, error))
    for lines in LINES:
        for method in METHODS:
            value = {"steps": 11 * lines, "score": {"fux": 0.9, "unseen": 0.8}}
            value |= {
                "own": tallied(ratio if method == "cloning" else 1.0, 6),
                "forced": tallied(1.0, 3),
            }
            job = Job("", "", {"method": method, "lines": lines, "seed": 0})
            found += [Done(job, value, 1.0), Done(job, value, 1.0)]
    return found


def tallied(cost: float, wrong: int) -> dict[str, list[float]]:
    """Two lines, of 8 notes and of 12, all of the cost in the first note."""
    notes = [2.0] * 8 + [1.0] * 4 + [0.0] * 4
    lines = [0.0] * 8 + [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]
    regret = [cost * n for n in (*[0] * 8, 0.5, 0, 0, 0, 1.5, 0, 0, 0)]
    spent = [2 * cost] + [0.0] * 15
    return {
        "notes": notes,
        "wrong": [wrong / 6] + [0.0] * 15,
        "cost": spent,
        "lines": lines,
        "regret": regret,
    }


def test_dagger_must_be_first_on_every_seed_in_both_exams(tmp_path: Path) -> None:
    fine = {"dagger": [100, 300], "bc": [50, None], "reinforce": [1000, None], "ppo": [900, 301]}
    races, _ = tables(done_of(fine), tmp_path)
    assert races.met
    rows = {row[:2]: row[2:] for row in races.rows}
    assert rows["dagger", "Fux's twelve"] == ("2 of 2", "200 (-1,071 to 1,471)", "300", "0.9900")
    assert rows["reinforce", "unseen"] == ("1 of 2", "1,000 (-)", "1,000", "0.5000")
    for worse in ({"dagger": [100, None]}, {"dagger": [100, 302]}, {"ppo": [300, 900]}):
        assert not tables(done_of(fine | worse), tmp_path)[0].met


def test_failed_seeds_are_shown(tmp_path: Path) -> None:
    races, comparison = tables(done_of({agent: [1] for agent in RACES}, error="out of memory"), tmp_path)
    assert not races.met
    assert len(races.failed) == len(RACES)
    assert races.rows[0][2:] == ("0 of 1", "-", "-", "-")
    assert comparison.met


def test_regret_is_told_on_both_paths_and_by_length(tmp_path: Path) -> None:
    _, table = tables(done_of({agent: [1, 1] for agent in RACES}), tmp_path)
    assert len(table.rows) == len(LINES) * len(METHODS)
    cloning, dagger = table.rows[:2]
    assert cloning[:4] == ("32", "352", "cloning", "2.000 (2.000 to 2.000)")
    assert cloning[5:] == ("2.00", "1.000", "3.000", "0.8000")
    assert dagger[4:6] == ("1.000 (1.000 to 1.000)", "1.00")
    assert [file.name for file in table.files] == ["imitation.svg", "imitation.png"]
    assert all(file.stat().st_size > 1000 for file in table.files)


def test_the_picture_shows_the_share_of_wrong_notes() -> None:
    share = wrong_by_position([{"own": tallied(1.0, 6)}, {"own": tallied(1.0, 3)}], "own")
    np.testing.assert_allclose(share, [37.5] + [0.0] * (SHORTEST - 1))


def test_the_picture_shows_how_regret_adds_up() -> None:
    steady = tallied(1.0, 6) | {"cost": [2.0] * 8 + [0.0] * 8}
    np.testing.assert_allclose(regret_so_far([{"own": steady}] * 2, "own"), np.arange(1, SHORTEST + 1))


def test_there_is_a_job_for_every_seed_of_all() -> None:
    made = jobs(range(3))
    assert len({job.key for job in made}) == len(made) == 3 * (len(RACES) + len(LINES) * len(METHODS))
    assert set(LEARNERS) < set(RACES)
    assert all(callable(getattr(imitation, job.work.partition(":")[2])) for job in made)
