"""Word vocabularies: the words that come often enough, after four special tokens with fixed ids."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from descant.errors import DescantError
from descant.files import write_atomically
from descant.text.words import detokenize, tokenize

SPECIALS = ("<pad>", "<bos>", "<eos>", "<unk>")
PAD, BOS, EOS, UNK = range(4)


class Codec(Protocol):
    """What turns text into ids and back: a vocabulary of words, or subwords. Ids 0 to 3 are pad, bos, eos, unk."""

    def __len__(self) -> int:
        """How many ids there are, the specials included."""
        ...

    def encode(self, text: str) -> list[int]:
        """Ids of a text, without bos and eos; what is not known is UNK."""
        ...

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids, up to the first EOS; other specials are left out, but UNK shows."""
        ...

    def tokens(self, ids: Iterable[int]) -> list[str]:
        """The token of each id."""
        ...

    def save(self, path: Path) -> None:
        """Write to a file in one step."""
        ...


class Vocabulary:
    """Words by id. Ids 0 to 3 are pad, bos, eos and unk; the others follow in the order given.

    Args:
        words: distinct, none of them a special token.
        lowercase: whether texts are lower-cased before they are looked up.
    """

    def __init__(self, words: Sequence[str], lowercase: bool = True) -> None:
        self.words, self.lowercase = (*SPECIALS, *words), lowercase
        self._ids = {word: i for i, word in enumerate(self.words)}
        if len(self._ids) != len(self.words):
            twice = next(word for word, count in Counter(self.words).items() if count > 1)
            raise DescantError(f"A vocabulary has {twice!r} twice: its words must be distinct.")

    @classmethod
    def build(cls, texts: Iterable[str], min_frequency: int = 1, lowercase: bool = True) -> Vocabulary:
        """The words that come at least `min_frequency` times, most frequent first, then by alphabet."""
        if min_frequency < 1:
            raise DescantError(f"min_frequency must be 1 or more, not {min_frequency}.")
        counts = Counter(word for text in texts for word in tokenize(text, lowercase))
        kept = sorted((w for w, n in counts.items() if n >= min_frequency), key=lambda w: (-counts[w], w))
        if not kept:
            most = max(counts.values(), default=0)
            raise DescantError(
                f"No word comes {min_frequency} times (the most frequent {most}), so all would be unknown: lower "
                "min_frequency or give more text."
            )
        return cls([word for word in kept if word not in SPECIALS], lowercase)

    def __len__(self) -> int:
        return len(self.words)

    def __eq__(self, other: object) -> bool:
        same = isinstance(other, Vocabulary) and self.words == other.words
        return same and self.lowercase == getattr(other, "lowercase", None)

    __hash__ = None  # type: ignore[assignment]

    def encode(self, text: str) -> list[int]:
        """Ids of a text's words, without bos and eos; UNK for those not known."""
        return [self._ids.get(word, UNK) for word in tokenize(text, self.lowercase)]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids, up to the first EOS; pad and bos are left out."""
        return detokenize(self.tokens(until_eos(ids)))

    def tokens(self, ids: Iterable[int]) -> list[str]:
        """The word of each id; DescantError where one is outside the vocabulary."""
        return [self.words[_checked(i, len(self))] for i in ids]

    def save(self, path: Path) -> None:
        """Write as JSON, in one step."""
        data = {"kind": "words", "lowercase": self.lowercase, "words": self.words[len(SPECIALS) :]}
        write_atomically(path, json.dumps(data, ensure_ascii=False).encode())

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """What `save` wrote; DescantError for any other file."""
        data = _read_json(path)
        words, lowercase = data.get("words"), data.get("lowercase")
        fits = isinstance(words, list) and all(isinstance(word, str) for word in words)
        if data.get("kind") != "words" or not fits or not isinstance(lowercase, bool):
            raise DescantError(f"{path} is no vocabulary: give a file that Vocabulary.save wrote.")
        return cls(words, lowercase)  # type: ignore[arg-type]


def until_eos(ids: Iterable[int]) -> list[int]:
    """Ids before the first EOS, without pad and bos."""
    kept = []
    for i in ids:
        if i == EOS:
            break
        if i not in (PAD, BOS):
            kept.append(int(i))
    return kept


def _checked(i: int, size: int) -> int:
    if not 0 <= i < size:
        raise DescantError(f"Token {i} is outside the vocabulary, which has 0..{size - 1}.")
    return int(i)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise DescantError(f"Cannot read {path}: {error.strerror}. Give the path of a vocabulary.") from error
    except ValueError as error:
        raise DescantError(f"{path} is no vocabulary: it is not JSON ({error}).") from error
    return data if isinstance(data, dict) else {}
