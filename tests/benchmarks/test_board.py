"""Progress of several runs: lines where nobody watches, bars where somebody does."""

from __future__ import annotations

import sys

import pytest

import descant.benchmarks.board as board
from descant.benchmarks.board import Board


def test_without_a_terminal_there_is_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(board.time, "monotonic", lambda: now[0])
    with Board([("a", 200), ("b", 50)]) as shown:
        shown.update(0, 20)
        for step in range(50):
            shown.update(1, step)
        now[0] += board.LINE_SECONDS
        shown.update(0, 100)
        shown.update(1, 500)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "a 10%, b 0%",
        "a 50%, b 98%",
        "a 50%, b 100%",
    ]


def test_nothing_to_train_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Board([]):
        pass
    assert capsys.readouterr().err == ""


def test_on_a_terminal_there_are_bars(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("FORCE_COLOR", "1")
    with Board([("reinforce seed 0", 200)]) as shown:
        shown.update(0, 150)
    text = capsys.readouterr().err
    assert "reinforce seed 0" in text
    assert "75%" in text
