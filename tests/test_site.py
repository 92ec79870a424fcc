"""The documentation's site: what is made from the code is whole, and the site is built strictly, without network."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from descant import catalogue
from descant.registry import agents, commands

ROOT = Path(__file__).parents[1]


def module(name: str) -> ModuleType:
    """A script of .ci."""
    spec = importlib.util.spec_from_file_location(name, ROOT / f".ci/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    sys.modules[name] = found  # the hook imports it by this name
    spec.loader.exec_module(found)
    return found


site_pages = module("site_pages")
NAMES = [(kind, name) for kind, (_, names) in site_pages.KINDS.items() for name in names]


def page(path: str) -> str:
    """A page as the site has it, made or written."""
    made: dict[str, str] = site_pages.pages()
    if path in made:
        return made[path]
    text: str = site_pages.completed(path, (ROOT / "docs" / path).read_text(encoding="utf-8"))
    return text


@pytest.mark.parametrize(("kind", "name"), NAMES)
def test_all_there_is_has_a_page(kind: str, name: str) -> None:
    text = page(site_pages.page_of(kind, name))
    assert f"`{name}`" in text or f'"{name}"' in text
    assert "Defined in `" in text
    assert f"[`{name}`](../{site_pages.page_of(kind, name)})" in page(f"{kind}/index.md")


def test_the_kinds_are_those_of_the_catalogue() -> None:
    told = [names for _, names in site_pages.KINDS.values()]
    assert told == [catalogue.AGENTS, catalogue.REWARDS, catalogue.ENVIRONMENTS]


@pytest.mark.parametrize("name", catalogue.AGENTS)
def test_every_option_of_an_agent_is_told_with_its_default(name: str) -> None:
    rows = page(site_pages.page_of("agents", name)).splitlines()
    meanings = site_pages.documented(agents.get(name).Config)
    for f in dataclasses.fields(agents.get(name).Config):
        found = [row for row in rows if row.startswith("|") and f"`{f.name}`" in row.split(" | ")[0]]
        assert any(site_pages.code(repr(site_pages.default_of(f))) in row for row in found), f.name
        assert meanings.get(f.name), f"{f.name} says nothing of itself"


def test_defaults_come_into_a_table_written_by_hand() -> None:
    @dataclasses.dataclass
    class Config:
        one: float = 0.5
        two: int = 2
        three: str = "a|b"

    text = "Before\n\n| Option | Meaning |\n|---|---|\n| `one` `two` | Both. |\n| `other` | Not ours. |\n\nAfter\n"
    told = site_pages.with_defaults(text, Config)
    assert "| `one` `two` | `0.5`, `2` | Both. |\n| `other` |  | Not ours. |\n" in told
    assert "| `three` | `'a\\|b'` |" in told
    assert told.count("`one`") == 1  # what the page tells is not told again
    assert told.startswith("Before\n")
    assert told.endswith("\n\nAfter\n")


DOCSTRING = """A thing.

## Part
It is.

Args:
    one: the first,
        on two lines.
    two, three: others.

Raises:
    DescantError: never.

