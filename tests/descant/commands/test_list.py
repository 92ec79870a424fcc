"""`descant list`."""

from __future__ import annotations

import json

import pytest

import descant
from descant.catalogue import AGENTS, ENVIRONMENTS, REWARDS, SUITES
from descant.cli import main
from descant.registry import agents


def test_json_has_everything_that_is_registered(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"environments", "agents", "rewards", "suites"}
    for kind, known in (("environments", ENVIRONMENTS), ("rewards", REWARDS), ("suites", SUITES)):
        assert set(found[kind]) >= set(known)
    assert set(found["agents"]) >= set(AGENTS)
    assert set(found["agents"]) == set(descant.list_agents())
    for entries in found.values():
        for name, text in entries.items():
            assert text, name
            assert "not installed" not in text, name


def test_the_text_has_a_line_for_each_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert [row for row in rows if not row.startswith(" ")] == [
        "environments:", "agents:", "rewards:", "suites:",
    ]  # fmt: skip
    listed = [row.split()[0] for row in rows if row.startswith("  ")]
    assert set(listed) >= {*ENVIRONMENTS, *AGENTS, *REWARDS, *SUITES}


def test_what_a_third_party_registers_is_listed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Mine:
        """Plays its own way.

        And more.
        """

    monkeypatch.setitem(agents._entries, "mine", Mine)
    main(["list", "--json"])
    assert json.loads(capsys.readouterr().out)["agents"]["mine"] == "Plays its own way."
