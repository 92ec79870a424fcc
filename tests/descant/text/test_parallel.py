"""Parallel files: what is read, what is refused and where, what is counted."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from descant.errors import DescantError
from descant.text.parallel import folder_files, read_pairs

GOOD = (b"ein hund\nzwei\n", b"a dog\ntwo\n")


def written(folder: Path, source: bytes, target: bytes) -> tuple[Path, Path]:
    (folder / "train.de").write_bytes(source)
    (folder / "train.en").write_bytes(target)
    return folder / "train.de", folder / "train.en"


@pytest.mark.parametrize(
    ("source", "target"),
    [
        GOOD,
        (b"\xef\xbb\xbfein hund\r\n  zwei\t\r\n", b"a dog\ntwo"),
    ],
)
def test_pairs_are_lines(tmp_path: Path, source: bytes, target: bytes) -> None:
    pairs = read_pairs(*written(tmp_path, source, target))
    assert pairs.source == ("ein hund", "zwei")
    assert pairs.target == ("a dog", "two")
    assert pairs.place(1, side=1) == f"{tmp_path}/train.en:2"


def test_only_line_feeds_end_lines(tmp_path: Path) -> None:
    pairs = read_pairs(*written(tmp_path, "a\u2028b\x0bc\n".encode(), b"one\n"))
    assert len(pairs) == 1


def test_the_manifest_says_what_was_read(tmp_path: Path) -> None:
    files = written(tmp_path, b"ein hund\n\nzwei\n", b"a dog\nx\ntwo\n")
    manifest = read_pairs(*files, skip=True, licence="CC0").manifest
    digest = hashlib.sha256(files[1].read_bytes()).hexdigest()
    assert manifest["target"] == {"path": str(files[1]), "sha256": digest, "lines": 3}
    assert (manifest["pairs"], manifest["skipped"], manifest["licence"]) == (2, {"empty": 1}, "CC0")


@pytest.mark.parametrize(
    ("source", "target", "place", "kind"),
    [
        (b"a\n\nc\n", b"a\nb\nc\n", "train.de:2: the line is empty", "empty"),
        (b"a\nb\nc\n", b"a\n \t\nc\n", "train.en:2: the line is empty", "empty"),
        (b"a\nb\xff\nc\n", b"a\nb\nc\n", "train.de:2: the line is no UTF-8", "invalid UTF-8"),
        (
            b"a\n" + b"w " * 5000 + b"\nc\n",
            b"a\nb\nc\n",
            "train.de:2: the sentence has 5000 words",
            "too long",
        ),
        (b"a\nb\nc\n", b"a\n" + b"w " * 101 + b"\nc\n", "train.en:2: the sentence has 101 words", "too long"),
    ],
)
def test_a_bad_line_is_named_or_counted(
    tmp_path: Path, source: bytes, target: bytes, place: str, kind: str
) -> None:
    files = written(tmp_path, source, target)
    with pytest.raises(DescantError, match=place):
        read_pairs(*files)
    pairs = read_pairs(*files, skip=True)
    assert pairs.lines == (1, 3)
    assert pairs.manifest["skipped"] == {kind: 1}


def test_a_sentence_may_have_as_many_words_as_it_may(tmp_path: Path) -> None:
    files = written(tmp_path, b"a b c\n", b"a\n")
    assert len(read_pairs(*files, max_words=3)) == 1
    with pytest.raises(DescantError, match="more than max_words"):
        read_pairs(*files, max_words=2)


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize(
    ("source", "target", "place"),
    [
        (b"a\nb\nc\n", b"a\nb\n", "train.de:3 has no partner"),
        (b"a\n", b"a\nb\n\n", "train.en:2 has no partner"),
        (b"a\nb\n", b"", "train.de:1 has no partner"),
        (b"", b"", "no pair"),
        (b"\n\n", b"a\nb\n", "no pair|is empty"),
    ],
)
def test_files_that_are_no_pairs_are_refused(
    tmp_path: Path, source: bytes, target: bytes, place: str, skip: bool
) -> None:
    with pytest.raises(DescantError, match=place):
        read_pairs(*written(tmp_path, source, target), skip=skip)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DescantError, match=r"gone\.de: No such file"):
        read_pairs(tmp_path / "gone.de", tmp_path / "gone.en")


def test_the_files_of_a_folder(tmp_path: Path) -> None:
    files = written(tmp_path, *GOOD)
    assert folder_files(tmp_path, "train") == files
    assert folder_files(tmp_path, "train", ["en", "de"]) == files[::-1]
    (tmp_path / "train.fr").write_bytes(b"un chien\n")
    assert folder_files(tmp_path, "train", ["fr", "de"]) == (tmp_path / "train.fr", tmp_path / "train.de")
    with pytest.raises(DescantError, match="say which two"):
        folder_files(tmp_path, "train")
    with pytest.raises(DescantError, match=r"no train\.es"):
        folder_files(tmp_path, "train", ["es", "de"])
    with pytest.raises(DescantError, match="no language"):
        folder_files(tmp_path, "val")
    with pytest.raises(DescantError, match="Unknown split"):
        folder_files(tmp_path, "dev")
    with pytest.raises(DescantError, match="is no folder"):
        folder_files(tmp_path / "gone", "train")
    with pytest.raises(DescantError, match="say which two"):
        folder_files(tmp_path, "train", ["de", "de"])
