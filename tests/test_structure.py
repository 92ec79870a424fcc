"""The rules of the house that no type checker knows: who may import whom, what is packaged, what is banned."""

from __future__ import annotations

import ast
import configparser
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from descant import catalogue
from descant.errors import DescantError
from descant.registry import load
from descant.version import __version__

ROOT = Path(__file__).parents[1]
WINGS = ("envs", "rewards", "agents", "benchmarks")
PACKAGES = ("descant", *WINGS)
CODE = (*PACKAGES, "tests", "examples", ".ci")
HEAVY = {
    *("torch", "music21", "verovio", "wandb", "matplotlib", "stable_baselines3", "sb3_contrib"),
    *("pretty_midi", "mido", "scipy", "PIL", "tensorboard", "jinja2", "rich", "starlette", "uvicorn"),
}
CATALOGUE = Path("descant/catalogue.py")  # the one place where the core names what is in the wings


def parsed(root: Path, folders: tuple[str, ...]) -> Iterator[tuple[Path, ast.Module]]:
    """Every Python file of the folders, by its path from the root."""
    for folder in folders:
        for path in sorted((root / folder).rglob("*.py")):
            yield path.relative_to(root), ast.parse(path.read_text(encoding="utf-8"), str(path))


# Who imports whom.


def imported(path: Path, node: ast.AST) -> list[str]:
    """Full names of the modules that a statement imports, written relatively or not; [] for another statement."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    base = node.module or ""
    if node.level:
        package = path.parent.parts
        kept = package[: len(package) - node.level + 1]
        base = ".".join([*kept, *([node.module] if node.module else [])]) or "(above the package)"
    return [f"{base}.{alias.name}" for alias in node.names]


def is_forbidden(name: str, path: Path, relative: bool) -> bool:
    """Whether a file may not import the module `name`."""
    home = path.parts[0]
    parts = name.split(".")
    if relative:  # `.views` in the folder rewards is `rewards.views`; in the core it is `descant.views`
        return parts[0] != home or (home == "descant" and parts[1:2] != [] and parts[1] in WINGS)
    if parts[0] in WINGS:
        return True
    return home in PACKAGES and parts[0] == "descant" and len(parts) > 1 and parts[1] in WINGS


def wrong_imports(root: Path) -> list[str]:
    """Imports that break the rule of dependency, inside functions too, and lazy names outside the catalogue."""
    wrong = []
    for path, tree in parsed(root, CODE):
        for node in ast.walk(tree):
            relative = isinstance(node, ast.ImportFrom) and node.level > 0
            for name in imported(path, node):
                if is_forbidden(name, path, relative):
                    wrong.append(f"{path}:{node.lineno} imports {name}")  # type: ignore[attr-defined]
            if isinstance(node, ast.Constant) and is_lazy_name(path, node.value):
                wrong.append(f"{path}:{node.lineno} names {node.value!r}")
    return wrong


def is_lazy_name(path: Path, value: object) -> bool:
    """Whether a string in the core or a wing names what is in a wing: an import in disguise."""
    if path.parts[0] not in PACKAGES or path == CATALOGUE or not isinstance(value, str):
        return False
    return bool(re.fullmatch(rf"descant\.({'|'.join(WINGS)})\.[\w.]+(:\w+)?", value))


def test_wings_meet_in_the_registry_only() -> None:
    assert wrong_imports(ROOT) == []


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("agents/a.py", "from descant.rewards.fux import Fux"),
        ("agents/a.py", "from descant import rewards"),
        ("agents/a.py", "import descant.envs.counterpoint"),
        ("agents/a.py", "from descant.agents.dqn import DQN"),
        ("agents/a.py", "from rewards.fux import Fux"),
        ("agents/a.py", "from ..rewards import fux"),
        ("agents/a.py", "def f():\n    from descant.rewards.fux import Fux"),
        ("agents/a.py", "import_module('descant.rewards.fux')"),
        ("benchmarks/suites/a.py", "from ...agents import dqn"),
        ("descant/a.py", "import descant.agents"),
        ("descant/a.py", "from . import agents"),
        ("descant/music/a.py", "from ..agents import dqn"),
        ("descant/a.py", "def f():\n    from descant.agents.dqn import DQN"),
        ("descant/a.py", "KIND = 'descant.agents.dqn:DQN'"),
        ("tests/a.py", "import agents"),
        ("tests/a.py", "from envs.counterpoint import Counterpoint"),
        ("examples/a.py", "import benchmarks.runner"),
    ],
)
def test_a_forbidden_import_is_found(tmp_path: Path, file: str, line: str) -> None:
    write(tmp_path / file, line)
    assert len(wrong_imports(tmp_path)) == 1


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("agents/a.py", "from descant.tasks import Task\nfrom .b import c\nimport descant"),
        ("benchmarks/suites/a.py", "from ..runner import run\nfrom . import b"),
        ("descant/music/a.py", "from ..errors import DescantError\nfrom .pitches import Pitch"),
        ("descant/registry.py", "Registry('agent', 'descant.agents')"),
        ("descant/catalogue.py", "AGENTS = {'dqn': 'descant.agents.dqn:DQN'}"),
        ("tests/a.py", "from descant.agents.dqn import DQN"),
    ],
)
def test_an_allowed_import_is_not(tmp_path: Path, file: str, line: str) -> None:
    write(tmp_path / file, line)
    assert wrong_imports(tmp_path) == []


# What is packaged.


def read_setup(root: Path) -> configparser.ConfigParser:
    """setup.cfg as it stands."""
    config = configparser.ConfigParser()
    config.read(root / "setup.cfg", encoding="utf-8")
    return config


def wrong_packages(root: Path) -> list[str]:
    """Packages that setup.cfg lists and no folder is, the reverse, and names that lead to the wrong folder."""
    options = read_setup(root)["options"]
    folders = {
        path.parent.relative_to(root) for top in PACKAGES for path in (root / top).rglob("__init__.py")
    }
    names = {".".join(f.parts if f.parts[0] == "descant" else ("descant", *f.parts)) for f in folders}
    listed = options["packages"].split()
    counts = {name: listed.count(name) for name in sorted({*listed, *names})}
    wrong = [f"{name}: listed {n} times" for name, n in counts.items() if n != (name in names)]
    found = {"".join(line.split()) for line in options["package_dir"].split("\n") if line}
    wanted = {"descant=descant", *(f"descant.{wing}={wing}" for wing in WINGS)}
    return wrong + ([] if found == wanted else [f"package_dir is {found}"])


def undeclared(root: Path) -> set[str]:
    """Distributions that the package imports, anywhere, but setup.cfg does not require."""
    by_module = packages_distributions()
    config = read_setup(root)
    extras = config["options.extras_require"]
    optional = "".join(extras.get(name, "") for name in ("bench", "corpora", "ray", "slurm", "label"))
    required = config["options"]["install_requires"] + optional
    declared = {plain(re.split(r"[<>=!~\[ ]", line)[0]) for line in required.split("\n") if line}
    modules = {
        name.split(".")[0]
        for path, tree in parsed(root, PACKAGES)
        for node in ast.walk(tree)
        if not (isinstance(node, ast.ImportFrom) and node.level)
        for name in imported(path, node)
    } - {"descant", "__future__", *sys.stdlib_module_names}
    return {
        module for module in modules if not {plain(d) for d in by_module.get(module, [module])} & declared
    }


def plain(distribution: str) -> str:
    """The name of a distribution in the form that compares."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def test_setup_cfg_lists_every_package() -> None:
    assert wrong_packages(ROOT) == []


