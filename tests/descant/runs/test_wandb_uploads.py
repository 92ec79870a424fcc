"""Upload of offline sessions: what stands in its way is said in a line, and nothing is done twice."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import descant.runs.wandb_uploads as uploads
from descant.errors import DescantError
from descant.runs.wandb_uploads import upload

SYNC = """
import pathlib, sys
sessions = [pathlib.Path(argument) for argument in sys.argv[2:]]
with open(sessions[0].parents[1] / "log.txt", "a") as log:
    print(sys.argv[1], *(session.name for session in sessions), file=log)
for session in sessions:
    if session.name.endswith("refused"):
        print("wandb: Syncing", "wandb: ERROR the server said no", "wandb: bye", sep="\\n")
    else:
        (session / "run.wandb.synced").touch()
"""


def session(folder: Path, name: str) -> Path:
    path = folder / "wandb" / f"offline-run-{name}"
    path.mkdir(parents=True)
    (path / "run.wandb").touch()
    return path


@pytest.fixture(autouse=True)
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key, no server, and a command in place of W&B's."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    (tmp_path / "sync.py").write_text(SYNC)
    monkeypatch.setattr(uploads, "COMMAND", [sys.executable, str(tmp_path / "sync.py"), "sync"])


@pytest.fixture
def reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "_reach", lambda kept: None)


def test_every_session_is_uploaded_once_oldest_first(tmp_path: Path, reachable: None) -> None:
    first, second = session(tmp_path, "1-b"), session(tmp_path, "2-a")
    assert upload(tmp_path) == [first, second]
    assert upload(tmp_path) == []
    third = session(tmp_path, "3-b")
    assert upload(tmp_path) == [third]
    lines = (tmp_path / "log.txt").read_text().splitlines()
    assert lines == ["sync offline-run-1-b offline-run-2-a", "sync offline-run-3-b"]


def test_what_the_server_refuses_is_kept(tmp_path: Path, reachable: None) -> None:
    """W&B's command ends with 0 all the same."""
    session(tmp_path, "1-a"), session(tmp_path, "2-refused")
    complaint = r"2 offline runs .*, of which 1 could not be uploaded \(ERROR the server said no\)"
    for _ in range(2):
        with pytest.raises(DescantError, match=complaint):
            upload(tmp_path)
        complaint = "1 offline runs .*, of which 1"


def test_nothing_to_upload(tmp_path: Path) -> None:
    with pytest.raises(DescantError, match="has no offline run"):
        upload(tmp_path)


def test_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session(tmp_path, "1-a")
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NETRC", raising=False)
    with pytest.raises(DescantError, match=r"1 offline runs are kept below .* no key: set WANDB_API_KEY"):
        upload(tmp_path)
    assert not (tmp_path / "log.txt").exists()


def test_no_network(tmp_path: Path) -> None:
    session(tmp_path, "1-a")
    with pytest.raises(DescantError, match=r"127\.0\.0\.1:9 can't be reached"):
        upload(tmp_path)
    assert not (tmp_path / "log.txt").exists()
