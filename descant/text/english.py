"""Abstract sentences in English, and back: every way in which a sentence can be understood.

A reader of a part is given the words and where it begins, and gives each way to read one there with where it ends.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, TypeVar

from descant.text import lexicon
from descant.text.clauses import Clause, Phrase, Pronoun, Sentence, Unit, kinds_of, subject_number
from descant.text.lexicon import Noun, Number, Verb

STOP = "."
VOWELS = frozenset("aeiou")


def words_of(whole: Sentence) -> list[str]:
    """The sentence in English."""
    found = _unit(whole.units[0])
    for conjunction, following in zip(whole.conjunctions, whole.units[1:], strict=True):
        found += [conjunction, *_unit(following)]
    return [*found, STOP]


def _unit(whole: Unit) -> list[str]:
    reason = [] if whole.because is None else ["because", *_clause(whole.because)]
    return _clause(whole.main) + reason


def _clause(clause: Clause, number: Number | None = None) -> list[str]:
    """Time or place in front or at the end; `number` is the subject's where it stands outside."""
    place = ["in", *_phrase(clause.place)] if clause.place is not None else []
    time = [clause.time] if clause.time else []
    front = {"": [], "time": time, "place": place}[clause.fronted]
    verb = [clause.modal, clause.verb.plural] if clause.modal else [_finite(clause, number)]
    found = [*front, *_subject(clause), *verb, *clause.verb.english_particle.split()]
    found += [word for o in clause.objects for word in _phrase(o)]
    found += [] if clause.fronted == "place" else place
    found += [] if clause.fronted == "time" else time
    return found + ([] if clause.that is None else ["that", *_clause(clause.that)])


def _subject(clause: Clause) -> list[str]:
    match clause.subject:
        case None:
            return []
        case Pronoun(english):
            return [english]
        case phrase:
            return _phrase(phrase)


def _finite(clause: Clause, number: Number | None) -> str:
    return clause.verb.singular if (number or subject_number(clause)) == "sg" else clause.verb.plural


def _phrase(phrase: Phrase) -> list[str]:
    noun = phrase.noun.singular if phrase.number == "sg" else phrase.noun.plural
    named = [*([phrase.adjective] if phrase.adjective else []), *noun.split()]
    article = "an" if phrase.article == "a" and named[0][0] in VOWELS else phrase.article
    found = [article, *named]
    if phrase.place is not None:
        found += ["in", *_phrase(phrase.place)]
    relative = phrase.relative
    if relative is None:
        return found
    return [*found, "that", *_clause(relative, phrase.number if relative.gap == 0 else None)]


T = TypeVar("T")
Read = tuple[T, int]  # what was read, and where it ends


@functools.cache
def _nouns() -> dict[tuple[str, ...], tuple[Noun, Number]]:
    """Nouns by their words."""
    found: dict[tuple[str, ...], tuple[Noun, Number]] = {}
    for noun in lexicon.NOUNS:
        found[tuple(noun.singular.split())] = (noun, "sg")
        if noun.plural:
            found[(noun.plural,)] = (noun, "pl")
    return found


@functools.cache
def _verbs() -> dict[tuple[str, Number], list[Verb]]:
    """Verbs by their form; the plural is the infinitive too."""
    found: dict[tuple[str, Number], list[Verb]] = {}
    for verb in lexicon.VERBS:
        found.setdefault((verb.singular, "sg"), []).append(verb)
        found.setdefault((verb.plural, "pl"), []).append(verb)
    return found


def units_of(words: Sequence[str]) -> tuple[list[list[Unit]], list[str]] | None:
    """Every reading of each main clause, and the conjunctions between them; None for no sentence of the grammar."""
    if not words or words[-1] != STOP:
        return None
    pieces: list[list[str]] = [[]]
    conjunctions = []
    for word in words[:-1]:
        if word in lexicon.CONJUNCTIONS:
            conjunctions.append(word)
            pieces.append([])
        else:
            pieces[-1].append(word)
    readings = [[unit for unit, end in Reader(piece).units() if end == len(piece)] for piece in pieces]
    return (readings, conjunctions) if all(readings) else None


