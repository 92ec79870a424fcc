"""Subwords: trained on texts, the same ids as words for specials, files."""

from __future__ import annotations

from pathlib import Path

import pytest

from descant.errors import DescantError
from descant.text.grammar import generate
from descant.text.subwords import Subwords
from descant.text.vocabularies import BOS, EOS, PAD, UNK

TEXTS = generate("train", 300).target


@pytest.fixture(scope="module")
def subwords() -> Subwords:
    return Subwords.train(TEXTS, 120)


def test_texts_come_back(subwords: Subwords) -> None:
    assert len(subwords) == 120
    for text in TEXTS[:50]:
        ids = subwords.encode(text)
        assert min(ids) > UNK
        assert subwords.decode([BOS, *ids, EOS, PAD, PAD]) == text.lower()
        assert "".join(subwords.tokens(ids)).replace("▁", " ").strip() == text.lower()


def test_signs_that_training_had_not_are_unknown(subwords: Subwords) -> None:
    assert UNK in subwords.encode("der hund €")


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_the_same_text_makes_the_same_subwords(kind: str) -> None:
    one, two = (Subwords.train(TEXTS[:100], 80, lowercase=False, kind=kind) for _ in range(2))
    assert one.model == two.model
    assert one.decode(one.encode("der Hund")) == "der Hund"


def test_saved_and_loaded_they_are_the_same(subwords: Subwords, tmp_path: Path) -> None:
    cased = Subwords.train(TEXTS[:100], 80, lowercase=False)
    for kind in (subwords, cased):
        kind.save(tmp_path / "subwords.model")
        loaded = Subwords.load(tmp_path / "subwords.model")
        assert loaded.encode("Der Hund lacht.") == kind.encode("Der Hund lacht.")
        assert loaded.lowercase == kind.lowercase


def test_bad_input_is_refused(subwords: Subwords, tmp_path: Path) -> None:
    with pytest.raises(DescantError, match="Cannot train 5000"):
        Subwords.train(TEXTS[:10], 5000)
    with pytest.raises(DescantError, match="Cannot train"):
        Subwords.train([], 50)
    with pytest.raises(DescantError, match="Cannot read"):
        Subwords.load(tmp_path / "none")
    (tmp_path / "text").write_text("text")
    with pytest.raises(DescantError, match="no subwords"):
        Subwords.load(tmp_path / "text")
    (tmp_path / "broken").write_bytes(b"\1" + subwords.model[:100])
    with pytest.raises(DescantError, match="no subwords"):
        Subwords.load(tmp_path / "broken")
    for token in (-1, 120):
        with pytest.raises(DescantError, match="outside"):
            subwords.decode([token])
