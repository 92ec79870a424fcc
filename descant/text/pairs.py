"""Encoded pairs of sentences: what a translator is asked, and what its answer is compared with."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from descant.errors import DescantError
from descant.tasks import Bools, Ints
from descant.text import chrf, grammar
from descant.text.matches import NOTHING, References, make_references
from descant.text.parallel import ParallelText, folder_files, read_pairs
from descant.text.subwords import Subwords
from descant.text.vocabularies import EOS, PAD, UNK, Codec, Vocabulary

ORDER = 4  # n-grams that are counted while a translation is written
LISTED = 2000  # correct translations that are kept of a source; with more, each answer is read
GRAMMAR = "grammar"
VOCABULARY = "vocabulary"  # the folder of a run where its words are
GRAMMAR_WORDS, FILE_WORDS = 20, 60
FILES = {
    "source.json": Vocabulary,
    "source.model": Subwords,
    "target.json": Vocabulary,
    "target.model": Subwords,
}


@dataclass(frozen=True, eq=False)
class Pairs:
    """`n` sources with their references, and the codecs of both sides.

    sources: int32[n, S], each with EOS at its end, then PAD; lengths: int64[n], without EOS; references: n-gram tables.
    A reference's words that the vocabulary has not match nothing.
    """

    sources: NDArray[np.int32]
    lengths: Ints
    references: References
    text: ParallelText
    codecs: tuple[Codec, Codec]
    max_words: int
    answers: tuple[tuple[str, ...], ...]  # the references as texts
    known: bool  # whether all correct translations are known
    _right: dict[int, frozenset[bytes] | None] = field(default_factory=dict, repr=False)
    _texts: dict[chrf.Config, chrf.Texts] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.sources)

    def exact(self, rows: Ints, written: Sequence[Sequence[int]]) -> Bools:
        """Whether each translation (ids without EOS) is correct: one of all, or else of the references. bool[n]."""
        return np.array([self._is_right(int(row), ids) for row, ids in zip(rows, written, strict=True)], bool)

    def texts(self, config: chrf.Config) -> chrf.Texts:
        """The references as characters; made once for each way of scoring. In lower case where the codec makes it."""
        if config not in self._texts:
            lower = getattr(self.codecs[1], "lowercase", False)
            answers = [[a.lower() if lower else a for a in each] for each in self.answers]
            self._texts[config] = chrf.make_texts(answers, config)
        return self._texts[config]

    def _is_right(self, row: int, ids: Sequence[int]) -> bool:
        if row not in self._right:
            self._right[row] = self._list(row)
        right = self._right[row]
        if right is None:
            return grammar.accepts(self.text.source[row], self.codecs[1].decode(ids))
        return np.asarray(ids, np.int32).tobytes() in right

    def _list(self, row: int) -> frozenset[bytes] | None:
        """All correct translations of a source as bytes of ids; None where there are too many to list."""
        answers: Sequence[str] = self.answers[row]
        if self.known:
            answers = list(itertools.islice(grammar.translations(self.text.source[row]), LISTED + 1))
        if len(answers) > LISTED:
            return None
        return frozenset(np.array(self.codecs[1].encode(a), np.int32).tobytes() for a in answers)


def make_pairs(
    text: ParallelText,
    codecs: tuple[Codec, Codec],
    max_words: int,
    references: int = 1,
    skip: bool = False,
    known: bool = False,
) -> Pairs:
    """Encode pairs.

    Args:
        max_words: tokens that a sentence of either side may have.
        references: how many at most; where all correct translations are known there may be more than one.
        skip: leave out pairs whose source has no known word or that are too long, and count them in the manifest.

    Raises:
        DescantError: a vocabulary that knows no word of a side; without `skip` such a pair, with file and line.
    """
    encoded = [
        [codec.encode(t) for t in side]
        for codec, side in zip(codecs, (text.source, text.target), strict=True)
    ]
    for side, ids in enumerate(encoded):
        if all(i == UNK for each in ids for i in each):
            raise DescantError(
                f"The {('source', 'target')[side]} vocabulary knows no word of {text.files[side]}: give the one that "
                "belongs to it, or lower min_frequency."
            )
    faults = [_fault(one, two, max_words) for one, two in zip(encoded[0], encoded[1], strict=True)]
    wrong = [i for i, fault in enumerate(faults) if fault]
    if wrong and not skip:
        kind, side = faults[wrong[0]] or ("", 0)
        raise DescantError(
            f"{text.place(wrong[0], side)}: {kind}. Mend the line, or leave such pairs out (--set skip=true)."
        )
    kept = [i for i, fault in enumerate(faults) if not fault]
    if not kept:
        raise DescantError(f"No pair of {text.files[0]} and {text.files[1]} can be used: raise max_words.")
    text = _only(text, kept, [(faults[i] or ("", 0))[0] for i in wrong])
    lengths = np.array([len(encoded[0][i]) for i in kept], np.int64)
    sources = np.full((len(kept), max_words + 1), PAD, np.int32)
    for row, i in zip(sources, kept, strict=True):
        row[: len(encoded[0][i]) + 1] = [*encoded[0][i], EOS]
    answers = [
        _answers(s, t, references if known else 1) for s, t in zip(text.source, text.target, strict=True)
    ]
    known_ids = [[_known(codecs[1].encode(answer)) for answer in each] for each in answers]
    return Pairs(
        sources, lengths, make_references(known_ids, ORDER), text, codecs, max_words, tuple(answers), known
    )


def _known(ids: Sequence[int]) -> list[int]:
    """Ids of a reference: what is unknown matches nothing."""
    return [NOTHING if i == UNK else i for i in ids]


def _fault(source: Sequence[int], target: Sequence[int], max_words: int) -> tuple[str, int] | None:
    """What is wrong with a pair and on which side; None where it is fine."""
    if all(i == UNK for i in source):
        return "no word of the source is in the vocabulary", 0
    for side, ids in enumerate((source, target)):
        if len(ids) > max_words:
            return f"the sentence has more than max_words ({max_words}) tokens", side
    return None


def _only(text: ParallelText, kept: Sequence[int], reasons: Sequence[str]) -> ParallelText:
    """The pairs kept, the others counted by reason."""
    skipped = dict(text.manifest.get("skipped", {}))
    for reason in reasons:
        skipped[reason] = skipped.get(reason, 0) + 1
    source, target = (tuple(side[i] for i in kept) for side in (text.source, text.target))
    lines = tuple(text.lines[i] for i in kept)
    manifest = {**text.manifest, "pairs": len(kept), "skipped": skipped}
    return ParallelText(source, target, lines, text.files, manifest)


def _answers(source: str, target: str, references: int) -> tuple[str, ...]:
    """The target, then other correct translations."""
    if references == 1:
        return (target,)
    others = itertools.islice(grammar.translations(source), references)
    return (target, *[other for other in others if other != target][: references - 1])


def load_pairs(
    data: str | Mapping[str, str] = GRAMMAR,
    split: str = "train",
    size: int = 4096,
    seed: int = 0,
    max_words: int | None = None,
    references: int = 1,
    languages: Sequence[str] | None = None,
    min_frequency: int = 1,
    subwords: int = 0,
    vocabularies: str | None = None,
    skip: bool = False,
    licence: str = "",
) -> Pairs:
    """Pairs of the built-in grammar, of a folder with train, val and test, or of two files.

    Args:
        data: "grammar", a folder, or {"source": FILE, "target": FILE}, which is one split whatever it is called.
        size, seed: of what the grammar draws.
        max_words: tokens that a sentence of either side may have; 20 for the grammar, 60 for files.
        references: of each source, where the grammar knows several.
        languages: suffixes of the folder's files, the source's first.
        min_frequency: words that come less often in the training text are unknown.
        subwords: so many ids for each side, by sentencepiece, in place of words.
        vocabularies: a folder that `save_codecs` wrote, in place of what the training text has.
        skip, licence: as of `read_pairs`.
    """
    if references < 1:
        raise DescantError(f"references must be 1 or more, not {references}.")
    if data == GRAMMAR:
        return _grammar_pairs(
            split, size, seed, GRAMMAR_WORDS if max_words is None else max_words, references
        )
    words = FILE_WORDS if max_words is None else max_words
    files = _files(data, split, languages)
    if vocabularies is not None:
        codecs = load_codecs(vocabularies)
    else:
        train = _files(data, "train", languages)
        codecs = _codecs(*map(_stamp, train), words, min_frequency, subwords, skip)
    return make_pairs(read_pairs(*files, words, skip, licence), codecs, words, skip=skip)


@functools.lru_cache(maxsize=16)
def _grammar_pairs(split: str, size: int, seed: int, max_words: int, references: int) -> Pairs:
    text = grammar.generate(split, size, seed, max_words)
    return make_pairs(text, grammar.vocabularies(), max_words, references, known=True)


def _files(data: str | Mapping[str, str], split: str, languages: Sequence[str] | None) -> tuple[Path, Path]:
    if isinstance(data, str | Path):
        return folder_files(data, split, languages)
    if not isinstance(data, Mapping) or set(data) != {"source", "target"}:
        raise DescantError(
            f"data must be {GRAMMAR!r}, a folder, or {{'source': FILE, 'target': FILE}}, not {data!r}."
        )
    return Path(data["source"]), Path(data["target"])


def _stamp(path: Path) -> tuple[Path, int]:
    """A path with the time of its last change, so that what is kept of it does not outlive it."""
    return path, path.stat().st_mtime_ns if path.exists() else 0


@functools.lru_cache(maxsize=8)
def _codecs(
    source: tuple[Path, int],
    target: tuple[Path, int],
    max_words: int,
    min_frequency: int,
    subwords: int,
    skip: bool,
) -> tuple[Codec, Codec]:
    """What the training text's two sides are written in."""
    text = read_pairs(source[0], target[0], max_words, skip)
    one, two = (
        Subwords.train(side, subwords) if subwords else Vocabulary.build(side, min_frequency)
        for side in (text.source, text.target)
    )
    return one, two


def save_codecs(folder: str | Path, codecs: tuple[Codec, Codec]) -> None:
    """Write both sides' codecs into a folder, as `load_codecs` reads them."""
    for side, codec in zip(("source", "target"), codecs, strict=True):
        ending = "model" if isinstance(codec, Subwords) else "json"
        codec.save(Path(folder) / f"{side}.{ending}")


def load_codecs(folder: str | Path) -> tuple[Codec, Codec]:
    """The codecs of both sides. DescantError where the folder lacks one."""
    found: dict[str, Codec] = {}
    for name, kind in FILES.items():
        path = Path(folder) / name
        if path.exists():
            found[name.split(".")[0]] = kind.load(path)  # type: ignore[attr-defined]
    for side in ("source", "target"):
        if side not in found:
            raise DescantError(
                f"{folder} has no {side}.json or {side}.model: give a folder that save_codecs wrote."
            )
    return found["source"], found["target"]
