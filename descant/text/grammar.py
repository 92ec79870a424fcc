"""The built-in synchronous grammar: English and a German-like language, with every correct translation known.

What it has: gender, number and case of articles, nouns, adjectives and relative pronouns; two verbs of the dative;
verb-second main clauses with the subject, the time or the place first; verb-final subordinate clauses; separable
verbs; modal verbs; compounds; sentences of any length, by relative clauses, reported clauses, reasons and
conjunctions. A source may be understood in several ways (a friend is a Freund or a Freundin; "in the garden" is where
the dog is or where it is seen): then all translations of all readings are correct.
"""

from __future__ import annotations

import functools
import itertools
import random
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from descant.errors import DescantError, did_you_mean
from descant.text import english, german, lattices, lexicon
from descant.text.clauses import Clause, Phrase, Pronoun, Sentence, Unit, kinds_of
from descant.text.lattices import Node
from descant.text.lexicon import Noun
from descant.text.parallel import SPLITS, ParallelText
from descant.text.vocabularies import Vocabulary
from descant.text.words import detokenize, tokenize

PATIENCE = 5000  # draws in vain before there are too few sentences
SHARES = {"val": 5, "test": 5}  # sources of a hundred; the others train


def translations(source: str, limit: int | None = None) -> Iterator[str]:
    """Every correct translation of an English sentence, each once; at most `limit`.

    DescantError for what is no sentence of the grammar.
    """
    for words in itertools.islice(lattices.sentences(reading(source)), limit):
        yield detokenize(words)


def accepts(source: str, target: str) -> bool:
    """Whether `target` is a correct translation, without listing them; False for what is no sentence at all."""
    return lattices.accepts(reading(source), tokenize(target, lowercase=False))


@functools.lru_cache(maxsize=4096)
def reading(source: str) -> Node:
    """All translations of a source as an expression, every reading's. DescantError for no sentence."""
    found = english.units_of(tokenize(source, lowercase=False))
    if found is None:
        raise DescantError(f"{source!r} is no sentence of the built-in grammar: see docs/translation.md.")
    readings, conjunctions = found
    units = [lattices.alt([german.unit(unit) for unit in each]) for each in readings]
    parts: list[Node] = [units[0]]
    for conjunction, unit in zip(conjunctions, units[1:], strict=True):
        parts += [*lexicon.CONJUNCTIONS[conjunction], unit]
    return lattices.seq(*parts, lattices.STOP)


def split_of(source: str) -> str:
    """The split that a source belongs to, by its words alone: so no seed brings a test sentence into training."""
    at = zlib.crc32(source.encode()) % 100
    for split, share in SHARES.items():
        if at < share:
            return split
        at -= share
    return "train"


@dataclass(frozen=True)
class Rates:
    """How often what may be there is there. Each level of clauses has `falling` times as many clauses in it."""

    adjective: float = 0.3
    plural: float = 0.25
    article_a: float = 0.35
    pronoun: float = 0.2
    modal: float = 0.2
    time: float = 0.35
    place: float = 0.25
    noun_place: float = 0.06
    fronted: float = 0.4
    relative: float = 0.18
    because: float = 0.12
    conjunction: float = 0.15
    falling: float = 0.4


class Generator:
    """Draws sentences and translations of them.

    Args:
        seed: same seed, same sentences.
        max_words: tokens that either side may have; longer sentences are drawn again.
        rates: how often what may be there is there.
    """

    def __init__(self, seed: int = 0, max_words: int = 20, rates: Rates | None = None) -> None:
        if max_words < 4:
            raise DescantError(
                f"max_words must be at least 4, the length of the shortest sentence, not {max_words}."
            )
        self.max_words, self.rates, self._rng = max_words, rates or Rates(), random.Random(seed)

    def pair(self) -> tuple[str, str]:
        """A source and one of its correct translations."""
        while True:
            drawn = self.sentence()
            source = english.words_of(drawn)
            if len(source) > self.max_words:
                continue
            target = lattices.sample(german.sentence(drawn), self._rng)
            if len(target) <= self.max_words:
                return detokenize(source), detokenize(target)

    def sentence(self) -> Sentence:
        """An abstract sentence."""
        units, conjunctions = [self._unit()], []
        while self._often("conjunction"):
            conjunctions.append(self._one(tuple(lexicon.CONJUNCTIONS)))
            units.append(self._unit())
        return Sentence(tuple(units), tuple(conjunctions))

    def _unit(self) -> Unit:
        main = self._clause(0, front=True)
        return Unit(main, self._clause(1) if self._often("because") else None)

    def _clause(self, depth: int, front: bool = False) -> Clause:
        subject: Pronoun | Phrase
        if self._often("pronoun"):
            subject = Pronoun(self._one(tuple(lexicon.PRONOUNS)))
        else:
            subject = self._phrase(lexicon.ANIMATE, depth)
        return self._predicate(depth, subject, None, front)

    def _predicate(
        self,
        depth: int,
        subject: Pronoun | Phrase | None,
        outside: tuple[Noun, int] | None,
        front: bool = False,
    ) -> Clause:
        """A clause; in a relative one the noun outside fills the gap of this index."""
        gap = None if outside is None else outside[1]
        verb = self._one(_verbs_for(*outside) if outside and gap else lexicon.VERBS)
        while verb in lexicon.REPORTING and depth > 0 and not self._often("relative", depth):
            verb = self._one(lexicon.VERBS)
        reports = verb in lexicon.REPORTING
        indices = [k for k in range(1, len(verb.takes) + 1) if k != gap and not reports]
        objects = tuple(self._phrase(_nouns_for(verb, k), depth) for k in indices)
        time = self._one(tuple(lexicon.TIMES)) if self._often("time") else ""
        place = self._bare(lexicon.PLACES) if self._often("place") else None
        modal = self._one(tuple(lexicon.MODALS)) if self._often("modal") else ""
        there = [name for name, what in (("time", time), ("place", place)) if what]
        fronted: Any = self._one(tuple(there)) if front and there and self._often("fronted") else ""
        that = self._clause(depth + 1) if reports else None
        return Clause(verb, subject, objects, modal, time, place, that, gap, fronted)

    def _phrase(self, nouns: tuple[Noun, ...], depth: int) -> Phrase:
        bare = self._bare(nouns)
        place = self._bare(lexicon.PLACES) if self._often("noun_place") else None
        relative = self._relative(bare, depth + 1) if self._often("relative", depth) else None
        return Phrase(bare.article, bare.noun, bare.number, bare.adjective, place, relative)

    def _bare(self, nouns: tuple[Noun, ...]) -> Phrase:
        noun = self._one(nouns)
        plural = bool(noun.plural) and self._often("plural")
        article: Any = "a" if not plural and self._often("article_a") else "the"
        adjective = self._one(tuple(lexicon.ADJECTIVES)) if self._often("adjective") else ""
        return Phrase(article, noun, "pl" if plural else "sg", adjective)

    def _relative(self, phrase: Phrase, depth: int) -> Clause:
        if phrase.noun.kind == "animate" and self._rng.random() < 0.5:
            return self._predicate(depth, None, (phrase.noun, 0))
        subject = self._bare(lexicon.ANIMATE)
        gaps = [k for k in (1, 2) if _verbs_for(phrase.noun, k)]
        return self._predicate(depth, subject, (phrase.noun, self._one(tuple(gaps))))

    def _often(self, what: str, depth: int = 0) -> bool:
        rate: float = getattr(self.rates, what)
        return self._rng.random() < rate * self.rates.falling**depth

    def _one(self, choices: tuple[Any, ...]) -> Any:
        return choices[int(self._rng.random() * len(choices))]


