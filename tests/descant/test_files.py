"""Atomic writing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from descant.errors import DescantError
from descant.files import write_atomically, write_together


def test_writes_and_makes_the_folder(tmp_path: Path) -> None:
    path = tmp_path / "new" / "deep" / "file.bin"
    write_atomically(path, b"one")
    assert path.read_bytes() == b"one"
    write_atomically(str(path), b"two")
    assert path.read_bytes() == b"two"
    assert os.listdir(path.parent) == ["file.bin"]


def test_honours_the_umask(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    write_atomically(tmp_path / "ours", b"")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    write_atomically(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"new"


def test_an_existing_file_survives_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def disk_full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(DescantError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_path_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    for bad in (tmp_path, tmp_path / "file" / "below", tmp_path / ("x" * 300), tmp_path / "null\0byte"):
        with pytest.raises(DescantError) as caught:
            write_atomically(bad, b"new")
        assert repr(str(bad)) in str(caught.value)
        assert "Give another path" in str(caught.value)
    assert (tmp_path / "file").read_bytes() == b"old"


def test_a_device_is_not_replaced() -> None:
    with pytest.raises(DescantError, match="not a file"):
        write_atomically("/dev/null", b"")
    assert not Path("/dev/null").is_file()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_several_files_appear_together(tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder"
    assert write_together(out, {"a": b"1", "b": b"2"}) == [out / "a", out / "b"]
    (out / "mine").write_bytes(b"mine")
    write_together(str(out), {"b": b"3", "c": b"4"})
    assert contents(out) == {"a": b"1", "b": b"3", "c": b"4", "mine": b"mine"}
    assert os.listdir(out.parent) == ["folder"]
    (tmp_path / "plain").mkdir()
    assert out.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_nothing_changes_where_one_of_several_can_not_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "a").write_bytes(b"old")
    (tmp_path / "there" / "b").mkdir()
    with pytest.raises(DescantError, match="b is a folder there"):
        write_together(tmp_path / "there", {"a": b"new", "b": b"new"})
    assert (tmp_path / "there" / "a").read_bytes() == b"old"
    sync, calls = os.fsync, []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) % 2 == 0:
            raise OSError(28, "No space left on device")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    for folder in (tmp_path / "there", tmp_path / "new"):
        with pytest.raises(DescantError, match="No space left on device"):
            write_together(folder, {"a": b"new", "c": b"new"})
    assert (tmp_path / "there" / "a").read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path / "there")) == ["a", "b"]
    assert os.listdir(tmp_path) == ["there"]


@pytest.mark.parametrize("folder", ["file", "file/below", "a\0b"])
def test_a_folder_that_can_not_be_is_named(folder: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(DescantError, match="Cannot write to"):
        write_together(tmp_path / folder, {"a": b"new"})
    assert contents(tmp_path) == {"file": b"mine"}


def test_files_are_moved_within_the_folder_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be a file system of its own, between which nothing can be moved."""
    replace, sources = os.replace, []

    def spied(source: Path, target: Path) -> None:
        sources.append(source)
        replace(source, target)

    monkeypatch.setattr(os, "replace", spied)
    write_together(tmp_path, {"a": b"1", "b": b"2"})
    assert [source.parent.parent for source in sources] == [tmp_path] * 2
