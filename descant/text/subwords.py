"""Subwords by sentencepiece: trained on a side of the training text, saved as one file."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from descant.errors import DescantError
from descant.files import write_atomically
from descant.text.vocabularies import BOS, EOS, PAD, UNK, until_eos


class Subwords:
    """Pieces of words by id, from the bytes of a sentencepiece model. Ids 0 to 3 are pad, bos, eos and unk."""

    def __init__(self, model: bytes, lowercase: bool = True) -> None:
        import sentencepiece

        self.model, self.lowercase = model, lowercase
        self._processor: Any = sentencepiece.SentencePieceProcessor()
        try:
            self._processor.LoadFromSerializedProto(model)
        except RuntimeError as error:
            raise DescantError(f"These are no subwords of sentencepiece: {error}.") from error
        ids = tuple(getattr(self._processor, f"{name}_id")() for name in ("pad", "bos", "eos", "unk"))
        if ids != (PAD, BOS, EOS, UNK):
            raise DescantError(
                f"Subwords must have pad, bos, eos and unk as ids 0 to 3, not {ids}: train anew."
            )

    @classmethod
    def train(
        cls, texts: Iterable[str], size: int, lowercase: bool = True, kind: str = "unigram"
    ) -> Subwords:
        """Exactly `size` ids, the four specials included, learned from texts. `kind`: "unigram" or "bpe".

        DescantError where the texts can't make so many, with what they can make.
        """
        import sentencepiece

        lines = (text.lower() if lowercase else text for text in texts)
        written = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(lines),
                model_writer=written,
                vocab_size=size,
                model_type=kind,
                character_coverage=1.0,
                num_threads=1,  # the same text makes the same subwords
                minloglevel=2,
                pad_id=PAD,
                bos_id=BOS,
                eos_id=EOS,
                unk_id=UNK,
            )
        except (RuntimeError, ValueError, OSError) as error:
            reason = str(error).rsplit("] ", 1)[-1].rstrip(".")
            raise DescantError(
                f"Cannot train {size} subwords: {reason}. Choose another size or more text."
            ) from error
        return cls(written.getvalue(), lowercase)

    def __len__(self) -> int:
        return int(self._processor.GetPieceSize())

    def encode(self, text: str) -> list[int]:
        """Ids of a text, without bos and eos; UNK for signs that the training text had not."""
        ids: list[int] = self._processor.EncodeAsIds(text.lower() if self.lowercase else text)
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids, up to the first EOS."""
        known = until_eos(ids)
        self.tokens(known)  # refuses ids that there are not
        text: str = self._processor.DecodeIds(known)
        return text

    def tokens(self, ids: Iterable[int]) -> list[str]:
        """The piece of each id; DescantError where one is outside."""
        found = []
        for i in ids:
            if not 0 <= i < len(self):
                raise DescantError(f"Token {i} is outside the subwords, which have 0..{len(self) - 1}.")
            found.append(str(self._processor.IdToPiece(int(i))))
        return found

    def save(self, path: Path) -> None:
        """Write in one step: a byte that says whether texts are lower-cased, then sentencepiece's model."""
        write_atomically(path, bytes([self.lowercase]) + self.model)

    @classmethod
    def load(cls, path: Path) -> Subwords:
        """What `save` wrote; DescantError for any other file."""
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            raise DescantError(f"Cannot read {path}: {error.strerror}. Give the path of subwords.") from error
        if content[:1] not in (b"\0", b"\1"):
            raise DescantError(f"{path} holds no subwords: give a file that Subwords.save wrote.")
        return cls(content[1:], content[0] == 1)
