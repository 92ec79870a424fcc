"""Abstract sentences in the German-like language: agreement, case, verb-second and verb-final order, separable verbs.

A main clause has one thing before its finite verb (the subject, the time or the place), then what is left of subject,
time, objects and place, in this order, or with the time after the objects; then the particle or the infinitive; then
clauses. In a subordinate clause the finite verb comes last. Subordinate clauses are enclosed in commas.
"""

from __future__ import annotations

from descant.text import lexicon
from descant.text.clauses import Clause, Phrase, Pronoun, Sentence, Unit, subject_number
from descant.text.lattices import COMMA, STOP, Node, alt, seq
from descant.text.lexicon import Case, Number, Sense


def sentence(whole: Sentence) -> Node:
    """All ways to say a sentence."""
    parts = [unit(whole.units[0])]
    for conjunction, following in zip(whole.conjunctions, whole.units[1:], strict=True):
        parts += [*lexicon.CONJUNCTIONS[conjunction], unit(following)]
    return seq(*parts, STOP)


def unit(whole: Unit) -> Node:
    """A main clause and its reason."""
    main = main_clause(whole.main)
    if whole.because is None:
        return main
    return seq(main, COMMA, "weil", subordinate(whole.because), COMMA)


def main_clause(clause: Clause) -> Node:
    """Verb-second: whatever may stand first, each with the orders of the rest."""
    finite, bracket = _verb(clause, main=True)
    subject, time, objects, place = _parts(clause)
    ways: list[Node] = []
    for first in (subject, time, place):
        rests = [
            [part for part in order if part is not first] for order in _orders(subject, time, objects, place)
        ]
        ways += [seq(*first, finite, *_words(rest)) for rest in _distinct(rests)] if first else []
    return seq(alt(ways), *bracket, *_complement(clause))


def subordinate(clause: Clause, number: Number | None = None) -> Node:
    """Verb-final, without what introduces it; `number` is the subject's where it stands outside."""
    finite, bracket = _verb(clause, main=False, number=number)
    orders = _distinct(_orders(*_parts(clause)))
    middle = [seq(*_words(order)) for order in orders if order]
    return seq(*([alt(middle)] if middle else []), *bracket, finite, *_complement(clause))


def phrase(whole: Phrase, case: Case) -> Node:
    """A noun phrase in its case: one way for each sense of the noun."""
    return alt(_phrase(whole, case, sense, _article(whole, case, sense)) for sense in whole.noun.senses)


def place(whole: Phrase) -> Node:
    """In a place, which takes the dative; "in dem" is "im"."""
    ways = []
    for sense in whole.noun.senses:
        article = _article(whole, "dat", sense)
        words = ("im",) if article == "dem" else ("in", article)
        ways.append(_phrase(whole, "dat", sense, *words))
    return alt(ways)


def _phrase(whole: Phrase, case: Case, sense: Sense, *article: str) -> Node:
    parts: list[Node] = [*article]
    if whole.adjective:
        endings = lexicon.WEAK if whole.article == "the" else lexicon.MIXED
        parts.append(lexicon.ADJECTIVES[whole.adjective] + endings[_column(whole.number, sense)][case])
    parts.append(sense.form(whole.number, case))
    if whole.place is not None:
        parts.append(place(whole.place))
    if whole.relative is not None:
        parts += [COMMA, *_relative(whole.relative, whole.number, sense), COMMA]
    return seq(*parts)


def _relative(clause: Clause, number: Number, sense: Sense) -> tuple[Node, Node]:
    """The pronoun agrees with the noun in gender and number; its case is its role in the clause."""
    assert clause.gap is not None
    role: Case = "nom" if clause.gap == 0 else clause.verb.takes[clause.gap - 1]  # type: ignore[assignment]
    pronoun = lexicon.RELATIVE[_column(number, sense)][role]
    return pronoun, subordinate(clause, number if clause.gap == 0 else None)


def _article(whole: Phrase, case: Case, sense: Sense) -> str:
    table = lexicon.THE if whole.article == "the" else lexicon.A
    return table[_column(whole.number, sense)][case]


def _column(number: Number, sense: Sense) -> str:
    return sense.gender if number == "sg" else "pl"


Part = tuple[Node, ...]


def _parts(clause: Clause) -> tuple[Part, Part, Part, Part]:
    """Subject, time, objects and place, each empty where there is none. The objects but for the gap."""
    cases = clause.verb.takes
    kept = [case for i, case in enumerate(cases, start=1) if i != clause.gap and case != "clause"]
    objects = tuple(phrase(o, case) for o, case in zip(clause.objects, kept, strict=True))
    where = (place(clause.place),) if clause.place is not None else ()
    return _subject(clause), (lexicon.TIMES[clause.time],) if clause.time else (), objects, where


def _subject(clause: Clause) -> Part:
    match clause.subject:
        case None:
            return ()
        case Pronoun(english):
            return (alt(lexicon.PRONOUNS[english][1]),)
        case noun:
            return (phrase(noun, "nom"),)


def _orders(subject: Part, time: Part, objects: Part, where: Part) -> list[list[Part]]:
    return [[subject, time, objects, where], [subject, objects, time, where]]


def _distinct(orders: list[list[Part]]) -> list[list[Part]]:
    """Orders without empty parts, each once."""
    found: list[list[Part]] = []
    for order in ([part for part in order if part] for order in orders):
        if order not in found:
            found.append(order)
    return found


def _words(order: list[Part]) -> list[Node]:
    return [node for part in order for node in part]


def _verb(clause: Clause, main: bool, number: Number | None = None) -> tuple[str, Part]:
    """The finite verb, and what stands at the end with it: a particle or an infinitive."""
    verb, number = clause.verb, number or subject_number(clause)
    if clause.modal:
        return lexicon.MODALS[clause.modal][number == "pl"], (verb.particle + verb.german_plural,)
    form = verb.german_singular if number == "sg" else verb.german_plural
    if not main:
        return verb.particle + form, ()
    return form, (verb.particle,) if verb.particle else ()


def _complement(clause: Clause) -> Part:
    return () if clause.that is None else (COMMA, "dass", subordinate(clause.that), COMMA)
