"""Names: lazy targets, duplicates, guesses, third parties, what can't be imported."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

import descant.registry
from descant.errors import DescantError, did_you_mean
from descant.registry import Registry, build, load, summary


def colours() -> Registry[Any]:
    registry: Registry[Any] = Registry("colour", "test.colours")
    registry.register("red", "fractions:Fraction")
    registry.register("green", 2)
    return registry


def offer(monkeypatch: pytest.MonkeyPatch, **points: str) -> list[str]:
    """Pretend that an installed package offers entry points; the groups that were asked for."""
    asked: list[str] = []

    def entry_points(group: str) -> list[metadata.EntryPoint]:
        asked.append(group)
        return [metadata.EntryPoint(name, value, group) for name, value in points.items()]

    monkeypatch.setattr(descant.registry.metadata, "entry_points", entry_points)
    return asked


def test_a_lazy_target_is_imported_when_asked_for_and_not_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lazily_loaded.py").write_text("class Thing:\n    class Part:\n        value = 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    registry = colours()
    registry.register("thing", "lazily_loaded:Thing.Part")
    assert "thing" in registry
    assert "lazily_loaded" not in sys.modules
    assert registry.get("thing").value == 3
    assert registry.target("thing") == "lazily_loaded:Thing.Part"


def test_a_value_is_given_as_it_is() -> None:
    assert colours().get("green") == 2


def test_a_name_can_be_given_once_only() -> None:
    registry = colours()
    registry.register("green", 2)  # the same again is harmless
    with pytest.raises(DescantError, match="colour 'green' is already registered as 2: choose another name"):
        registry.register("green", 3)
    with pytest.raises(DescantError, match="already registered as 'fractions:Fraction'"):
        registry.register("red", "fractions:Other")
    assert registry.get("green") == 2


def test_an_unknown_name_gets_a_guess_and_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, mauve="a:b")
    message = r"Unknown colour 'grene'\. Did you mean 'green'\? Known: green, mauve, red\."
    with pytest.raises(DescantError, match=message):
        colours().get("grene")
    with pytest.raises(DescantError, match=message):
        colours().target("grene")
    with pytest.raises(DescantError, match=r"Unknown colour 'xyzzy'\. Known: green, mauve, red\."):
        colours().get("xyzzy")
    assert did_you_mean("red", []) == " Known: none."


def test_module_and_attribute_stand_for_themselves() -> None:
    from fractions import Fraction

    assert colours().get("fractions:Fraction") is Fraction
    assert "fractions:Fraction" not in colours()


def test_third_parties_join_by_entry_point_and_do_not_replace_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = offer(monkeypatch, blue="fractions:Fraction.from_float", green="fractions:Fraction")
    registry = colours()
    assert not asked
    assert registry.get("green") == 2
    assert registry.names() == ["blue", "green", "red"] == list(registry)
    assert registry.get("blue")(0.5) == 0.5
    assert registry.get("green") == 2
    assert asked == ["test.colours"]


def test_a_known_name_costs_no_search_of_installed_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = offer(monkeypatch)
    colours().get("red")
    assert not asked


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("no_such_module:Thing", r"'no_such_module:Thing' can't be imported: .*Is its package installed\?"),
        ("fractions.nothing:Thing", "can't be imported"),
        ("fractions:Thing", "can't be found"),
        ("fractions:Fraction.nothing", "can't be found"),
        ("fractions", "names no object: write it as 'package.module:attribute'"),
        (":Fraction", "names no object"),
        ("fractions:", "names no object"),
        (".fractions:Fraction", "names no object"),
    ],
)
def test_what_can_not_be_loaded_is_named(target: str, message: str) -> None:
    with pytest.raises(DescantError, match=message):
        load(target)


def test_a_broken_third_party_is_named_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, broken="no_such_module:Thing")
    registry = colours()
    assert "broken" in registry
    with pytest.raises(DescantError, match="no_such_module"):
        registry.get("broken")
    assert summary(registry, "broken") == "(its package is not installed)"


def test_a_summary_is_read_without_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = '"""A module.\n\nMore."""\nclass Thing:\n    """A thing.\n\n    More."""\nTHAT = 3\n'
    (tmp_path / "only_read.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    registry = colours()
    registry.register("thing", "only_read:Thing")
    registry.register("that", "only_read:THAT")
    registry.register("path", Path)
    assert [summary(registry, name) for name in ("thing", "that")] == ["A thing.", "A module."]
    assert summary(registry, "path") == (Path.__doc__ or "").split("\n")[0]
    assert "only_read" not in sys.modules


def test_options_are_checked_before_the_call() -> None:
    def make(size: int, colour: str = "red") -> tuple[int, str]:
        return size, colour

    assert build("Thing", make, {"size": 3}) == (3, "red")
    with pytest.raises(DescantError, match=r"Thing has no option 'color'\. Did you mean 'colour'\?"):
        build("Thing", make, {"size": 3, "color": "blue"})
    assert build("Thing", lambda **options: options, {"anything": 1}) == {"anything": 1}


def test_everything_in_the_catalogue_can_be_imported() -> None:
    for registry in (descant.registry.agents, descant.registry.rewards, descant.registry.tasks):
        for name in registry:
            assert isinstance(registry.get(name), type), name


def test_import_descant_loads_nothing_heavy() -> None:
    heavy = ("torch", "stable_baselines3", "music21", "verovio", "wandb", "matplotlib", "descant.envs")
    code = f"import sys, descant; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
