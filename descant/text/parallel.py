"""Parallel text from plain files: one sentence a line, the same line of both files a pair."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from descant.errors import DescantError, did_you_mean

SPLITS = ("train", "val", "test")
MAX_WORDS = 100


@dataclass(frozen=True)
class ParallelText:
    """Pairs of sentences with where they came from: `lines` count from 1 in both files."""

    source: tuple[str, ...]
    target: tuple[str, ...]
    lines: tuple[int, ...]
    files: tuple[str, str]
    manifest: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.source)

    def place(self, pair: int, side: int = 0) -> str:
        """File and line of a pair, for a message."""
        return f"{self.files[side]}:{self.lines[pair]}"


def read_pairs(
    source: str | Path,
    target: str | Path,
    max_words: int = MAX_WORDS,
    skip: bool = False,
    licence: str = "",
) -> ParallelText:
    """The pairs of two files. Sentences are stripped of spaces around them.

    Args:
        max_words: words (by spaces) that a sentence of either side may have.
        skip: leave out pairs with an empty line, bytes that are no UTF-8 or too many words, and count them in the
            manifest, in place of an error at the first of them.
        licence: a note for the manifest.

    Raises:
        DescantError: a file that can't be read, files of different length, no pair at all, and without `skip` what
            that would leave out; with file and line.
    """
    paths = (Path(source), Path(target))
    contents = [_read(path) for path in paths]
    sides = [_lines(content) for content in contents]
    _refuse_unequal(paths, sides)
    kept: list[tuple[str, str, int]] = []
    skipped: Counter[str] = Counter()
    for number, pair in enumerate(zip(*sides, strict=True), start=1):
        texts = [_decode(line) for line in pair]
        faults = [_fault(text, max_words) for text in texts]
        wrong = next((side for side, fault in enumerate(faults) if fault), None)
        if wrong is None:
            kept.append((texts[0] or "", texts[1] or "", number))
            continue
        kind, words = faults[wrong] or ("", "")
        if not skip:
            raise DescantError(
                f"{paths[wrong]}:{number}: {words}. Mend the line, or leave such pairs out (--set skip=true)."
            )
        skipped[kind] += 1
    if not kept:
        raise DescantError(
            f"{paths[0]} and {paths[1]} have no pair to use: {dict(skipped) or 'they are empty'}."
        )
    manifest: dict[str, Any] = {
        side: {"path": str(path), "sha256": hashlib.sha256(content).hexdigest(), "lines": len(lines)}
        for side, path, content, lines in zip(("source", "target"), paths, contents, sides, strict=True)
    }
    manifest |= {"pairs": len(kept), "skipped": dict(skipped), "max_words": max_words, "licence": licence}
    texts_of, translated, numbers = zip(*kept, strict=True)
    return ParallelText(texts_of, translated, numbers, (str(paths[0]), str(paths[1])), manifest)


def folder_files(folder: str | Path, split: str, languages: Sequence[str] | None = None) -> tuple[Path, Path]:
    """The two files of a split, `train.de` and `train.en` say: the source's language first.

    `languages` may be left out where the folder has two, which are then taken by alphabet. DescantError otherwise.
    """
    root = Path(folder)
    if split not in SPLITS:
        raise DescantError(f"Unknown split {split!r}.{did_you_mean(split, SPLITS)}")
    if not root.is_dir():
        raise DescantError(f"{root} is no folder: give one with {', '.join(f'{s}.xx' for s in SPLITS)}.")
    found = sorted(path.suffix[1:] for path in root.glob(f"{split}.*") if path.is_file() and path.suffix)
    wanted = list(languages) if languages else found
    if len(wanted) != 2 or len(set(wanted)) != 2:
        raise DescantError(
            f"{root} has {split} in {', '.join(found) or 'no language'}: say which two, the source's first "
            "(languages=['de', 'en'])."
        )
    for language in wanted:
        if language not in found:
            raise DescantError(f"{root} has no {split}.{language}.{did_you_mean(language, found)}")
    return root / f"{split}.{wanted[0]}", root / f"{split}.{wanted[1]}"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DescantError(f"Cannot read {path}: {error.strerror}. Give the path of a text file.") from error


def _lines(content: bytes) -> list[bytes]:
    """Lines end with a line feed; the last may lack it. A byte order mark in front is no text."""
    text = content.removeprefix(b"\xef\xbb\xbf")
    return text.removesuffix(b"\n").split(b"\n") if text else []


def _refuse_unequal(paths: Sequence[Path], sides: Sequence[Sequence[bytes]]) -> None:
    """Lines that lack a partner mean that all after some place are paired wrongly, so they are never skipped."""
    counts = [len(side) for side in sides]
    if counts[0] != counts[1]:
        longer = counts.index(max(counts))
        raise DescantError(
            f"{paths[longer]}:{min(counts) + 1} has no partner: {paths[0]} has {counts[0]} lines, {paths[1]} "
            f"{counts[1]}. Give files whose lines are pairs."
        )


def _decode(line: bytes) -> str | None:
    try:
        return line.decode("utf-8").strip()
    except UnicodeDecodeError:
        return None


def _fault(text: str | None, max_words: int) -> tuple[str, str] | None:
    """A name and a sentence for what is wrong with a line; None where it is fine."""
    if text is None:
        return "invalid UTF-8", "the line is no UTF-8"
    if not text:
        return "empty", "the line is empty"
    words = len(text.split())
    if words > max_words:
        return "too long", f"the sentence has {words} words, more than max_words ({max_words})"
    return None
