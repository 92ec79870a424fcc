"""Progress: a bar on a terminal, lines in a log, silence where asked; and a polite stop."""

from __future__ import annotations

import io
import signal
import sys
import threading
from types import SimpleNamespace

import pytest

import descant.runs.progress as module
from descant.runs import interruptible
from descant.runs.progress import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_disabled_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    with progress(10, "train", enabled=False) as bar:
        bar.update(10, loss=1.0)
    assert capfd.readouterr() == ("", "")


def test_a_log_gets_a_line_now_and_then_and_one_at_the_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    with progress(10_000, "train [a]", start=1000) as bar:
        for step in range(1000, 7001, 100):
            bar.update(step, loss=step / 3, skipped=step * 10)
            now[0] += 0.5
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "train [a]: 3,000/10,000 (30 %), 200 steps/s, 0:00:35 left, loss 1e+03, skipped 30,000",
        "train [a]: 5,000/10,000 (50 %), 200 steps/s, 0:00:25 left, loss 1.67e+03, skipped 50,000",
        "train [a]: 7,000/10,000 (70 %), 200 steps/s, 0:00:15 left, loss 2.33e+03, skipped 70,000",
    ]


def test_a_log_has_its_last_line_though_the_run_failed(capsys: pytest.CaptureFixture[str]) -> None:
    bar = progress(10, "train")
    bar.__enter__().update(4)
    bar.__exit__(KeyError, KeyError(), None)
    assert capsys.readouterr().err.startswith("train: 4/10 (40 %)")


def test_nothing_to_do_divides_by_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(0, "train"):
        pass
    assert capsys.readouterr().err == "train: 0, 0 steps/s\n"


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    threads = threading.active_count()
    with progress(200, "train [red]", start=100) as bar:
        bar.update(150, loss=0.125)
        assert "75%" in terminal.getvalue()
        assert threading.active_count() == threads
        print("a result")
        bar.update(200, loss=0.25)
    text = terminal.getvalue()
    assert "train [red]" in text
    assert "100%" in text  # the last state is drawn, however soon it came
    assert "loss 0.25" in text
    assert "steps/s" in text
    assert capsys.readouterr().out == "a result\n"  # a program may read stdout: the bar leaves it alone


def test_a_dumb_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "dumb")
    with progress(2, "train") as bar:
        bar.update(2)
    assert "\x1b" not in terminal.getvalue()
    assert terminal.getvalue().startswith("train: 2/2 (100 %)")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_the_second_ctrl_c_insists(
    number: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with interruptible() as interrupt:
        assert not interrupt.requested
        signal.raise_signal(number)
        assert interrupt.requested
        signal.raise_signal(signal.SIGTERM)  # a supervisor that repeats itself changes nothing
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert capfd.readouterr().err.count("Ctrl-C again") == 1


def test_the_handlers_are_restored_after_an_error() -> None:
    before = signal.getsignal(signal.SIGINT)
    body = interruptible()
    body.__enter__()
    assert signal.getsignal(signal.SIGINT) != before
    body.__exit__(KeyError, KeyError(), None)
    assert signal.getsignal(signal.SIGINT) == before


def test_an_ignored_signal_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interruptible() as interrupt:
            signal.raise_signal(signal.SIGINT)
            assert not interrupt.requested
    finally:
        signal.signal(signal.SIGINT, before)


def test_in_another_thread_the_flag_stays_down() -> None:
    seen: list[bool] = []

    def work() -> None:
        with interruptible() as interrupt:
            seen.append(interrupt.requested)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]
