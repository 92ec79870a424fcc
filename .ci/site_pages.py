"""Pages of the documentation that are made from the code: agents, environments, rewards, commands.

Everything is Markdown text; nothing here knows of MkDocs. `site_hook.py` puts it into the site.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import functools
import inspect
import io
import itertools
import os
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from descant import catalogue
from descant.cli import run
from descant.registry import agents, commands, rewards, summary, tasks

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
WIDTH = "2000"  # columns of a help text, so that no line of it is broken
KINDS = {
    "agents": (agents, catalogue.AGENTS),
    "rewards": (rewards, catalogue.REWARDS),
    "environments": (tasks, catalogue.ENVIRONMENTS),
}
"""The registry of each kind, and the names in it that ship with descant."""

BELOW = {"bench": ["sweep"]}  # commands below a command that its help text does not list
HEADER = "| Option | Meaning |\n|---|---|"

ABOUT = {
    "agents": """An agent learns a policy, or computes one. All speak the same language (`learn`, `predict`,
`log_probs`, `save`, `load`) and play any Gymnasium environment with discrete actions, except where their page says what
they need.""",
    "rewards": """A reward is a pure function of batches of transitions; most can explain what they charge for. An
environment takes one by name, by name and options, or as an object: `reward={"name": "fux", "error": 2.0}`.""",
    "environments": """Every environment is a pure, batched task in Gymnasium's shells: `gymnasium.make` gives one,
`gymnasium.make_vec` many that step as one batch.""",
}
TITLES = {"agents": "Agent", "rewards": "Reward", "environments": "Environment"}


def stem(name: str) -> str:
    """The file name of a page: `descant/GridWorld-v0` is gridworld, `sb3/ppo` is sb3-ppo."""
    return re.sub(r"-v\d+$", "", name.removeprefix("descant/")).replace("/", "-").lower()


def own_page(name: str) -> str | None:
    """The hand-written page called after a name, if there is one."""
    found = (f"{s}.md" for s in (stem(name), stem(name).replace("-", "_")))
    return next((file for file in found if (DOCS / file).is_file()), None)


def page_of(kind: str, name: str) -> str:
    """Where something is described, from docs/: its own page, or one made from the code."""
    return own_page(name) or f"{kind}/{stem(name)}.md"


def guide_of(name: str) -> str | None:
    """The page of docs/ that README's tables name for something, from docs/."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\|((?: *`[^`]+`)+) *\|.*\]\(docs/([\w./-]+\.md)\) *\|$", readme, re.MULTILINE)
    return next((page for names, page in rows if f"`{name}`" in names), None)


@functools.cache
def pages() -> dict[str, str]:
    """Every page that is made from the code alone, by its path from docs/."""
    made = {
        page_of(kind, name): made_from_code(kind, name)
        for kind, (_, names) in KINDS.items()
        for name in names
        if not own_page(name)
    }
    made |= {f"{kind}/index.md": overview_of(kind) for kind in KINDS}
    made["cli.md"] = command_line()
    made |= {f"{name.lower()}.md": from_root(f"{name}.md") for name in ("CONTRIBUTING", "CHANGELOG")}
    return made


def completed(page: str, text: str) -> str:
    """A hand-written page with what the code knows: defaults in its table of options, docstrings at its end."""
    for kind, (registry, names) in KINDS.items():
        for name in (n for n in names if own_page(n) == page):
            is_told = kind == "agents" and HEADER in text
            if is_told:
                text = with_defaults(text, registry.get(name).Config)
            found = registry.get(name)
            told = f"\n\n### Options and defaults\n\n{options(kind, found)}" if not is_told else ""
            text += f"\n\n## {TITLES[kind]} `{name}` in the code\n\n{prose(inspect.getdoc(found) or '')}"
            text += f"{told}\n\n{defined(found)}\n"
    text = text.replace("```console", "```bash")  # with its colours: there is no prompt in ours
    return text.replace(" ± ", "\u00a0±\u00a0")  # which no line may break


def with_defaults(text: str, config: type[Any]) -> str:
    """A page whose table of an agent's options also tells their defaults; an option that it does not tell is added."""
    defaults = {f.name: code(repr(default_of(f))) for f in dataclasses.fields(config)}
    before, _, after = text.partition(HEADER)
    table, blank, rest = after.partition("\n\n")
    told: set[str] = set()

    def row(found: re.Match[str]) -> str:
        names = re.findall(r"`(\w+)`", found[1])
        told.update(names)
        return f"|{found[1]}| {', '.join(defaults.get(name, '') for name in names)} |{found[2]}|"

    table = re.sub(r"^\|((?: *`\w+`,?)+ *)\|(.*)\|$", row, table, flags=re.MULTILINE)
    meanings = documented(config)
    left = [f for f in dataclasses.fields(config) if f.name not in told]
    table += "".join(f"\n| `{f.name}` | {defaults[f.name]} | {meaning(f, meanings)} |" for f in left)
    return f"{before}| Option | Default | Meaning |\n|---|---|---|{table}{blank}{rest}"


