"""Names for things that plug in: agents, rewards, tasks, commands, suites.

An entry is the thing itself or a lazy string `"package.module:attribute"`, imported when first asked for. The
wings meet here: they are looked up by name, so that none of them has to import another.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from descant.errors import DescantError, did_you_mean

T = TypeVar("T")


def load(target: str) -> Any:
    """Import `"module:attribute"`. Raises DescantError where either part is missing."""
    module_name, colon, attribute = target.partition(":")
    if not (module_name and colon and attribute) or module_name.startswith("."):
        raise DescantError(f"{target!r} names no object: write it as 'package.module:attribute'.")
    try:
        found = importlib.import_module(module_name)
        for part in attribute.split("."):
            found = getattr(found, part)
    except ImportError as error:
        raise DescantError(f"{target!r} can't be imported: {error}. Is its package installed?") from error
    except AttributeError as error:
        raise DescantError(f"{target!r} can't be found: {error}.") from error
    return found


def build(what: str, target: Callable[..., T], options: Mapping[str, Any]) -> T:
    """`target(**options)`; DescantError for an option that it does not take."""
    known = inspect.signature(target).parameters
    for option, value in options.items():
        if option in known and known[option].annotation in (int, "int") and not isinstance(value, int):
            raise DescantError(f"{what}: {option} must be a whole number, not {value!r}.")
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
        for option in options:
            if option not in known:
                raise DescantError(f"{what} has no option {option!r}.{did_you_mean(option, known)}")
    return target(**options)


class Registry(Generic[T]):
    """Names of one kind of thing, each a value or a lazy `"module:attribute"`."""

    def __init__(self, kind: str, entry_points: str | None = None) -> None:
        self.kind = kind
        self.group = entry_points
        self._entries: dict[str, T | str] = {}
        self._scanned = entry_points is None

    def register(self, name: str, target: T | str) -> None:
        """Add `name`. Registering the same target twice is harmless, another under the same name an error."""
        if name in self._entries and self._entries[name] != target:
            raise DescantError(
                f"{self.kind} {name!r} is already registered as {self._entries[name]!r}: choose another name."
            )
        self._entries[name] = target

    def get(self, name: str) -> T:
        """The thing called `name`, imported if lazy; `"module:attribute"` is taken as it stands."""
        if name not in self._entries:
            self._scan()
        if name in self._entries:
            entry = self._entries[name]
            return cast(T, load(entry)) if isinstance(entry, str) else entry
        if ":" in name:
            return cast(T, load(name))
        raise DescantError(f"Unknown {self.kind} {name!r}.{did_you_mean(name, self._entries)}")

    def target(self, name: str) -> T | str:
        """What `name` is registered as, not imported. DescantError where it is unknown."""
        if name not in self:
            raise DescantError(f"Unknown {self.kind} {name!r}.{did_you_mean(name, self._entries)}")
        return self._entries[name]

    def names(self) -> list[str]:
        """All names, sorted; third parties' included."""
        self._scan()
        return sorted(self._entries)

    def __contains__(self, name: object) -> bool:
        self._scan()
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def _scan(self) -> None:
        """Take in what installed packages offer; our own names win over theirs."""
        if self._scanned or self.group is None:
            return
        self._scanned = True
        for point in metadata.entry_points(group=self.group):
            self._entries.setdefault(point.name, point.value)


def summary(registry: Registry[Any], name: str) -> str:
    """The first sentence of what an entry says of itself; a lazy entry's source is read, not imported."""
    target = registry.target(name)
    if not isinstance(target, str):
        return _first_line(target.__doc__)
    module_name, _, attribute = target.partition(":")
    try:
        spec = importlib.util.find_spec(module_name)
    except ImportError:
        return "(its package is not installed)"
    if spec is None or spec.origin is None:
        return "(its package is not installed)"
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == attribute:
            return _first_line(ast.get_docstring(node))
    return _first_line(ast.get_docstring(tree))


def _first_line(text: str | None) -> str:
    return (text or "").strip().split("\n")[0]


agents: Registry[Any] = Registry("agent", "descant.agents")
rewards: Registry[Any] = Registry("reward", "descant.rewards")
tasks: Registry[Any] = Registry("environment")
commands: Registry[Any] = Registry("command")
suites: Registry[Any] = Registry("suite")
