"""The code in the documents runs: ```bash as commands, ```text as what they print, then ```python as one script.

Each document has an empty folder to run in, and training is cut short. ```console is shown, not run.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

from descant import catalogue

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    "README.md",
    "CONTRIBUTING.md",
    *(f"docs/{p.name}" for p in sorted((ROOT / "docs").glob("*.md"))),
]
STEPS = "4096"  # environment steps in place of millions
BATCH = {
    "num_envs=512": "num_envs=32",
    "num_envs=64": "num_envs=8",
    "--agent reinforce": "--agent reinforce --config.num-envs 32",
}


class Block(NamedTuple):
    """A fenced block: its language, its text, and the line where it begins."""

    language: str
    text: str
    line: int


def blocks_in(document: str) -> list[Block]:
    """All fenced blocks of a document."""
    found = re.finditer(r"^```(\w*)\n(.*?)^```$", document, re.MULTILINE | re.DOTALL)
    return [Block(m[1], m[2], document.count("\n", 0, m.start()) + 1) for m in found]


def shortened(text: str) -> str:
    """The text with millions of steps made thousands, and smaller batches."""
    text = re.sub(r"\b\d+_?000_?000\b", STEPS, text)
    for long, short in BATCH.items():
        text = text.replace(long, short)
    return text


def script_of(blocks: list[Block]) -> str:
    """The Python blocks as one script, each on the lines that it has in the document."""
    lines: list[str] = []
    for block in blocks:
        if block.language == "python":
            lines += [""] * (block.line - len(lines)) + shortened(block.text).splitlines()
    return "\n".join(lines)


def output_of(command: list[str], folder: Path) -> str:
    """What a command prints; AssertionError where it fails."""
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = os.environ | {"PATH": programs, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command} failed:\n{done.stdout}{done.stderr}"
    return done.stdout


def run_document(document: str, folder: Path) -> None:
    """Run all blocks of a document; AssertionError where one fails or prints something else."""
    blocks = blocks_in(document)
    for block, after in pairwise([*blocks, Block("", "", 0)]):
        if block.language == "bash":
            printed = output_of(["bash", "-ec", shortened(block.text)], folder)
            assert after.language != "text" or printed == after.text, f"line {block.line} prints\n{printed}"
    script = folder / "blocks.py"
    script.write_text(script_of(blocks), encoding="utf-8")
    output_of([sys.executable, str(script)], folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_blocks_of_documents_run(name: str, tmp_path: Path) -> None:
    run_document((ROOT / name).read_text(encoding="utf-8"), tmp_path)


def fenced(language: str, text: str) -> str:
    return f"```{language}\n{text}\n```\n"


@pytest.mark.parametrize(
    "document",
    [
        fenced("bash", "descant nothing"),
        fenced("bash", "echo a") + fenced("text", "b"),
        fenced("python", "import descant.nothing"),
        fenced("python", "a = 1") + fenced("python", "assert a == 2"),
    ],
)
def test_a_block_that_fails_is_found(document: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        run_document(document, tmp_path)


def test_blocks_are_shortened_and_keep_their_lines(tmp_path: Path) -> None:
    document = "# Title\n\n" + fenced("python", "a = 3_000_000") + "\n" + fenced("python", "assert a == 4096")
    assert script_of(blocks_in(document)).split("\n")[7] == "assert a == 4096"
    run_document(
        document + fenced("console", "false") + fenced("bash", "echo 3000000") + fenced("text", "4096"),
        tmp_path,
    )


@pytest.mark.parametrize(
    ("heading", "names"),
    [
        ("Environment", catalogue.ENVIRONMENTS),
        ("Agent", catalogue.AGENTS),
        ("Reward", catalogue.REWARDS),
    ],
)
def test_tables_name_all_there_is(heading: str, names: dict[str, str]) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    table = readme.split(f"| {heading} |")[1].split("\n\n")[0]
    first_cells = [line.split("|")[1] for line in table.split("\n")[2:]]
    assert sorted(name for cell in first_cells for name in re.findall(r"`([^`]+)`", cell)) == sorted(names)


def test_a_newcomers_five_tasks_are_a_command_or_three_lines_each() -> None:
    """The README runs as a whole above."""
    text = (ROOT / "README.md").read_text()
    tasks = re.findall(r"^\*\*(\d)\. (.*?)\*\*(.*?)(?=^\*\*|^There)", text, re.MULTILINE | re.DOTALL)
    words = ("Make the environment", "Train an agent", "Hear the result", "Compare two agents", "own reward")
    assert [number for number, _, _ in tasks] == list("12345")
    for (_, title, body), expected in zip(tasks, words, strict=True):
        assert expected in title
        run = [block for block in blocks_in(body) if block.language in ("bash", "python")]
        assert run
        for block in run:
            assert sum(bool(line.strip()) for line in block.text.splitlines()) <= 3