class Reader:
    """Reads the words of one main clause with its reason."""

    def __init__(self, words: Sequence[str]) -> None:
        self.words = tuple(words)
        self._phrases: dict[int, list[Read[Phrase]]] = {}

    def units(self) -> Iterator[Read[Unit]]:
        """Whole units from the beginning."""
        for main, at in self.main_clauses():
            yield Unit(main), at
            if self._is(at, "because"):
                for reason, end in self.clauses(at + 1):
                    yield Unit(main, reason), end

    def main_clauses(self) -> Iterator[Read[Clause]]:
        """Main clauses from the beginning: something may stand before the subject."""
        yield from self.clauses(0)
        if self.words and self.words[0] in lexicon.TIMES:
            yield from self.clauses(1, "time", time=self.words[0])
        for place, at in self.places(0):
            yield from self.clauses(at, "place", place=place)

    def clauses(
        self, at: int, fronted: Literal["", "time", "place"] = "", time: str = "", place: Phrase | None = None
    ) -> Iterator[Read[Clause]]:
        """Clauses with their subject; time or place stood in front where told."""
        for subject, after in self.subjects(at):
            number = lexicon.PRONOUNS[subject.english][0] if isinstance(subject, Pronoun) else subject.number
            yield from self.predicates(after, number, subject, None, fronted, time, place)

    def subjects(self, at: int) -> Iterator[Read[Pronoun | Phrase]]:
        """Pronouns, and phrases of who can act."""
        if at < len(self.words) and self.words[at] in lexicon.PRONOUNS:
            yield Pronoun(self.words[at]), at + 1
        yield from ((p, end) for p, end in self.phrases(at) if p.noun.kind == "animate")

    def predicates(
        self,
        at: int,
        number: Number,
        subject: Pronoun | Phrase | None,
        gap: int | None,
        fronted: Literal["", "time", "place"] = "",
        time: str = "",
        place: Phrase | None = None,
    ) -> Iterator[Read[Clause]]:
        """Clauses whose verb begins here. An object whose index is `gap` stands outside."""
        for verb, modal, after in self.verbs(at, number):
            if gap and not (gap <= len(verb.takes) and verb.takes[0] != "clause"):
                continue
            wanted = [k for k in range(1, len(verb.takes) + 1) if k != gap and verb.takes[0] != "clause"]
            for objects, a in self.objects(after, verb, wanted):
                for where, b in [(place, a)] if place is not None else self._or_none(self.places(a), a):
                    for when, c in [(time, b)] if time else self.times(b):
                        for that, d in self.complements(c, verb):
                            clause = Clause(verb, subject, objects, modal, when, where, that, gap, fronted)
                            yield clause, d

    def verbs(self, at: int, number: Number) -> Iterator[tuple[Verb, str, int]]:
        """Verbs that agree, with their modal and the end of their particle."""
        modal = self.words[at] if at < len(self.words) and self.words[at] in lexicon.MODALS else ""
        start = at + bool(modal)
        if start < len(self.words):
            for verb in _verbs().get((self.words[start], "pl" if modal else number), []):
                particle = verb.english_particle.split()
                if all(self._is(start + 1 + i, word) for i, word in enumerate(particle)):
                    yield verb, modal, start + 1 + len(particle)

    def objects(self, at: int, verb: Verb, wanted: Sequence[int]) -> Iterator[Read[tuple[Phrase, ...]]]:
        """Phrases for the objects wanted, in order."""
        if not wanted:
            yield (), at
            return
        for phrase, after in self.phrases(at):
            if phrase.noun.kind in kinds_of(verb, wanted[0]):
                for rest, end in self.objects(after, verb, wanted[1:]):
                    yield (phrase, *rest), end

    def complements(self, at: int, verb: Verb) -> Iterable[Read[Clause | None]]:
        """What is said, for verbs of saying."""
        if verb.takes != ("clause",):
            return [(None, at)]
        return self.clauses(at + 1) if self._is(at, "that") else []

    def times(self, at: int) -> Iterator[Read[str]]:
        """A time or none."""
        yield "", at
        if at < len(self.words) and self.words[at] in lexicon.TIMES:
            yield self.words[at], at + 1

    def places(self, at: int) -> Iterator[Read[Phrase]]:
        """In a place."""
        if self._is(at, "in"):
            yield from ((p, end) for p, end in self.bare(at + 1) if p.noun.kind == "place")

    def phrases(self, at: int) -> list[Read[Phrase]]:
        """Noun phrases with all that may follow the noun. Kept, since many readings share them."""
        if at not in self._phrases:
            self._phrases[at] = list(self._extended(at))
        return self._phrases[at]

    def _extended(self, at: int) -> Iterator[Read[Phrase]]:
        for bare, a in self.bare(at):
            for place, b in self._or_none(self.places(a), a):
                phrase = Phrase(bare.article, bare.noun, bare.number, bare.adjective, place)
                yield phrase, b
                if self._is(b, "that"):
                    for clause, end in self.relatives(b + 1, bare):
                        parts = (bare.article, bare.noun, bare.number, bare.adjective, place, clause)
                        yield Phrase(*parts), end

    def relatives(self, at: int, noun: Phrase) -> Iterator[Read[Clause]]:
        """Clauses about a noun, which is their subject or one of their objects."""
        if noun.noun.kind == "animate":
            yield from self.predicates(at, noun.number, None, 0)
        for subject, after in self.subjects(at):
            number = lexicon.PRONOUNS[subject.english][0] if isinstance(subject, Pronoun) else subject.number
            for gap in (1, 2):
                for clause, end in self.predicates(after, number, subject, gap):
                    if noun.noun.kind in kinds_of(clause.verb, gap):
                        yield clause, end

    def bare(self, at: int) -> Iterator[Read[Phrase]]:
        """Article, adjective and noun."""
        words = self.words[at : at + 4]
        if not words or words[0] not in ("the", "a", "an"):
            return
        adjective = words[1] if len(words) > 1 and words[1] in lexicon.ADJECTIVES else ""
        start = 2 if adjective else 1
        vowel = len(words) > 1 and words[1][0] in VOWELS
        for length in (1, 2):
            noun, number = _nouns().get(words[start : start + length], (None, "sg"))
            article: Literal["the", "a"] = "the" if words[0] == "the" else "a"
            fits = article == "the" or (number == "sg" and vowel == (words[0] == "an"))
            if noun is not None and fits:
                yield Phrase(article, noun, number, adjective), at + start + length  # type: ignore[arg-type]

    def _or_none(self, found: Iterable[Read[T]], at: int) -> Iterator[Read[T | None]]:
        yield None, at
        yield from found

    def _is(self, at: int, word: str) -> bool:
        return at < len(self.words) and self.words[at] == word
