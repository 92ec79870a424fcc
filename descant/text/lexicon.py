"""The words of the built-in grammar: English lemmas with what they may be in the German-like language."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Gender = Literal["m", "f", "n"]
Case = Literal["nom", "acc", "dat"]
Number = Literal["sg", "pl"]


@dataclass(frozen=True)
class Sense:
    """A German noun: gender, singular and plural; the dative plural adds n where `n` says so."""

    gender: Gender
    singular: str
    plural: str = ""
    dative_n: bool = False

    def form(self, number: Number, case: Case) -> str:
        """The noun's form."""
        if number == "sg":
            return self.singular
        return self.plural + ("n" if self.dative_n and case == "dat" else "")


@dataclass(frozen=True)
class Noun:
    """An English noun, of one or two words, and its senses; without a plural it is singular only."""

    singular: str
    plural: str
    kind: Literal["animate", "thing", "place"]
    senses: tuple[Sense, ...]


@dataclass(frozen=True)
class Verb:
    """An English verb and its German one.

    `takes` are the German cases of its objects in English order, or "clause". A separable verb has a particle: in a
    main clause it stands last, elsewhere it is the beginning of the word.
    """

    singular: str  # English, third person
    plural: str  # English, plural and infinitive
    german_singular: str
    german_plural: str  # and infinitive
    takes: tuple[Literal["acc", "dat", "clause"], ...] = ()
    particle: str = ""
    things: bool = False  # its object is a thing
    persons: bool = False  # its object is animate
    english_particle: str = ""


def _noun(words: str, kind: Literal["animate", "thing", "place"], *senses: Sense) -> Noun:
    singular, _, plural = words.partition("/")
    return Noun(singular, plural, kind, senses)


ANIMATE = (
    _noun("man/men", "animate", Sense("m", "Mann", "Männer", True)),
    _noun("woman/women", "animate", Sense("f", "Frau", "Frauen")),
    _noun("child/children", "animate", Sense("n", "Kind", "Kinder", True)),
    _noun("girl/girls", "animate", Sense("n", "Mädchen", "Mädchen")),
    _noun("dog/dogs", "animate", Sense("m", "Hund", "Hunde", True)),
    _noun("cat/cats", "animate", Sense("f", "Katze", "Katzen")),
    _noun(
        "friend/friends",
        "animate",
        Sense("m", "Freund", "Freunde", True),
        Sense("f", "Freundin", "Freundinnen"),
    ),
    _noun(
        "teacher/teachers",
        "animate",
        Sense("m", "Lehrer", "Lehrer", True),
        Sense("f", "Lehrerin", "Lehrerinnen"),
    ),
)
SIMPLE_THINGS = (
    _noun("book/books", "thing", Sense("n", "Buch", "Bücher", True)),
    _noun("letter/letters", "thing", Sense("m", "Brief", "Briefe", True)),
    _noun("lamp/lamps", "thing", Sense("f", "Lampe", "Lampen")),
    _noun("door/doors", "thing", Sense("f", "Tür", "Türen")),
    _noun("window/windows", "thing", Sense("n", "Fenster", "Fenster", True)),
    _noun("key/keys", "thing", Sense("m", "Schlüssel", "Schlüssel", True)),
    _noun(
        "bat/bats",
        "thing",
        Sense("m", "Schläger", "Schläger", True),
        Sense("f", "Fledermaus", "Fledermäuse", True),
    ),
)
# A compound has the gender of its last part.
MODIFIERS = {"garden": "Garten", "house": "Haus", "kitchen": "Küchen"}
HEADS = {
    "door": ("f", "tür"),
    "window": ("n", "fenster"),
    "key": ("m", "schlüssel"),
    "lamp": ("f", "lampe"),
}
COMPOUNDS = tuple(
    _noun(f"{modifier} {head}/", "thing", Sense(gender, first + last))  # type: ignore[arg-type]
    for modifier, first in MODIFIERS.items()
    for head, (gender, last) in HEADS.items()
)
THINGS = SIMPLE_THINGS + COMPOUNDS
PLACES = (
    _noun("garden/", "place", Sense("m", "Garten")),
    _noun("house/", "place", Sense("n", "Haus")),
    _noun("kitchen/", "place", Sense("f", "Küche")),
    _noun("school/", "place", Sense("f", "Schule")),
    _noun("forest/", "place", Sense("m", "Wald")),
    _noun("bank/", "place", Sense("f", "Bank"), Sense("n", "Ufer")),
)
NOUNS = ANIMATE + THINGS + PLACES