@functools.cache
def _verbs_for(noun: Noun, gap: int) -> tuple[Any, ...]:
    """Verbs that may have the noun as this object."""
    return tuple(verb for verb in lexicon.VERBS if noun.kind in kinds_of(verb, gap))


@functools.cache
def _nouns_for(verb: Any, index: int) -> tuple[Noun, ...]:
    return tuple(noun for noun in lexicon.ANIMATE + lexicon.THINGS if noun.kind in kinds_of(verb, index))


@functools.lru_cache(maxsize=16)
def generate(split: str = "train", size: int = 1000, seed: int = 0, max_words: int = 20) -> ParallelText:
    """`size` pairs with distinct sources, all of one split. Same arguments, same pairs; splits never share a source."""
    if split not in SPLITS:
        raise DescantError(f"Unknown split {split!r}.{did_you_mean(split, SPLITS)}")
    if size < 1:
        raise DescantError(f"The built-in grammar must give at least one sentence, not {size}.")
    generator = Generator(seed, max_words)
    pairs: dict[str, str] = {}
    stale = 0  # draws since the last sentence that was new
    while len(pairs) < size and stale < PATIENCE:
        source, target = generator.pair()
        fresh = split_of(source) == split and source not in pairs
        stale = 0 if fresh else stale + 1
        if fresh:
            pairs[source] = target
    if len(pairs) < size:
        raise DescantError(
            f"There are too few sentences of {max_words} words for {size} in {split}: raise max_words or ask for fewer."
        )
    name = f"built-in grammar (seed {seed}, {split})"
    manifest = {"source": name, "target": name, "pairs": size, "skipped": {}, "licence": "MIT, as descant's"}
    return ParallelText(
        tuple(pairs), tuple(pairs.values()), tuple(range(1, size + 1)), (name, name), manifest
    )


@functools.cache
def vocabularies() -> tuple[Vocabulary, Vocabulary]:
    """All words of both sides, so that none is unknown."""
    return _vocabulary(_english_words()), _vocabulary(_german_words())


def _vocabulary(words: set[str]) -> Vocabulary:
    return Vocabulary(sorted(words), lowercase=False)


def _english_words() -> set[str]:
    words = {"the", "a", "an", "in", "that", "because", english.STOP}
    words |= {*lexicon.ADJECTIVES, *lexicon.TIMES, *lexicon.PRONOUNS, *lexicon.CONJUNCTIONS, *lexicon.MODALS}
    for noun in lexicon.NOUNS:
        words |= {*noun.singular.split(), *noun.plural.split()}
    for verb in lexicon.VERBS:
        words |= {verb.singular, verb.plural, *verb.english_particle.split()}
    return words


def _german_words() -> set[str]:
    words = {"in", "im", "weil", "dass", lattices.COMMA, lattices.STOP, *lexicon.TIMES.values()}
    words |= {word for _, forms in lexicon.PRONOUNS.values() for word in forms}
    words |= {word for forms in (*lexicon.CONJUNCTIONS.values(), *lexicon.MODALS.values()) for word in forms}
    words |= {
        form
        for table in (lexicon.RELATIVE, lexicon.THE, lexicon.A)
        for row in table.values()
        for form in row.values()
    }
    words |= {
        adjective + ending for adjective in lexicon.ADJECTIVES.values() for ending in ("e", "en", "er", "es")
    }
    for noun in lexicon.NOUNS:
        for sense in noun.senses:
            words.add(sense.singular)
            words |= {sense.form("pl", "nom"), sense.form("pl", "dat")} if noun.plural else set()
    for verb in lexicon.VERBS:
        forms = {verb.german_singular, verb.german_plural}
        words |= forms | (
            {verb.particle} | {verb.particle + form for form in forms} if verb.particle else set()
        )
    return words