>>> a = 1
>>> b = 2
"""


def test_docstrings_become_markdown() -> None:
    text = site_pages.prose(DOCSTRING)
    assert "\n### Part\n" in text
    assert "Arguments:\n\n- `one`: the first, on two lines.\n- `two, three`: others.\n\n" in text
    assert "\nRaises:\n\n- `DescantError`: never.\n" in text
    assert "```python\na = 1\nb = 2\n```" in text


@pytest.mark.parametrize("name", catalogue.COMMANDS)
def test_every_command_and_option_is_in_the_reference(name: str) -> None:
    text = page("cli.md")
    own = re.split(r"^## ", text, flags=re.MULTILINE)
    (section,) = [part for part in own if part.startswith(f"descant {name}\n")]
    assert f"(#descant-{name})" in text
    for f in dataclasses.fields(commands.get(name)) if name != "prefs" else ():
        flag = f"--{f.name.replace('_', '-')}"
        assert "Positional" in str(f.type) or f"| `{flag}" in section or f.name == "config", flag


def test_commands_below_commands_are_in_the_reference() -> None:
    from descant.commands.prefs import PARTS

    for name in PARTS:
        assert f"### descant prefs {name}\n" in page("cli.md")
    assert "### descant bench sweep\n" in page("cli.md")
    assert "| `--min-seconds FLOAT` | `3.0` |" in page("cli.md")


def test_documents_of_the_root_keep_the_links_that_lead_into_the_site() -> None:
    readme = site_pages.from_root("README.md")
    assert "[Start here](index.md)" in readme
    assert "](examples)" not in readme
    assert "](changelog.md)" in page("contributing.md")


def broken_rows(text: str) -> list[str]:
    """Rows of tables that have not as many cells as their head."""
    wrong: list[str] = []
    cells = 0
    for line in text.splitlines():
        count = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0
        if count and cells and count != cells:
            wrong.append(line)
        cells = (cells or count) if count else 0
    return wrong


@pytest.mark.parametrize("path", sorted((ROOT / "docs").rglob("*.md")), ids=lambda path: path.stem)
def test_tables_have_no_cell_too_many(path: Path) -> None:
    assert broken_rows(path.read_text(encoding="utf-8")) == []


def test_a_cell_too_many_is_found() -> None:
    table = "| A | B |\n|---|---|\n| a | KL(p || q) |\n| a | KL(p \\|\\| q) |\n"
    assert broken_rows(table) == ["| a | KL(p || q) |"]
    assert broken_rows(f"{table.splitlines()[0]}\n\n| A |\n") == []


# With MkDocs.

mkdocs = pytest.mark.skipif(importlib.util.find_spec("material") is None, reason="needs the extra docs")
BUILD = [sys.executable, "-m", "mkdocs", "build", "--strict"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built."""
    out = tmp_path_factory.mktemp("site")
    done = subprocess.run([*BUILD, "-d", str(out)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@mkdocs
def test_every_page_is_in_the_site_and_in_its_navigation(site: Path) -> None:
    start = (site / "agents/index.html").read_text(encoding="utf-8")
    for path in [*site_pages.pages(), *(site_pages.page_of(kind, name) for kind, name in NAMES)]:
        html = path.replace(".md", ".html")
        assert (site / html).is_file()
    for name in catalogue.AGENTS:
        html = Path(site_pages.page_of("agents", name)).with_suffix(".html").name
        assert re.search(rf'<a href="(\.\./)?{html}" class="md-nav__link"', start), name


@mkdocs
def test_the_site_fetches_nothing(site: Path) -> None:
    for file in site.rglob("*.html"):
        text = file.read_text(encoding="utf-8")
        loaded = re.findall(r'<(?:script|img|iframe|source)[^>]+src="([^"]+)', text)
        loaded += re.findall(r'<link rel="(?:stylesheet|preconnect|icon)"[^>]* href="([^"]+)', text)
        assert loaded
        assert [link for link in loaded if re.match(r"(https?:)?//", link)] == [], file


@mkdocs
@pytest.mark.parametrize("link", ["gone.md", "other.md#gone", "../outside.py"])
def test_a_link_that_leads_nowhere_stops_the_build(tmp_path: Path, link: str) -> None:
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    validation = settings[settings.index("validation:") : settings.index("# The hook adds")]
    (tmp_path / "mkdocs.yml").write_text(f"site_name: a\n{validation}")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/other.md").write_text("# Other\n")
    (tmp_path / "docs/index.md").write_text("# Here\n\n[other](other.md)\n")
    built: Any = subprocess.run(BUILD, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    (tmp_path / "docs/index.md").write_text(f"# Here\n\n[other]({link})\n")
    built = subprocess.run(BUILD, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert built.returncode != 0
    assert link in built.stderr


class Config:
    """As much of MkDocs' settings as the hook looks at."""

    nav: Any


@mkdocs
def test_a_page_that_nobody_placed_goes_where_it_belongs() -> None:
    hook = module("site_hook")
    config = Config()
    tabs = ("Guides", "Environments", "Rewards", "Agents", "Results", "Project")
    config.nav = [{"Start": ["index.md"]}, *({tab: []} for tab in tabs)]
    hook.on_config(config)
    placed = {next(iter(entry)): next(iter(entry.values())) for entry in config.nav}
    for tab, entry in {
        "Guides": "runs.md",
        "Results": "results/speed.md",
        "Agents": "agents/index.md",
    }.items():
        assert entry in placed[tab]
    assert {"exact-kl": "exact_kl.md"} in placed["Agents"]
    assert {"sarsa": "agents/sarsa.md"} in placed["Agents"]
    assert {"tokens": "tokens.md"} in placed["Environments"]
    assert "index.md" not in list(hook.paths([{"Guides": placed["Guides"]}]))
