"""What the documents say of the code is compared with the code."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from descant.rewards.first_species import RULES, Rule

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
DOCUMENTS += sorted((ROOT / "docs").glob("*.md"))


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
        wrong += [f"{document.name}: {file}" for file in files if not (root / file).exists()]
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