INTRANSITIVE = (
    Verb("sleeps", "sleep", "schläft", "schlafen"),
    Verb("laughs", "laugh", "lacht", "lachen"),
    Verb("sings", "sing", "singt", "singen"),
    Verb("works", "work", "arbeitet", "arbeiten"),
    Verb("gets", "get", "steht", "stehen", particle="auf", english_particle="up"),
    Verb("arrives", "arrive", "kommt", "kommen", particle="an"),
)
TRANSITIVE = (
    Verb("sees", "see", "sieht", "sehen", ("acc",)),
    Verb("loves", "love", "liebt", "lieben", ("acc",)),
    Verb("finds", "find", "findet", "finden", ("acc",)),
    Verb("seeks", "seek", "sucht", "suchen", ("acc",)),
    Verb("calls", "call", "ruft", "rufen", ("acc",), particle="an", persons=True),
    Verb("opens", "open", "macht", "machen", ("acc",), particle="auf", things=True),
    Verb("helps", "help", "hilft", "helfen", ("dat",)),
    Verb("thanks", "thank", "dankt", "danken", ("dat",)),
    Verb("follows", "follow", "folgt", "folgen", ("dat",)),
)
DITRANSITIVE = (
    Verb("gives", "give", "gibt", "geben", ("dat", "acc")),
    Verb("shows", "show", "zeigt", "zeigen", ("dat", "acc")),
)
REPORTING = (
    Verb("says", "say", "sagt", "sagen", ("clause",)),
    Verb("knows", "know", "weiß", "wissen", ("clause",)),
    Verb("believes", "believe", "glaubt", "glauben", ("clause",)),
)
VERBS = INTRANSITIVE + TRANSITIVE + DITRANSITIVE + REPORTING
MODALS = {"can": ("kann", "können"), "must": ("muss", "müssen")}

ADJECTIVES = {"old": "alt", "small": "klein", "big": "groß", "new": "neu", "young": "jung", "red": "rot"}
TIMES = {"today": "heute", "now": "jetzt", "often": "oft"}
PRONOUNS: dict[str, tuple[Number, tuple[str, ...]]] = {
    "he": ("sg", ("er",)),
    "she": ("sg", ("sie",)),
    "it": ("sg", ("er", "sie", "es")),
    "we": ("pl", ("wir",)),
    "they": ("pl", ("sie",)),
}
CONJUNCTIONS = {"and": ("und",), "but": (",", "aber")}

THE: dict[str, dict[Case, str]] = {
    "m": {"nom": "der", "acc": "den", "dat": "dem"},
    "f": {"nom": "die", "acc": "die", "dat": "der"},
    "n": {"nom": "das", "acc": "das", "dat": "dem"},
    "pl": {"nom": "die", "acc": "die", "dat": "den"},
}
A: dict[str, dict[Case, str]] = {
    "m": {"nom": "ein", "acc": "einen", "dat": "einem"},
    "f": {"nom": "eine", "acc": "eine", "dat": "einer"},
    "n": {"nom": "ein", "acc": "ein", "dat": "einem"},
}
# Endings of adjectives after "the" (weak) and after "a" (mixed).
WEAK: dict[str, dict[Case, str]] = {
    "m": {"nom": "e", "acc": "en", "dat": "en"},
    "f": {"nom": "e", "acc": "e", "dat": "en"},
    "n": {"nom": "e", "acc": "e", "dat": "en"},
    "pl": {"nom": "en", "acc": "en", "dat": "en"},
}
MIXED: dict[str, dict[Case, str]] = {
    "m": {"nom": "er", "acc": "en", "dat": "en"},
    "f": {"nom": "e", "acc": "e", "dat": "en"},
    "n": {"nom": "es", "acc": "es", "dat": "en"},
}
# Relative pronouns are articles but for one form.
RELATIVE: dict[str, dict[Case, str]] = {**THE, "pl": {**THE["pl"], "dat": "denen"}}