SETUP = """[options]
packages =
    descant
    descant.agents
package_dir =
    descant = descant
    descant.envs = envs
    descant.rewards = rewards
    descant.agents = agents
    descant.benchmarks = benchmarks
install_requires =
    numpy>=2
[options.extras_require]
dev =
    pytest
"""


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("", "", None),
        ("    descant.agents\n", "", "descant.agents: listed 0 times"),
        ("    descant.agents\n", "    descant.agents\n    descant.gone\n", "descant.gone: listed 1 times"),
        ("descant.envs = envs", "descant.envs = elsewhere", "package_dir is"),
    ],
)
def test_a_package_that_is_not_listed_is_found(
    tmp_path: Path, old: str, new: str, complaint: str | None
) -> None:
    write(tmp_path / "setup.cfg", SETUP.replace(old, new))
    write(tmp_path / "descant/__init__.py")
    write(tmp_path / "agents/__init__.py")
    found = wrong_packages(tmp_path)
    assert [line[: len(complaint)] for line in found] == [complaint] if complaint else found == []


def test_every_library_used_is_declared(tmp_path: Path) -> None:
    assert undeclared(ROOT) == set()
    write(tmp_path / "setup.cfg", SETUP)
    write(tmp_path / "agents/a.py", "import numpy, json\ndef f():\n    import torch.nn")
    assert undeclared(tmp_path) == {"torch"}


# What is banned.

BANNED_MODULES = {"pickle", "cloudpickle", "dill", "shelve", "marshal", "joblib"}
BANNED_NAMES = {"eval", "exec", "__import__"}
BANNED_ATTRIBUTES = {("torch", "load"), ("torch", "save")}


def unsafe_code(root: Path) -> list[str]:
    """Places that could run code out of a file: pickle in any guise, torch.load, eval, exec."""
    return [
        f"{path}:{node.lineno}"  # type: ignore[attr-defined]
        for path, tree in parsed(root, CODE)
        for node in ast.walk(tree)
        if is_unsafe(node, path)
    ]