def from_root(file: str) -> str:
    """A document of the root as a page of docs/; links to what is not in docs/ become plain text."""
    text = (ROOT / file).read_text(encoding="utf-8")

    def moved(link: re.Match[str]) -> str:
        target = link[2].removeprefix("docs/")
        if link[2].startswith("http") or (DOCS / target.split("#")[0]).is_file():
            return f"[{link[1]}]({target})"
        if link[2] in ("CONTRIBUTING.md", "CHANGELOG.md"):
            return f"[{link[1]}]({link[2].lower()})"
        return link[1]

    return re.sub(r"\[([^\]]+)\]\(([^)]+)\)", moved, text)


def overview_of(kind: str) -> str:
    """A table of all of one kind, each with its page."""
    registry, names = KINDS[kind]
    rows = [
        f"| [`{name}`](../{page_of(kind, name)}) | {cell(summary(registry, name))} |"
        for name in sorted(names)
    ]
    return "\n".join(
        [f"# {kind.capitalize()}", "", ABOUT[kind], "", "| Name | What it is |", "|---|---|", *rows, ""]
    )


def made_from_code(kind: str, name: str) -> str:
    """A page that is made from the code alone: what it is, how it is asked for, where more is told, its options."""
    found = KINDS[kind][0].get(name)
    first, _, rest = prose(inspect.getdoc(found) or "").partition("\n\n")
    parts = [f"# {stem(name)}", first, *usage(kind, name), rest.strip()]
    if guide := guide_of(name):
        title = (DOCS / guide).read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
        parts.insert(3, f"More: [{title}](../{guide}).")
    module = inspect.getdoc(inspect.getmodule(found)) or ""
    if "\n" in module:
        parts.append(f"## Where it comes from\n\n{prose(module)}")
    parts += ["## Options", options(kind, found), defined(found)]
    return "\n\n".join(part for part in parts if part) + "\n"


def usage(kind: str, name: str) -> list[str]:
    """How it is asked for."""
    if kind == "rewards":
        return [f'From Python: `descant.make_reward("{name}")`; options go beside the name in a dictionary.']
    if kind == "environments":
        return [f'From Python: `gymnasium.make("{name}")`.']
    command = f"train --agent {name}" if agents.get(name).trains else f"evaluate {name}"
    return [f'From Python: `descant.make_agent("{name}", env)`. On the command line: `descant {command}`.']


def defined(found: Any) -> str:
    """In which file something is."""
    return f"Defined in `{inspect.getfile(found).removeprefix(f'{ROOT}/')}`."


def options(kind: str, found: Any) -> str:
    """A table of what can be chosen: of an agent its Config's fields, of others their constructor's arguments."""
    if kind == "agents":
        told = documented(found.Config)
        rows = [(f.name, repr(default_of(f)), meaning(f, told)) for f in dataclasses.fields(found.Config)]
        return as_table(["Option", "Default", "Meaning"], rows)
    known = [p for p in inspect.signature(found).parameters.values() if p.kind is not p.VAR_KEYWORD]
    return as_table(
        ["Option", "Default", "Type"],
        [(p.name, "" if p.default is p.empty else repr(p.default), code(p.annotation)) for p in known],
    )


def as_table(columns: list[str], rows: list[tuple[str, str, str]]) -> str:
    """Rows of a name, a default (code both) and text."""
    lines = [
        f"| `{name}` | {code(default) if default else 'needed'} | {text} |" for name, default, text in rows
    ]
    return "\n".join([f"| {' | '.join(columns)} |", "|---|---|---|", *lines]) if rows else "None."


def meaning(f: dataclasses.Field[Any], told: dict[str, str]) -> str:
    """What is written below a field, and its choices where there are few."""
    choices = re.findall(r"'([^']+)'", str(f.type)) if str(f.type).startswith("Literal[") else []
    listed = f" One of {', '.join(f'`{c}`' for c in choices)}." if choices else ""
    return cell(told.get(f.name, "")) + listed


def default_of(f: dataclasses.Field[Any]) -> Any:
    """A field's default value."""
    return f.default_factory() if f.default_factory is not dataclasses.MISSING else f.default


def documented(config: type[Any]) -> dict[str, str]:
    """The text below each field of a dataclass, those of its bases included."""
    found: dict[str, str] = {}
    for base in reversed(config.__mro__[:-1]):
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        found |= dict(texts_below(tree.body))  # type: ignore[attr-defined]
    return found


