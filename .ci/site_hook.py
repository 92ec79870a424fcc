"""MkDocs' hook: adds to the site the pages that are made from the code, and keeps every page in the navigation."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import site_pages
from mkdocs.structure.files import File, Files

SECTIONS = {
    "agents": "Agents",
    "rewards": "Rewards",
    "environments": "Environments",
    "results": "Results",
}
"""Folders of pages and the tab where those go that mkdocs.yml does not name."""


def on_config(config: Any) -> Any:
    """Complete the navigation, so that a page that mkdocs.yml does not name is never lost."""
    named = set(paths(config.nav))
    written = {str(path.relative_to(site_pages.DOCS)) for path in site_pages.DOCS.rglob("*.md")}
    for page in sorted({*written, *site_pages.pages()} - named):
        tab_of(page, config.nav).append(entry_of(page))
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are made from the code."""
    for path, text in site_pages.pages().items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Add to a page written by hand what the code says of the same."""
    return site_pages.completed(page.file.src_uri, markdown)


def paths(nav: Any) -> Iterator[str]:
    """All pages of a navigation."""
    for entry in nav:
        value = next(iter(entry.values())) if isinstance(entry, dict) else entry
        if isinstance(value, str):
            yield value
        else:
            yield from paths(value)


def tab_of(page: str, nav: Any) -> list[Any]:
    """The pages of the tab where a page belongs: that of its folder or kind, else Guides."""
    title = SECTIONS.get(kind_of(page), "Guides")
    found: list[Any] = next(entry[title] for entry in nav if isinstance(entry, dict) and title in entry)
    return found


def entry_of(page: str) -> Any:
    """What the navigation calls a page: by its file where it is an agent, reward or environment, else by its title."""
    is_one = kind_of(page) in site_pages.KINDS and Path(page).stem != "index"
    return {Path(page).stem.replace("_", "-"): page} if is_one else page


def kind_of(page: str) -> str:
    """A page's folder, or agents, rewards or environments where it is one's own; else nothing."""
    if "/" in page:
        return page.split("/")[0]
    for kind, (_, names) in site_pages.KINDS.items():
        if page in (site_pages.own_page(name) for name in names):
            return kind
    return ""
