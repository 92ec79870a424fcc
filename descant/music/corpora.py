"""Corpora: thousands of tunes from music21's collections or a folder of files, read once and cached.

essen    Essen folk song collection, 8,514 songs          airds  Aird's Airs (1782 to 1803), 1,180 tunes
oneills  O'Neill's Music of Ireland (1903), 2,009 tunes   ryans  Ryan's Mammoth Collection (1883), 1,059 tunes
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from descant.errors import DescantError, did_you_mean
from descant.music.tune_files import READERS, read_tunes
from descant.music.tunes import BadTune, GridTune, to_grid
from descant.tasks import Ints

COLLECTIONS = {
    "essen": "essenFolksong",
    "airds": "airdsAirs",
    "oneills": "oneills1850",
    "ryans": "ryansMammoth",
}
VERSION = 1  # of the reading: a change to what comes out of a file makes old caches void
BATCH_BYTES = 100_000  # of files that a process reads at a time
SMALL = 4 * BATCH_BYTES  # to start processes takes longer than to read this


@dataclass(frozen=True)
class Corpus:
    """Tunes on the grid, one behind the other, and what was left out.

    `offsets` int64[n + 1] says where each begins among the steps [S]; `bars` int64[B], where whole bars begin. The
    other arrays are a `GridTune`'s. `skipped` counts tunes and files left out by reason, `reports` names them.
    """

    titles: tuple[str, ...]
    offsets: Ints
    actions: NDArray[np.int8]
    sounding: NDArray[np.int8]
    on_grid: NDArray[np.bool_]
    bars: Ints
    skipped: dict[str, int]
    reports: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.titles)

    def tune(self, number: int) -> NDArray[np.int8]:
        """The actions of one tune, int8[steps]."""
        return self.actions[self.offsets[number] : self.offsets[number + 1]]


def corpus_files(spec: str) -> list[Path]:
    """The files of a corpus in order: names of collections with commas between, a folder, or a file.

    DescantError for an unknown name, a folder without tunes, or where music21, which carries them, is not installed.
    """
    path = Path(spec).expanduser()
    if path.is_file():
        return [path]
    if spec and path.is_dir():  # no name at all would be the folder one is in
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in READERS and file.is_file())
        if not files:
            raise DescantError(f"{spec} has no tune files: put {', '.join(sorted(READERS))} files there.")
        return files
    names = [name.strip() for name in spec.split(",") if name.strip()]
    for name in names or [spec]:
        if name not in COLLECTIONS:
            raise DescantError(
                f"{name!r} is no corpus, file or folder.{did_you_mean(name, COLLECTIONS)} Or give a folder of files."
            )
    root = _collections()
    return [
        file for name in dict.fromkeys(names) for file in sorted((root / COLLECTIONS[name]).glob("*.abc"))
    ]


def _collections() -> Path:
    """music21's folder of collections; music21 itself is not imported, which would take a second."""
    found = importlib.util.find_spec("music21")
    if found is None or found.origin is None:
        raise DescantError(
            "The collections come with music21, which is not installed: pip install 'descant[corpora]'. "
            "Or give a folder of files."
        )
    return Path(found.origin).parent / "corpus"


def read_corpus(files: Sequence[Path], workers: int | None = None, progress_bar: bool = False) -> Corpus:
    """Read files with so many processes (one for each core); a file or tune that can't be used is left out, and said.

    Equal tunes are kept once. DescantError where no tune is left.
    """
    from descant.runs.progress import progress

    found: list[GridTune | BadTune] = []
    with progress(len(files), "reading tunes", enabled=progress_bar) as bar:
        done = 0
        for count, batch in _batches_read(files, workers or os.cpu_count() or 1):
            found += batch
            done += count
            bar.update(done)
    return _gathered(found)


def _batches_read(files: Sequence[Path], workers: int) -> Iterator[tuple[int, list[GridTune | BadTune]]]:
    """How many files each batch has and what is in them, in order."""
    batches = _batches(files)
    if workers == 1 or sum(_size(file) for file in files) < SMALL:
        yield from ((len(batch), _read(batch)) for batch in batches)
        return
    with ProcessPoolExecutor(min(workers, len(batches)), get_context("spawn")) as pool:
        yield from zip(map(len, batches), pool.map(_read, batches), strict=True)


def _batches(files: Sequence[Path]) -> list[list[Path]]:
    batches: list[list[Path]] = []
    left = 0
    for file in files:
        if left <= 0:
            batches.append([])
            left = BATCH_BYTES
        batches[-1].append(file)
        left -= _size(file)
    return batches


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _read(files: Sequence[Path]) -> list[GridTune | BadTune]:
    """All tunes of some files on the grid, the reason in place of those that can't be used."""
    found: list[GridTune | BadTune] = []
    for file in files:
        try:
            tunes = read_tunes(file)
        except DescantError as error:
            found.append(BadTune("unreadable", str(error)))
            continue
        for tune in tunes:
            try:
                if isinstance(tune, BadTune):
                    raise tune
                found.append(to_grid(tune))
            except BadTune as error:
                found.append(BadTune(error.reason, f"{file.name}: {error}"))
    return found


def _gathered(found: Sequence[GridTune | BadTune]) -> Corpus:
    bad = [tune for tune in found if isinstance(tune, BadTune)]
    tunes: dict[bytes, GridTune] = {}
    for tune in found:
        if isinstance(tune, GridTune):
            tunes.setdefault(tune.actions.tobytes(), tune)
    if not tunes:
        first = f" The first: {bad[0]}" if bad else ""
        raise DescantError(f"No tune of the corpus can be used.{first}")
    kept = list(tunes.values())
    skipped = Counter(tune.reason for tune in bad)
    if repeated := len(found) - len(bad) - len(kept):
        skipped["duplicate"] = repeated
    offsets = np.cumsum([0, *(len(tune.actions) for tune in kept)], dtype=np.int64)
    return Corpus(
        tuple(tune.title for tune in kept),
        offsets,
        np.concatenate([tune.actions for tune in kept]),
        np.concatenate([tune.sounding for tune in kept]),
        np.concatenate([tune.on_grid for tune in kept]),
        np.concatenate([tune.bars + offset for tune, offset in zip(kept, offsets, strict=False)]).astype(
            np.int64
        ),
        dict(skipped),
        tuple(str(tune) for tune in bad),
    )


def digest_of(files: Sequence[Path]) -> str:
    """What a corpus depends on: the files' contents and the version of the reading."""
    digest = hashlib.sha256(f"descant corpus {VERSION}".encode())
    for file in files:
        content = file.read_bytes() if _size(file) < 1 << 26 else str(_size(file)).encode()
        digest.update(hashlib.sha256(content).digest() + file.suffix.lower().encode())
    return digest.hexdigest()[:32]
