"""Sets of sentences as expressions: words in sequence and alternatives, so that a long sentence's set stays small.

A comma is a mark (`COMMA`): marks that meet are one comma, and none is written at the end of the sentence. So a
clause can be enclosed in marks wherever it stands.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

Words = tuple[str, ...]
Place = tuple[int, bool]  # words read, and whether a mark waits to be read
COMMA, STOP = ",", "."


@dataclass(frozen=True, eq=False)
class Seq:
    """Parts in order."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, eq=False)
class Alt:
    """One of several."""

    choices: tuple[Node, ...]


Node: TypeAlias = str | Seq | Alt


def seq(*parts: Node) -> Node:
    """Parts in order; one alone is itself."""
    return parts[0] if len(parts) == 1 else Seq(parts)


def alt(choices: Iterable[Node]) -> Node:
    """One of the choices; one alone is itself."""
    found = tuple(choices)
    return found[0] if len(found) == 1 else Alt(found)


def settle(words: Iterable[str]) -> Words:
    """Marks as they are written: those that meet as one, none before the full stop."""
    written: list[str] = []
    for word in words:
        if written and written[-1] == COMMA and word in (COMMA, STOP):
            written.pop()
        written.append(word)
    return tuple(written)


def sample(node: Node, rng: random.Random) -> Words:
    """A sentence of the set: at each choice, each alternative equally often."""
    found: list[str] = []
    _draw(node, rng, found)
    return settle(found)


def _draw(node: Node, rng: random.Random, found: list[str]) -> None:
    if isinstance(node, str):
        found.append(node)
    elif isinstance(node, Seq):
        for part in node.parts:
            _draw(part, rng, found)
    else:
        choices = node.choices
        _draw(choices[int(rng.random() * len(choices))], rng, found)


def sentences(node: Node) -> Iterator[Words]:
    """Every sentence of the set, each once, in the order of its first derivation."""
    seen: set[Words] = set()
    for words in _derivations(node):
        settled = settle(words)
        if settled not in seen:
            seen.add(settled)
            yield settled


def derivations(node: Node) -> int:
    """How many ways there are through an expression: at least as many as sentences."""
    if isinstance(node, str):
        return 1
    if isinstance(node, Alt):
        return sum(derivations(choice) for choice in node.choices)
    total = 1
    for part in node.parts:
        total *= derivations(part)
    return total


def _derivations(node: Node) -> Iterator[Words]:
    if isinstance(node, str):
        yield (node,)
    elif isinstance(node, Alt):
        for choice in node.choices:
            yield from _derivations(choice)
    else:
        for parts in itertools.product(*(tuple(_derivations(part)) for part in node.parts)):
            yield tuple(itertools.chain.from_iterable(parts))


def accepts(node: Node, words: Sequence[str]) -> bool:
    """Whether a sentence is in the set, without listing it."""
    return (len(words), False) in _ends(node, (0, False), words)


def _ends(node: Node, place: Place, words: Sequence[str]) -> frozenset[Place]:
    """Where reading may stand after a node that is read from `place`."""
    if isinstance(node, str):
        return _read(node, place, words)
    if isinstance(node, Alt):
        return frozenset().union(*(_ends(choice, place, words) for choice in node.choices))
    places: frozenset[Place] = frozenset({place})
    for part in node.parts:
        places = frozenset().union(*(_ends(part, at, words) for at in places))
        if not places:
            break
    return places


def _read(word: str, place: Place, words: Sequence[str]) -> frozenset[Place]:
    at, waiting = place
    if word == COMMA:
        return frozenset({(at, True)})
    if waiting and word != STOP:
        if at >= len(words) or words[at] != COMMA:
            return frozenset()
        at += 1
    return frozenset({(at + 1, False)}) if at < len(words) and words[at] == word else frozenset()
