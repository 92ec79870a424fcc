"""What a user of the wheel does, from outside the checkout: `VENV/bin/python -I .ci/smoke.py`."""

from __future__ import annotations

import importlib.resources
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

CANTUS = "D4 F4 E4 D4 G4 F4 A4 G4 F4 E4 D4"
FUX_ABOVE = "A4 A4 G4 A4 B4 C5 C5 B4 D5 C#5 D5"
WRONG = "A4 A4 G4 A4 B4 C5 C5 B4 D5 C5 D5"  # no leading note
LEGAL_ABOVE_DORIAN = 4610


def where_it_lies() -> None:
    """The installed package is used, and its data came with it."""
    import descant

    assert "site-packages" in Path(descant.__file__).parts, descant.__file__
    for package in ("envs", "rewards", "agents", "benchmarks"):
        assert importlib.resources.files(f"descant.{package}").is_dir(), package
    templates = importlib.resources.files("descant.benchmarks") / "templates"
    assert any(file.name.endswith(".html") for file in templates.iterdir()), "no report templates"
    page = importlib.resources.files("descant.preferences") / "page"
    kinds = {file.name.rpartition(".")[2] for file in page.iterdir()}
    assert {"html", "css", "js", "svg"} <= kinds, kinds
    assert (importlib.resources.files("descant") / "py.typed").is_file()


def environments() -> None:
    """A single and a vector environment, stepped at random."""
    import gymnasium

    import descant  # noqa: F401  it registers the environments

    env = gymnasium.make("descant/Counterpoint-v0", cantus="dorian", position="above", render_mode="ansi")
    _, info = env.reset(seed=0)
    ended = False
    while not ended:
        _, _, terminated, truncated, info = env.step(env.action_space.sample(info["action_mask"]))
        ended = terminated or truncated
    assert "legal" in info["metrics"]
    assert "cantus" in env.render()
    envs = gymnasium.make_vec("descant/Counterpoint-v0", num_envs=8)
    envs.reset(seed=0)
    for _ in range(20):
        _, reward, *_ = envs.step(envs.action_space.sample())
        assert reward.shape == (8,)


LEARN_FROM = {"dpo": "comparisons", "mixer": "references"}


def names() -> None:
    """All agents of the catalogue can be made, on the environment that suits them all: it carries a prior."""
    import descant
    from descant.errors import DescantError
    from descant.registry import agents

    listed = descant.list_agents()
    assert {"random", "exact", "reinforce", "sb3/ppo"} <= set(listed), listed
    for name in listed:
        prior = {"prior": "task"} if agents.get(name).needs_prior else {}
        refused = ""
        try:
            descant.make_agent(name, "descant/Tokens-v0", **prior)
        except DescantError as error:  # what it learns from is not there, and it says so
            refused = str(error)
        assert LEARN_FROM.get(name, "") in refused, (name, refused)
        assert not refused or name in LEARN_FROM, (name, refused)


def descant_command(*arguments: str, status: int = 0) -> str:
    """What the command prints, once it has ended with `status`."""
    command = [str(Path(sys.executable).with_name("descant")), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == status, f"{command} ended with {done.returncode}: {done.stdout}{done.stderr}"
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout


def command_line() -> None:
    """Help, a right counterpoint, a wrong one, bad input, the exact count, a score to hear."""
    assert "check" in descant_command("--help")
    problem = ("--cantus", CANTUS, "--position", "above")
    assert (
        json.loads(descant_command("check", *problem, "--counterpoint", FUX_ABOVE, "--json"))["legal"] is True
    )
    wrong = json.loads(descant_command("check", *problem, "--counterpoint", WRONG, "--json", status=1))
    assert "cadence" in {finding["rule"] for finding in wrong["findings"]}, wrong
    descant_command("check", *problem, "--counterpoint", "A4 H4", status=2)
    solved = json.loads(
        descant_command("solve", "--cantus", "dorian", "--position", "above", "--json", "--count")
    )
    assert solved["legal_count"] == LEGAL_ABOVE_DORIAN, solved
    descant_command("compose", "exact", "--cantus", "dorian", "--position", "above", "--out", "composed")
    written = {file.suffix for file in Path("composed").rglob("*")}
    assert {".mid", ".svg", ".wav"} <= written, written


def main() -> None:
    os.environ.pop("PYTHONPATH", None)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for part in (where_it_lies, environments, names, command_line):
            part()
            print(f"smoke: {part.__name__.replace('_', ' ')}: fine")
        os.chdir("/")


if __name__ == "__main__":
    main()
