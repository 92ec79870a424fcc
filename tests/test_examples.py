"""The examples run, with tiny budgets, and say what they promise."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"
RUN = {"own_reward.py": (), "compose_with_sb3.py": ("--total-timesteps", "1024", "--num-envs", "8")}


def printed_by(name: str, folder: Path) -> str:
    """What an example prints, run from elsewhere."""
    command = [sys.executable, str(EXAMPLES / name), *RUN[name]]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


def test_every_example_is_run() -> None:
    assert sorted(path.name for path in EXAMPLES.glob("*.py")) == sorted(RUN)


def test_own_reward_changes_the_best_line(tmp_path: Path) -> None:
    printed = printed_by("own_reward.py", tmp_path)
    leaps = {name: int(count) for name, count in re.findall(r"under '(\w+)' has (\d+) leaps", printed)}
    assert leaps["calm"] < leaps["fux"]
    assert "!" not in printed


def test_sb3_composes(tmp_path: Path) -> None:
    printed = printed_by("compose_with_sb3.py", tmp_path)
    assert re.search(r"cantus \| D4 +F4 +E4", printed)
    assert re.search(r"score -?\d\.\d+ .* \d+ errors", printed)
