"""What the documents say of the code is compared with the code."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from descant.agents.reinforce import Config
from descant.evaluation import anchors
from descant.music.counterpoint import actions_of
from descant.music.pitches import parse_line
from descant.rewards.first_species import RULES, Rule
from descant.shells import make_task
from descant.tasks import replay

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
DOCUMENTS += sorted((ROOT / "docs").rglob("*.md"))


def rules_in(document: str) -> dict[str, tuple[str, str]]:
    """Cost and source by rule, as the table of a document has them."""
    rows = re.findall(r"^\| `([\w-]+)` \| [^|]+ \| ([^|]+) \| ([^|]+) \|$", document, re.MULTILINE)
    return {name: (cost.strip(), source.strip()) for name, cost, source in rows}


def rules_of(rules: Iterable[Rule]) -> dict[str, tuple[str, str]]:
    """The same from the code. A rule that is told in two parts has the sources of its first."""
    found: dict[str, tuple[str, str]] = {}
    for rule in rules:
        found.setdefault(rule.name, ("error" if rule.is_hard else f"{rule.cost:g}", rule.source))
    return found


def missing(root: Path, documents: Iterable[Path]) -> list[str]:
    """Links and names of files in documents that lead nowhere."""
    wrong = []
    for document in documents:
        text = document.read_text(encoding="utf-8")
        links = re.findall(r"\]\((?!https?:)([^)#]+)", text)
        wrong += [f"{document.name}: {link}" for link in links if not (document.parent / link).exists()]
        files = re.findall(r"`([\w.]+/[\w./-]+\.(?:py|md|cfg|toml|txt))`", text)
        wrong += [
            f"{document.name}: {file}" for file in files if not ("NAME" in file or (root / file).exists())
        ]
    return wrong


def test_the_table_of_rules_is_that_of_the_code() -> None:
    document = (ROOT / "docs/counterpoint.md").read_text(encoding="utf-8")
    assert rules_in(document) == rules_of(RULES)
    words = " ".join(document.split())
    for rule in RULES:
        assert not rule.simplified or f"- `{rule.name}`: {rule.simplified}." in words


def test_a_table_that_differs_is_told_apart() -> None:
    table = "| Rule | What | Cost | Source |\n|---|---|---|---|\n| `step` | Steps. | 0.5 | Fux |\n"
    assert rules_in(table) == {"step": ("0.5", "Fux")}
    assert rules_in(table) != rules_of([rule for rule in RULES if rule.name == "step"])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_what_documents_point_at_is_there(document: Path) -> None:
    assert missing(ROOT, [document]) == []


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    document = tmp_path / "a.md"
    document.write_text("[b](b.md) [web](https://example.org) `docs/c.md` `a.md` [self](a.md#part)")
    assert missing(tmp_path, [document]) == ["a.md: b.md", "a.md: docs/c.md"]


def options_in(document: str) -> list[str]:
    """The first column of a document's table of options."""
    table = document.split("| Option | Meaning |")[1].split("\n\n")[0]
    return re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)


def test_the_options_of_reinforce_are_all_told() -> None:
    document = (ROOT / "docs/reinforce.md").read_text(encoding="utf-8")
    assert options_in(document) == [field.name for field in dataclasses.fields(Config)]


def test_the_scores_told_of_fux_are_right() -> None:
    document = (ROOT / "docs/counterpoint.md").read_text(encoding="utf-8")
    for mask, decimals in (("range", 4), ("rules", 3)):
        task = make_task("descant/Counterpoint-v0", cantus="dorian", position="above", mask=mask)
        line = parse_line("A4 A4 G4 A4 B4 C5 C5 B4 D5 C#5 D5")
        cost = sum(
            finding.cost for finding in task.rules.explain(replay(task, task.starts(), actions_of(line)))
        )
        assert f'{anchors(task).score(-cost)[0]:.{decimals}f} with `mask="{mask}"`' in document
