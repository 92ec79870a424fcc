"""Digests: the same for the same content, another for another."""

from __future__ import annotations

import hashlib
from pathlib import Path

from descant.runs import content_hash, sha256


def test_a_file_has_the_digest_of_its_bytes(tmp_path: Path) -> None:
    data = bytes(range(256)) * 5000
    (tmp_path / "file").write_bytes(data)
    assert sha256(tmp_path / "file") == hashlib.sha256(data).hexdigest()


def test_content_has_one_hash_whatever_the_order_of_its_keys() -> None:
    assert content_hash({"a": 1, "b": {"c": 2, "d": 3}}) == content_hash({"b": {"d": 3, "c": 2}, "a": 1})
    different = [{}, [], None, "", 0, 1, "1", 1.5, {"a": 1}, {"a": "1"}, {"a": [1, 2]}, {"a": [2, 1]}]
    assert len({content_hash(content) for content in different}) == len(different)
    assert content_hash({"a": 1}) == "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"
