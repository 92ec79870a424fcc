"""The server as a process: many clients at once, kill -9, Ctrl-C, one server a store, warnings."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import sys
import threading
from pathlib import Path

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from descant.cli import main
from descant.errors import DescantError
from descant.preferences.serving import check_host, hosts_of, listening, lock, warn
from descant.preferences.store import Store

from .records import filled
from .serving import Annotator, Server, serving

CLIENTS = 8


@pytest.fixture
def path(tmp_path: Path) -> Path:
    filled(tmp_path / "taste.db", pairs=60).close()
    return tmp_path / "taste.db"


def pairs_of(path: Path) -> list[str]:
    with Store(path) as store:
        return [pair.uuid for pair in store.pairs()]


def judge_all(server: Server, pairs: list[str], stop_after: int | None = None) -> list[Annotator]:
    """Eight annotators judge every pair at once; `stop_after` so many judgements of all the server is killed."""
    cookie = server.enter()
    annotators = [Annotator(server, cookie, f"annotator {n}") for n in range(CLIENTS)]

    def work(annotator: Annotator) -> None:
        try:
            for pair in pairs:
                annotator.judge(pair)
                if stop_after and sum(len(a.kept) for a in annotators) >= stop_after:
                    server.process.kill()
        except (OSError, http.client.HTTPException):
            assert stop_after

    threads = [threading.Thread(target=work, args=(annotator,)) for annotator in annotators]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return annotators


def rows_of(path: Path) -> dict[str, list[str]]:
    with Store(path) as store:
        store.check()
        found: dict[str, list[str]] = {}
        for judgement in store.judgements():
            found.setdefault(judgement.annotator, []).append(judgement.uuid)
    return found


def test_eight_at_once_lose_and_double_nothing(path: Path) -> None:
    with serving(path) as server:
        annotators = judge_all(server, pairs_of(path))
        assert all(len(annotator.kept) == 60 for annotator in annotators)
    assert rows_of(path) == {annotator.name: annotator.kept for annotator in annotators}


def test_what_was_acknowledged_survives_a_kill(path: Path) -> None:
    with serving(path) as server:
        annotators = judge_all(server, pairs_of(path), stop_after=100)
    rows = rows_of(path)
    assert sum(len(annotator.kept) for annotator in annotators) >= 100
    for annotator in annotators:
        own = rows.get(annotator.name, [])
        assert own[: len(annotator.kept)] == annotator.kept
        assert len(own) - len(annotator.kept) <= 1  # kept, and the answer was on its way
    with serving(path) as server:  # the lock of the killed one is free
        assert server.enter()


def test_ctrl_c_ends_it(path: Path) -> None:
    with serving(path) as server:
        assert server.enter()
        server.process.send_signal(signal.SIGINT)
        _, said = server.process.communicate(timeout=20)
        assert (server.process.returncode, said) == (0, "")


def test_a_second_server_of_a_store_is_refused(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.with_name("taste.db.lock").write_text("1234567890")  # of one that was killed
    with lock(path):
        assert main(["prefs", "label", str(path), "--port", "0"]) == 2
    said = capsys.readouterr().err
    assert f"Another server (process {os.getpid()}) has {path}" in said


def test_others_are_let_in_only_when_asked_and_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    check_host("127.0.0.1", expose=False)
    with pytest.raises(DescantError, match="pass --expose-to-network"):
        check_host("192.168.1.5", expose=False)
    check_host("192.168.1.5", expose=True)
    for every in ("0.0.0.0", "::", ""):
        with pytest.raises(DescantError, match="every address"):
            check_host(every, expose=True)
    warn("192.168.1.5", 8000)
    said = capsys.readouterr().err
    assert "WARNING: other machines can reach this server at 192.168.1.5:8000." in said
    assert said.startswith("!!!!")


def test_an_exposed_server_warns(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import uvicorn

    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: None)
    monkeypatch.setattr("descant.preferences.serving.LOCAL", ())
    assert main(["prefs", "label", str(path), "--port", "0"]) == 2
    assert "WARNING" not in capsys.readouterr().err
    assert main(["prefs", "label", str(path), "--port", "0", "--expose-to-network"]) == 0
    assert "WARNING" in capsys.readouterr().err


def test_it_listens_to_this_machine_alone_and_answers_to_its_names() -> None:
    with listening("127.0.0.1", 0) as bound:
        assert bound.getsockname()[0] == "127.0.0.1"
    assert hosts_of("127.0.0.1", 80) == {"127.0.0.1:80", "localhost:80", "[::1]:80"}
    assert hosts_of("Box.lan", 80) == {"box.lan:80"}


def test_a_port_that_is_taken_is_said(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert main(["prefs", "label", str(path), "--port", str(taken.getsockname()[1])]) == 2
    assert "Pass another --port" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--min-seconds", "-1"], "0 to 3600"),
        (["--port", "70000"], "0 to 65535"),
        (["--host", "0.0.0.0"], "every address"),
    ],
)
def test_options_that_can_not_be_are_refused(
    path: Path, options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prefs", "label", str(path), *options]) == 2
    assert said in capsys.readouterr().err


def test_without_starlette_one_command_is_named(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert main(["prefs", "label", str(path)]) == 2
    assert "pip install 'descant[label]'" in capsys.readouterr().err


def test_a_store_without_pairs_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Store.create(tmp_path / "empty.db").close()
    assert main(["prefs", "label", str(tmp_path / "empty.db")]) == 2
    assert "has no pairs to judge" in capsys.readouterr().err
