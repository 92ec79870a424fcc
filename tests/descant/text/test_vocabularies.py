"""Vocabularies of words: fixed specials, frequencies, files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from descant.errors import DescantError
from descant.text.vocabularies import BOS, EOS, PAD, UNK, Vocabulary

TEXTS = ["The dog sees the cat.", "the dog sleeps.", "A cat."]


def test_specials_come_first_then_words_by_frequency() -> None:
    vocabulary = Vocabulary.build(TEXTS, min_frequency=2)
    assert (PAD, BOS, EOS, UNK) == (0, 1, 2, 3)
    assert vocabulary.words == ("<pad>", "<bos>", "<eos>", "<unk>", ".", "the", "cat", "dog")
    assert len(vocabulary) == 8
    assert vocabulary.encode("THE dog sleeps.") == [5, 7, UNK, 4]
    assert vocabulary.tokens([5, 7]) == ["the", "dog"]


def test_decoding_stops_at_eos_and_leaves_out_pad_and_bos() -> None:
    vocabulary = Vocabulary.build(TEXTS)
    ids = vocabulary.encode("the dog sleeps.")
    assert vocabulary.decode([BOS, PAD, *ids, EOS, *ids]) == "the dog sleeps."
    assert vocabulary.decode([ids[0], UNK]) == "the <unk>"


@given(st.lists(st.sampled_from(["the", "dog", "cat", "sees", ".", "a"]), max_size=9))
def test_known_words_survive(words: list[str]) -> None:
    vocabulary = Vocabulary.build(TEXTS)
    assert vocabulary.tokens(vocabulary.encode(" ".join(words))) == words


def test_case_can_matter() -> None:
    vocabulary = Vocabulary.build(["Der Mann"], lowercase=False)
    assert vocabulary.encode("der Mann") == [UNK, 5]


def test_saved_and_loaded_it_is_the_same(tmp_path: Path) -> None:
    for vocabulary in (Vocabulary.build(TEXTS), Vocabulary(["Tür"], lowercase=False)):
        vocabulary.save(tmp_path / "words.json")
        loaded = Vocabulary.load(tmp_path / "words.json")
        assert loaded == vocabulary
        assert loaded.lowercase == vocabulary.lowercase
    assert Vocabulary(["a"]) != Vocabulary(["a"], lowercase=False)
    assert Vocabulary(["a"]) != Vocabulary(["b"])


def test_a_word_that_looks_like_a_special_is_not_one() -> None:
    assert Vocabulary.build(["<unk> <pad>"]).encode("<pad>") != [PAD]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"not json", "not JSON"),
        (b"[1]", "no vocabulary"),
        (json.dumps({"kind": "words", "words": [1], "lowercase": True}).encode(), "no vocabulary"),
        (json.dumps({"kind": "words", "words": ["a"]}).encode(), "no vocabulary"),
        (json.dumps({"kind": "words", "words": ["a", "a"], "lowercase": True}).encode(), "twice"),
        (None, "Cannot read"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, content: bytes | None, complaint: str) -> None:
    path = tmp_path / "words.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DescantError, match=complaint):
        Vocabulary.load(path)


def test_a_vocabulary_of_nothing_but_unknown_is_refused() -> None:
    with pytest.raises(DescantError, match="No word comes 9 times"):
        Vocabulary.build(TEXTS, min_frequency=9)
    with pytest.raises(DescantError, match="more text"):
        Vocabulary.build([])
    with pytest.raises(DescantError, match="1 or more"):
        Vocabulary.build(TEXTS, min_frequency=0)


@pytest.mark.parametrize("token", [-1, 10_000])
def test_an_id_outside_is_refused(token: int) -> None:
    with pytest.raises(DescantError, match="outside"):
        Vocabulary.build(TEXTS).decode([token])
