"""Encoded pairs: shapes, references, what is exact, bad input with file and line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from descant.errors import DescantError
from descant.text import grammar, pairs
from descant.text.pairs import load_codecs, load_pairs, make_pairs, save_codecs
from descant.text.parallel import read_pairs
from descant.text.vocabularies import EOS, PAD, UNK, Vocabulary

SOURCE, TARGET = "ein hund schläft\nzwei hunde\nein hund lacht\n", "a dog sleeps\ntwo dogs\na dog laughs\n"
MULTI30K = Path(os.environ.get("DESCANT_DATA", Path(__file__).parents[4] / "shared/data")) / "multi30k"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for split in ("train", "val", "test"):
        (tmp_path / f"{split}.de").write_text(SOURCE, encoding="utf-8")
        (tmp_path / f"{split}.en").write_text(TARGET, encoding="utf-8")
    return tmp_path


def test_sources_end_with_eos_then_pad(folder: Path) -> None:
    found = load_pairs(str(folder), max_words=5)
    assert found.sources.tolist() == [
        [*found.codecs[0].encode("ein hund schläft"), EOS, PAD, PAD],
        [*found.codecs[0].encode("zwei hunde"), EOS, PAD, PAD, PAD],
        [*found.codecs[0].encode("ein hund lacht"), EOS, PAD, PAD],
    ]
    assert found.lengths.tolist() == [3, 2, 3]
    assert found.references.lengths.tolist() == [[3], [2], [3]]
    assert found.answers[1] == ("two dogs",)


def test_vocabularies_come_from_training_text_alone(folder: Path) -> None:
    (folder / "test.de").write_text("ein vogel singt\n", encoding="utf-8")
    (folder / "test.en").write_text("a bird sings\n", encoding="utf-8")
    found = load_pairs(str(folder), "test")
    assert found.sources[0].tolist()[1:4] == [UNK, UNK, EOS]
    assert found.codecs[0] == load_pairs(str(folder)).codecs[0]
    # What the vocabulary lacks matches nothing, not even unk.
    assert (found.references.tokens[0] == UNK).sum() == 0
    assert found.references.lengths[0, 0] == 3


def test_a_changed_file_is_read_again(folder: Path) -> None:
    before = len(load_pairs(str(folder)).codecs[0])
    (folder / "train.de").write_text(SOURCE.replace("lacht", "lacht laut"), encoding="utf-8")
    os.utime(folder / "train.de", ns=(1, 1))
    assert len(load_pairs(str(folder)).codecs[0]) == before + 1


def test_files_and_folders_give_the_same(folder: Path) -> None:
    data = {"source": str(folder / "train.en"), "target": str(folder / "train.de")}
    one, two = load_pairs(data), load_pairs(str(folder), languages=["en", "de"])
    np.testing.assert_array_equal(one.sources, two.sources)
    assert one.text.source[0] == "a dog sleeps"


def test_codecs_are_saved_and_loaded(folder: Path, tmp_path: Path) -> None:
    text = grammar.generate("train", 80)
    for language, side in (("de", text.source), ("en", text.target)):
        (folder / f"train.{language}").write_text("\n".join(side), encoding="utf-8")
    for options in ({}, {"subwords": 100}):
        kept = tmp_path / f"codecs{len(options)}"
        made = load_pairs(str(folder), **options)  # type: ignore[arg-type]
        save_codecs(kept, made.codecs)
        loaded = load_pairs(str(folder), vocabularies=str(kept))
        np.testing.assert_array_equal(loaded.sources, made.sources)
        assert type(loaded.codecs[0]) is type(made.codecs[0])
    with pytest.raises(DescantError, match=r"no source\.json"):
        load_codecs(folder)


def test_exact_is_one_of_all_correct_translations(monkeypatch: pytest.MonkeyPatch) -> None:
    for listed in (pairs.LISTED, 0):  # listed, or each answer read
        monkeypatch.setattr(pairs, "LISTED", listed)
        found = pairs._grammar_pairs.__wrapped__("val", 60, 0, 20, 1)
        codec = found.codecs[1]
        for row, source in enumerate(found.text.source):
            every = [codec.encode(text) for text in grammar.translations(source)]
            assert found.exact(np.full(len(every), row), every).all()
            wrong = [every[0][:-1], every[0][::-1], [*every[0], every[0][0]], []]
            assert not found.exact(np.full(4, row), wrong).any()


def test_with_files_exact_is_the_reference(folder: Path) -> None:
    found = load_pairs(str(folder))
    ids = [found.codecs[1].encode(text) for text in ("a dog sleeps", "two dogs", "two dogs")]
    assert found.exact(np.arange(3), ids).tolist() == [True, True, False]


def test_the_grammar_gives_as_many_references_as_asked() -> None:
    found = load_pairs(size=100, references=3)
    counts = (found.references.lengths >= 0).sum(axis=1)
    for row, source in enumerate(found.text.source):
        every = list(grammar.translations(source))
        assert counts[row] == len(found.answers[row]) == min(len(every), 3)
        assert found.answers[row][0] == found.text.target[row]
        assert len(set(found.answers[row])) == counts[row]
        assert set(found.answers[row]) <= set(every)
    assert 1 in counts
    assert 3 in counts


def test_nothing_of_the_grammar_is_unknown_or_too_long() -> None:
    found = load_pairs(size=500)
    assert (found.sources != UNK).all()
    assert found.sources.shape == (500, 21)
    assert found.references.lengths.max() <= 20


# Bad input.


def test_a_source_of_unknown_words_is_named_or_counted(folder: Path) -> None:
    (folder / "val.de").write_text(SOURCE.replace("zwei hunde", "three birds"), encoding="utf-8")
    with pytest.raises(DescantError, match=r"val\.de:2: no word of the source is in the vocabulary"):
        load_pairs(str(folder), "val")
    found = load_pairs(str(folder), "val", skip=True)
    assert found.text.lines == (1, 3)
    assert found.text.manifest["skipped"] == {"no word of the source is in the vocabulary": 1}
    assert found.text.manifest["pairs"] == 2


@pytest.mark.parametrize(("side", "name"), [("de", "source"), ("en", "target")])
def test_a_vocabulary_that_knows_nothing_is_refused(folder: Path, side: str, name: str) -> None:
    (folder / f"val.{side}").write_text("x\ny\nz\n", encoding="utf-8")
    for skip in (False, True):
        with pytest.raises(DescantError, match=rf"{name} vocabulary knows no word of .*val\.{side}"):
            load_pairs(str(folder), "val", skip=skip)


def test_more_tokens_than_may_be_are_named_or_counted(folder: Path) -> None:
    (folder / "val.en").write_text("a dog sleeps\na...\na dog\n", encoding="utf-8")
    with pytest.raises(DescantError, match=r"val\.en:2: the sentence has more than max_words \(3\)"):
        load_pairs(str(folder), "val", max_words=3)
    found = load_pairs(str(folder), "val", max_words=3, skip=True)
    assert found.text.lines == (1, 3)
    with pytest.raises(DescantError, match="more than max_words"):
        load_pairs(str(folder), "val", max_words=2)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"data": 3}, "data must be"),
        ({"data": {"source": "a"}}, "data must be"),
        ({"data": "/nowhere"}, "no folder"),
        ({"references": 0}, "references must be"),
        ({"min_frequency": 9}, "No word comes 9 times"),
        ({"split": "dev"}, "Unknown split"),
        ({"vocabularies": "/nowhere"}, "no source.json"),
        ({"subwords": 5000}, "Cannot train"),
    ],
)
def test_bad_options_are_refused(folder: Path, options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(DescantError, match=complaint):
        load_pairs(**{"data": str(folder)} | options)


def test_no_pair_that_can_be_used(folder: Path) -> None:
    text = read_pairs(folder / "train.de", folder / "train.en")
    codecs = (Vocabulary.build(text.source), Vocabulary.build(text.target))
    with pytest.raises(DescantError, match="raise max_words"):
        make_pairs(text, codecs, 1, skip=True)


@pytest.mark.skipif(not MULTI30K.is_dir(), reason=f"Multi30k is not at {MULTI30K}")
def test_multi30k_is_read_whole() -> None:
    found = load_pairs(str(MULTI30K), "test", languages=["de", "en"], min_frequency=2, licence="research")
    assert len(found) == 1000
    assert found.text.manifest["skipped"] == {}
    assert found.references.words == 1
    assert 5000 < len(found.codecs[1]) < 8000