def is_unsafe(node: ast.AST, path: Path) -> bool:
    match node:
        case ast.Import() | ast.ImportFrom():
            return any(
                name.split(".")[0] in BANNED_MODULES or tuple(name.split(".")) in BANNED_ATTRIBUTES
                for name in imported(path, node)
            )
        case ast.Call(func=ast.Name(id=name)):
            return name in BANNED_NAMES
        case ast.Attribute(value=ast.Name(id=module), attr=attribute):
            return (module, attribute) in BANNED_ATTRIBUTES
        case ast.keyword(arg="allow_pickle", value=ast.Constant(value=value)):
            return bool(value)
    return False


def test_nothing_can_run_code_out_of_a_file() -> None:
    assert unsafe_code(ROOT) == []


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "def f():\n    from cloudpickle import dumps",
        "torch.load('x')",
        "read = torch.load",
        "from torch import load",
        "numpy.load('x', allow_pickle=True)",
        "eval('1')",
        "exec('1')",
    ],
)
def test_unsafe_code_is_found(tmp_path: Path, line: str) -> None:
    write(tmp_path / "descant/a.py", f"import numpy\nmodel.eval()\n{line}")
    assert len(unsafe_code(tmp_path)) == 1


# What is promised.

TARGETS = [
    target
    for names in (
        catalogue.AGENTS,
        catalogue.REWARDS,
        catalogue.ENVIRONMENTS,
        catalogue.COMMANDS,
        catalogue.SUITES,
    )
    for target in names.values()
]


@pytest.mark.parametrize("target", TARGETS)
def test_every_name_of_the_catalogue_leads_somewhere(target: str) -> None:
    load(target)


@pytest.mark.parametrize("target", ["descant.agents.gone:Gone", "descant.errors:Gone", "descant.errors"])
def test_a_name_that_leads_nowhere_is_an_error(target: str) -> None:
    with pytest.raises(DescantError, match=r"can't be imported|can't be found|names no object"):
        load(target)


def loaded_by(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after the statement."""
    code = f"import sys; {statement}; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_descant_loads_nothing_heavy() -> None:
    assert loaded_by("import descant") & HEAVY == set()
    assert loaded_by("import descant, scipy") & HEAVY == {"scipy"}


def undocumented(root: Path) -> list[str]:
    """Modules, and public functions and classes in them, that say nothing of themselves."""
    silent = []
    for path, tree in parsed(root, PACKAGES):
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        public = [node for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")]
        silent += [f"{path}:{node.lineno} {node.name}" for node in public if not ast.get_docstring(node)]
        silent += [f"{path}"] if not ast.get_docstring(tree) else []
    return silent


def test_what_is_public_is_documented(tmp_path: Path) -> None:
    assert undocumented(ROOT) == []
    write(
        tmp_path / "agents/a.py", '"""A module."""\nclass Silent:\n    pass\ndef _own(): pass\ndef f(): pass'
    )
    write(tmp_path / "descant/b.py", "import json")
    assert undocumented(tmp_path) == ["descant/b.py", "agents/a.py:2 Silent", "agents/a.py:5 f"]


def latest_version(changelog: str) -> str | None:
    """The newest released version of a changelog, or of what is coming."""
    found = re.search(r"^## \[(\d+\.\d+\.\d+)\]", changelog, re.MULTILINE)
    return found[1] if found else None


def test_changelog_tells_of_this_version() -> None:
    assert latest_version((ROOT / "CHANGELOG.md").read_text(encoding="utf-8")) == __version__
    assert latest_version("# Changelog\n## [Unreleased]\n## [9.1.0] - 2026-01-01\n## [9.0.0]") == "9.1.0"
    assert latest_version("# Changelog") is None


REMINDER = re.compile("TO" + "DO|FIX" + "ME|XX" + "X")


def reminders(root: Path) -> list[str]:
    """Files that put off till later what should be an issue."""
    texts = (".py", ".md", ".cfg", ".toml", ".txt", ".html", ".yaml", "Makefile", "run")
    top = [path for path in root.iterdir() if path.is_file()]
    files = [*top, *(p for f in (*CODE, "docs") for p in (root / f).rglob("*") if p.is_file())]
    return [
        str(path.relative_to(root))
        for path in sorted(files)
        if path.name.endswith(texts) and REMINDER.search(path.read_text(encoding="utf-8"))
    ]


def test_nothing_is_put_off(tmp_path: Path) -> None:
    assert reminders(ROOT) == []
    write(tmp_path / "docs/a.md", "TO" + "DO: write this")
    write(tmp_path / "setup.cfg", "# FIX" + "ME")
    assert reminders(tmp_path) == ["docs/a.md", "setup.cfg"]


def write(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