def texts_below(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    """Each annotated name of a class and the string that follows it."""
    for statement, after in itertools.pairwise(body):
        match statement, after:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                yield name, " ".join(text.split())


def prose(docstring: str) -> str:
    """A docstring as Markdown: headings one level down, arguments as a list, examples as code."""
    text = re.sub(r"^(#+) ", r"#\1 ", docstring, flags=re.MULTILINE)
    text = re.sub(r"(?:^>>> .*\n?)+", in_code, text, flags=re.MULTILINE)
    return re.sub(r"^(Args|Raises|Returns):\n((?:    .*\n?|\n)+)", as_list, text, flags=re.MULTILINE)


def in_code(lines: re.Match[str]) -> str:
    """Lines of a Python prompt as a block of code."""
    return "```python\n" + re.sub(r"^>>> ", "", lines[0], flags=re.MULTILINE).rstrip() + "\n```\n"


def as_list(section: re.Match[str]) -> str:
    """`Args:` and what is indented below it as a list."""
    body = textwrap.dedent(section[2])
    entries = re.findall(r"^([\w, ]+): (.*(?:\n +.*)*)", body, flags=re.MULTILINE)
    items = [f"- {code(name)}: {' '.join(text.split())}" for name, text in entries]
    return "\n".join([f"{ {'Args': 'Arguments'}.get(section[1], section[1]) }:", "", *items, "", ""])


def command_line() -> str:
    """Every command: what it does, an example, its options."""
    parts = ["# Command line", "", "`descant COMMAND --help` says the same in a terminal.", ""]
    parts += ["| Command | What it does |", "|---|---|"]
    parts += [
        f"| [`{name}`](#descant-{name}) | {cell(summary(commands, name))} |" for name in catalogue.COMMANDS
    ]
    parts += ["", "Exit codes: 0 fine, 1 the answer is no (a rule broken, a bar missed), 2 bad input.", ""]
    for name in catalogue.COMMANDS:
        parts += section(name, help_of(name), "##")
    return "\n".join(parts)


def section(name: str, text: str, level: str) -> list[str]:
    """A command's help text below its name, then those of the commands below it."""
    told, *boxes = re.split(r"^ (\S.*?) *\n -+ *\n", text, flags=re.MULTILINE)
    rows = {title: rows_of(box) for title, box in zip(boxes[::2], boxes[1::2], strict=True)}
    listed = rows.get("positional arguments", []) + rows.get("options", [])
    parts = [f"{level} descant {name}", "", *map(paragraph, told.strip().split("\n\n"))]
    parts += ["| Option | Default | Meaning |", "|---|---|---|", *listed, ""] if listed else []
    if "config options" in rows:
        parts += ["`--config.NAME` are options of the agent: its page has them.", ""]
    for below in BELOW.get(name, subcommands(text)):
        parts += section(f"{name} {below}", help_of(*name.split(), below), f"{level}#")
    return parts


def paragraph(text: str) -> str:
    """A paragraph of a help text: usage and examples as code."""
    if found := re.fullmatch(r"(usage|Example|Then): (descant .*)", text, re.DOTALL):
        label = "" if found[1] == "usage" else f"{found[1]}:\n\n"
        return f"{label}```bash\n{found[2]}\n```\n"
    return re.sub(r"(?<!\S)(--[\w.-]+)", r"`\1`", text) + "\n"


def rows_of(box: str) -> list[str]:
    """A table's rows of the options in one part of a help text; -h, which every command has, is left out."""
    rows: list[list[str]] = []
    for line in box.splitlines():
        indent, words = len(line) - len(line.lstrip()), line.strip()
        if indent == 2:
            rows.append([part.strip() for part in re.split(r" {2,}", words, maxsplit=1)])
        elif rows and words:
            rows[-1].append(words)
    return [row_of(row[0], " ".join(row[1:])) for row in rows if row[0] != "-h, --help"]


def row_of(option: str, text: str) -> str:
    """An option's row: the default, which ends the text, in a column of its own."""
    text, _, default = text.partition("(default: ")
    shown = "needed" if "(required)" in text else code(default.removesuffix(")"))
    name = option.replace("{None}|", "").replace(", --no-", " / --no-")
    shown = "" if shown in ("`None`", "``") else shown
    return f"| {code(name)} | {shown} | {cell(text.replace('(required)', '').strip())} |"


def help_of(name: str, *below: str) -> str:
    """What `descant NAME ... --help` prints, each of its lines whole."""
    columns, os.environ["COLUMNS"] = os.environ.get("COLUMNS"), WIDTH
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            run(name, [*below, "--help"])
    finally:
        os.environ.pop("COLUMNS")
        os.environ |= {} if columns is None else {"COLUMNS": columns}
    return re.sub(r"\x1b\[[0-9;]*m", "", printed.getvalue())


def subcommands(text: str) -> list[str]:
    """The commands below one, as the first line of its help text lists them."""
    found = re.search(r"^usage: .*\{([\w,-]+)\}", text)
    return found[1].split(",") if found and re.search(r"^ subcommands *$", text, re.MULTILINE) else []


def cell(text: str) -> str:
    """Text that may stand in a table."""
    return text.replace("|", "\\|")


def code(text: Any) -> str:
    """Code that may stand in a table."""
    return f"`{text}`".replace("|", "\\|") if "|" in str(text) else f"`{text}`"


def lowered(text: str) -> str:
    """A sentence that goes on after a colon."""
    return text[:1].lower() + text[1:] if text[1:2].islower() else text
