"""Plans on disk: made once, read as written."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from descant import make_agent
from descant.benchmarks.plans import Plans, plans_in
from descant.shells import TaskVectorEnv, make_task


def test_plans_are_read_as_written(tmp_path: Path) -> None:
    task = make_task("descant/Counterpoint-v0", cantus="D4 F4 E4 D4")
    agent = make_agent("dagger", TaskVectorEnv(task, 4), hidden=(8,))
    agent.teacher.tables = Plans(tmp_path)  # type: ignore[attr-defined]
    agent.learn(16)
    made = agent.teacher.tables  # type: ignore[attr-defined]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["0.npz", "1.npz"]
    read = Plans(tmp_path)
    assert not dict.__contains__(read, 0)
    assert 0 in read
    assert 1 in read
    assert 2 not in read
    for problem in (0, 1):
        assert len(read[problem]) == len(made[problem]) == 4
        for one, two in zip(read[problem], made[problem], strict=True):
            for name in ("shared", "differ", "keys", "bits"):
                np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
                assert getattr(one, name).dtype == getattr(two, name).dtype


def test_a_folder_is_read_once(tmp_path: Path) -> None:
    assert plans_in(str(tmp_path)) is plans_in(str(tmp_path))
    assert plans_in(str(tmp_path)) is not plans_in(str(tmp_path / "other"))
