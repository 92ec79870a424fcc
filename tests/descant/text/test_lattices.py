"""Sets of sentences as expressions: what is listed is what is accepted."""

from __future__ import annotations

import itertools
import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from descant.text.lattices import Node, accepts, alt, derivations, sample, sentences, seq, settle

WORDS = ("a", "b", ",")
nodes: Any = st.recursive(
    st.sampled_from(WORDS),
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: seq(*parts))
        | st.lists(inner, min_size=1, max_size=3).map(alt)
    ),
    max_leaves=7,
)


def test_marks_meet_and_none_ends_a_sentence() -> None:
    assert settle(["a", ",", ",", "b", ",", "."]) == ("a", ",", "b", ".")
    assert settle([",", ",", ","]) == (",",)


def test_a_small_set() -> None:
    node = seq("a", alt(["b", seq(",", "c", ",")]), ",", "d", ",", ".")
    assert list(sentences(node)) == [("a", "b", ",", "d", "."), ("a", ",", "c", ",", "d", ".")]
    assert derivations(node) == 2
    assert list(sentences(alt(["a", "a"]))) == [("a",)]
    assert derivations(alt(["a", "a"])) == 2


@settings(max_examples=40, deadline=None)
@given(nodes)
def test_accepted_is_what_is_listed_and_nothing_else(node: Node) -> None:
    whole = seq(node, ".")
    listed = set(sentences(whole))
    assert 1 <= len(listed) <= derivations(whole)
    longest = max(map(len, listed))
    for length in range(min(longest, 3) + 2):
        for words in itertools.product("ab,.", repeat=length):
            assert accepts(whole, words) == (words in listed), words
    for words in listed:
        assert accepts(whole, words)
    rng = random.Random(0)
    assert {sample(whole, rng) for _ in range(20)} <= listed


def test_each_alternative_is_drawn() -> None:
    rng = random.Random(0)
    drawn = [sample(alt("abc"), rng) for _ in range(3000)]
    assert all(900 < drawn.count((word,)) < 1100 for word in "abc")
