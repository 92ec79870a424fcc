"""The examples run, with tiny budgets, and say what they promise."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"
PLUGIN = EXAMPLES / "plugin"
SHORT = ("--total-timesteps", "1024", "--num-envs", "8")
RUN = {
    "own_reward.py": (),
    "reward_in_ten_lines.py": (),
    "compose_with_sb3.py": SHORT,
    "compose_with_maskable_ppo.py": SHORT,
    "ppo_in_one_file.py": ("--total-timesteps", "16384", "--num-envs", "32"),
    "foreign_environment.py": ("--total-timesteps", "2000", "--out", "agent"),
}


def said_by(command: list[str], folder: Path, **variables: str) -> str:
    """What a command prints, run in a folder."""
    env = os.environ | {"OMP_NUM_THREADS": "1"} | variables
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def printed_by(name: str, folder: Path) -> str:
    """What an example prints, run from elsewhere."""
    return said_by([sys.executable, str(EXAMPLES / name), *RUN[name]], folder)


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


def test_a_masked_agent_of_sb3_contrib_keeps_the_hard_rules(tmp_path: Path) -> None:
    """But for what no mask foresees: a line that has run into a corner."""
    printed = printed_by("compose_with_maskable_ppo.py", tmp_path)
    assert re.search(r"cantus \| D4 +F4 +E4", printed)
    found = re.search(r"score -?\d\.\d+, (\d+) errors", printed)
    assert found
    assert int(found[1]) <= 3


def test_ppo_in_one_file_learns(tmp_path: Path) -> None:
    returns = re.findall(
        r"step +([\d,]+) +mean return (-?\d+\.\d+)", printed_by("ppo_in_one_file.py", tmp_path)
    )
    assert returns[-1][0] == "16,384"
    assert float(returns[-1][1]) > float(returns[0][1])


def test_an_agent_of_ours_plays_elsewhere(tmp_path: Path) -> None:
    printed = printed_by("foreign_environment.py", tmp_path)
    found = re.fullmatch(r"ppo on CartPole-v1: mean return (\d+\.\d) .* of 10 episodes\n", printed)
    assert found
    assert float(found[1]) > 9
    assert (tmp_path / "agent/weights.safetensors").exists()


def test_a_reward_in_ten_lines(tmp_path: Path) -> None:
    lines = [
        line
        for line in (EXAMPLES / "reward_in_ten_lines.py").read_text().splitlines()
        if line and '"""' not in line
    ]
    assert len(lines) <= 10
    assert re.search(r"counterpoint \| .*[A-G]#?5", printed_by("reward_in_ten_lines.py", tmp_path))


def test_a_package_adds_an_agent_and_a_reward(tmp_path: Path) -> None:
    """Built and installed by pip, without a network, where nothing else is; found by its entry points."""
    source, target = tmp_path / "source", tmp_path / "installed"
    shutil.copytree(PLUGIN, source, ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--no-build-isolation",
    ]
    said_by([*pip, "--target", str(target), str(source)], tmp_path)
    python = [sys.executable, "-m", "descant"]
    without = json.loads(said_by([*python, "list", "--json"], tmp_path))
    assert "lowest" not in without["agents"]
    found = json.loads(said_by([*python, "list", "--json"], tmp_path, PYTHONPATH=str(target)))
    assert found["agents"]["lowest"].startswith("All probability on the lowest action")
    assert "smooth" in found["rewards"]
    script = (
        "import descant, gymnasium; env = gymnasium.make('descant/Counterpoint-v0', reward={'name': 'smooth', "
        "'price': 2.0}, mask='rules'); agent = descant.make_agent('lowest', env); "
        "o, _ = env.reset(seed=0); a, _ = agent.predict(o); env.step(a); print(env.step(a + 9)[1])"
    )
    assert said_by([sys.executable, "-c", script], tmp_path, PYTHONPATH=str(target)) == "-2.0\n"
