"""Abstract sentences of the built-in grammar: what both languages say, each in its own order and forms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from descant.text.lexicon import PRONOUNS, Noun, Number, Verb


@dataclass(frozen=True)
class Pronoun:
    """A subject of one word."""

    english: str


@dataclass(frozen=True)
class Phrase:
    """A noun with its article; perhaps with an adjective, a place and a relative clause, in this order."""

    article: Literal["the", "a"]
    noun: Noun
    number: Number = "sg"
    adjective: str = ""
    place: Phrase | None = None
    relative: Clause | None = None


@dataclass(frozen=True)
class Clause:
    """A verb with its subject, objects, time and place.

    In a relative clause one of them is the noun outside: `gap` is its index, 0 for the subject, then the objects; the
    subject is None where the gap is. `fronted` says what stands first in English, before the subject.
    """

    verb: Verb
    subject: Pronoun | Phrase | None
    objects: tuple[Phrase, ...] = ()
    modal: str = ""
    time: str = ""
    place: Phrase | None = None
    that: Clause | None = None
    gap: int | None = None
    fronted: Literal["", "time", "place"] = ""


@dataclass(frozen=True)
class Unit:
    """A main clause, perhaps with its reason."""

    main: Clause
    because: Clause | None = None


@dataclass(frozen=True)
class Sentence:
    """Main clauses, joined: one conjunction fewer than units."""

    units: tuple[Unit, ...]
    conjunctions: tuple[str, ...] = ()


def subject_number(clause: Clause) -> Number:
    """Singular or plural, of a clause that has its subject."""
    match clause.subject:
        case Pronoun(english):
            return PRONOUNS[english][0]
        case Phrase(number=number):
            return number
    raise AssertionError("a clause whose subject stands outside is told its number")


def kinds_of(verb: Verb, index: int) -> tuple[str, ...]:
    """What kinds of noun a verb's object may be; none where it has no object of this index (from 1)."""
    if index > len(verb.takes) or verb.takes[0] == "clause":
        return ()
    if verb.things:
        return ("thing",)
    if verb.takes[index - 1] == "dat" or verb.persons:
        return ("animate",)
    return ("thing",) if len(verb.takes) == 2 else ("animate", "thing")
