"""For tests of commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from descant.cli import main

from .refusing import Refused, snapshot


@pytest.fixture
def refused(here: Path, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Run a command that must be refused; its one line."""

    def run(*arguments: str) -> str:
        before = snapshot(here)
        capsys.readouterr()
        assert main(list(arguments)) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.count("\n") == 1, captured.err
        assert captured.err.startswith(f"descant {arguments[0]}: ")
        assert snapshot(here) == before
        return captured.err

    return run
