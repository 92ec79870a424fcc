"""The tokeniser and its way back."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from descant.text.parallel import folder_files, read_pairs
from descant.text.words import detokenize, tokenize

MULTI30K = Path(os.environ.get("DESCANT_DATA", Path(__file__).parents[4] / "shared/data")) / "multi30k"
multi30k = pytest.mark.skipif(not MULTI30K.is_dir(), reason=f"Multi30k is not at {MULTI30K}")


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("A man's hat, two T-shirts.", ["a", "man", "'s", "hat", ",", "two", "t-shirts", "."]),
        ('He says "no" (twice)!', ["he", "says", '"', "no", '"', "(", "twice", ")", "!"]),
        ("1,014 at 10:30; 3.5", ["1,014", "at", "10:30", ";", "3.5"]),
        ("Obst- und Gemüse", ["obst-", "und", "gemüse"]),
        ("Gemüse und Obst-", ["gemüse", "und", "obst-"]),
        ("either/or", ["either", "/", "or"]),
        ("  ", []),
    ],
)
def test_tokens_and_back(text: str, tokens: list[str]) -> None:
    assert tokenize(text) == tokens
    assert detokenize(tokens) == text.lower().strip()


def test_case_is_kept_where_asked() -> None:
    assert tokenize("Der Mann", lowercase=False) == ["Der", "Mann"]


@given(st.lists(st.sampled_from([*"ab,.!?(\"'-/ ", "'s", "ab", "3.5", "x-y"]), max_size=12).map("".join))
def test_the_tokens_of_a_text_made_from_tokens_make_it_again(text: str) -> None:
    once = detokenize(tokenize(text))
    assert detokenize(tokenize(once)) == once


@multi30k
@pytest.mark.parametrize("language", ["de", "en"])
def test_real_text_comes_back(language: str) -> None:
    pairs = read_pairs(*folder_files(MULTI30K, "val", ("de", "en")))
    texts = pairs.source if language == "de" else pairs.target
    same = [detokenize(tokenize(text)) == text.lower() for text in texts]
    assert sum(same) / len(same) > 0.99
    assert all(tokenize(detokenize(tokenize(text))) == tokenize(text) for text in texts)
