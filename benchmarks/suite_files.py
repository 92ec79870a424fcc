"""Suites of one's own, from a YAML or a Python file."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from descant.errors import DescantError, did_you_mean

from .specs import Entry, Suite

KEYS: dict[str, type | tuple[type, ...]] = {
    "name": str,
    "env": str,
    "entries": list,
    "train_options": dict,
    "test_options": dict,
    "seeds": (int, list),
}
ENTRY_KEYS: dict[str, type | tuple[type, ...]] = {
    "agent": str,
    "total_timesteps": int,
    "config": dict,
    "note": str,
}
WORDS = {
    str: "text",
    list: "a list",
    dict: "NAME: VALUE pairs",
    int: "a whole number",
    (int, list): "a number or a list",
}


def is_file(name: str) -> bool:
    """Whether the name of a suite is that of a file."""
    return name.partition(":")[0].endswith((".yaml", ".yml", ".py"))


def load_suite(name: str) -> Any:
    """The suite of FILE.yaml, of FILE.py with one suite in it, or of FILE.py:NAME.

    DescantError says all that is wrong with it.
    """
    path, _, attribute = name.partition(":")
    if not Path(path).is_file():
        raise DescantError(
            f"There is no file {path}: give a suite's YAML or Python file, or see descant list."
        )
    return _from_python(Path(path), attribute) if path.endswith(".py") else _from_yaml(Path(path))


def _from_yaml(path: Path) -> Suite:
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DescantError(f"{path} can't be read as YAML: {' '.join(str(error).split())}.") from error
    wrong = _complaints("", content, KEYS, ("env", "entries"))
    entries = content["entries"] if not wrong else []
    for i, entry in enumerate(entries, 1):
        wrong += _complaints(f"entry {i}: ", entry, ENTRY_KEYS, ("agent",))
    if not wrong and not entries:
        wrong = ["entries is empty"]
    if wrong:
        raise DescantError(f"{path}: " + "; ".join(wrong) + ".")
    seeds = content.get("seeds", 1)
    return Suite(
        content.get("name", path.stem),
        content["env"],
        tuple(Entry(**entry) for entry in entries),
        content.get("train_options", {}),
        content.get("test_options", {}),
        tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds),
    )


def _complaints(where: str, content: Any, keys: dict[str, Any], needed: tuple[str, ...]) -> list[str]:
    """What is wrong with the keys of a mapping and the types of their values."""
    if not isinstance(content, dict):
        return [f"{where}it must be NAME: VALUE pairs, with {', '.join(keys)}"]
    wrong = [f"{where}{key} is missing" for key in needed if key not in content]
    for key, value in content.items():
        if key not in keys:
            wrong.append(f"{where}unknown key {key!r}.{did_you_mean(str(key), keys)}".rstrip("."))
        elif not isinstance(value, keys[key]) or isinstance(value, bool):
            wrong.append(f"{where}{key} must be {WORDS[keys[key]]}, not {value!r}")
    return wrong


def _from_python(path: Path, attribute: str) -> Any:
    """Runs the file: it is the user's own program."""
    from .studies import Study

    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise DescantError(f"{path} can't be imported.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise DescantError(f"{path} can't be run: {type(error).__name__}: {error}.") from error
    found = {name: value for name, value in vars(module).items() if isinstance(value, Suite | Study)}
    if attribute in found:
        return found[attribute]
    if attribute or len(found) != 1:
        there = ", ".join(found) or "none"
        raise DescantError(f"{path} has these suites: {there}. Give {path}:NAME of one of them.")
    return next(iter(found.values()))
