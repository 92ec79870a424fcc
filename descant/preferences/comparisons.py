"""Comparisons: pairs of clips of one prompt and how likely the first is preferred, to learn from.

From a store (`descant prefs`), from an export of one, or made in Python: what people said of pairs without its times,
notes and sides.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from descant.errors import DescantError
from descant.preferences.connections import SQLITE
from descant.preferences.exchange import import_any
from descant.preferences.records import Clip, to_json
from descant.preferences.store import Store
from descant.tasks import Floats, Ints

SHARES = {"a": 1.0, "b": 0.0, "tie": 0.5, "both_bad": 0.5}  # of the first; a skip says nothing


@dataclass(frozen=True, eq=False)
class ClipComparisons:
    """`n` comparisons of `m` clips.

    Args:
        clips: the clips, m of them; the two of a comparison share environment and arguments.
        pairs: int[n, 2], rows of `clips`.
        preferred: float[n], how likely the first is preferred: 1, 0, 0.5 for ties, or a probability that is known.
        annotators: who said so, n names; empty for nobody in particular.
    """

    clips: tuple[Clip, ...]
    pairs: Ints
    preferred: Floats
    annotators: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        pairs, preferred = np.asarray(self.pairs), np.asarray(self.preferred, np.float64)
        n = len(pairs)
        if pairs.shape != (n, 2) or pairs.dtype.kind not in "iu" or preferred.shape != (n,):
            raise DescantError("Comparisons need pairs as whole numbers [n, 2] and preferred as numbers [n].")
        if n and not (pairs.min() >= 0 and pairs.max() < len(self.clips)):
            raise DescantError(f"pairs must be rows of the {len(self.clips)} clips, from 0.")
        if not ((preferred >= 0) & (preferred <= 1)).all():
            raise DescantError("preferred must be probabilities, 0 to 1, that the first clip is preferred.")
        if self.annotators and len(self.annotators) != n:
            raise DescantError(f"annotators must be {n} names, one a comparison, or none.")
        prompts = [to_json(clip.prompt_parts) for clip in self.clips]
        for a, b in pairs.tolist():
            if prompts[a] != prompts[b]:
                raise DescantError(f"Clips {a} and {b} are compared but differ in environment or arguments.")
        object.__setattr__(self, "pairs", pairs.astype(np.int64))
        object.__setattr__(self, "preferred", preferred)

    def __len__(self) -> int:
        return len(self.pairs)

    def take(self, rows: Any) -> ClipComparisons:
        """The chosen comparisons (int[k] or bool[n]), with the same clips."""
        rows = np.arange(len(self))[rows]
        names = tuple(self.annotators[i] for i in rows) if self.annotators else ()
        return dataclasses.replace(
            self, pairs=self.pairs[rows], preferred=self.preferred[rows], annotators=names
        )

    def split(self, share: float, seed: int | Sequence[int]) -> tuple[Ints, Ints]:
        """Rows to learn from and rows held out, about `share` of the pairs: what is said of one pair stays together.

        DescantError where there are fewer than two pairs.
        """
        _, pair = np.unique(np.sort(self.pairs, axis=1), axis=0, return_inverse=True)
        pair = pair.reshape(-1)
        different = int(pair.max(initial=-1)) + 1
        if different < 2:
            raise DescantError("There is a single pair of clips: compare two or more, one to hold out.")
        held = min(max(round(different * share), 1), different - 1)
        out = np.isin(pair, np.random.default_rng(seed).permutation(different)[:held])
        return np.flatnonzero(~out), np.flatnonzero(out)


def comparisons_of(store: Store, annotators: Iterable[str] = ()) -> ClipComparisons:
    """What stands in a store, of all annotators or of those named; skips are left out, ties and both bad count half."""
    wanted = set(annotators)
    clips = {clip.hash: clip for clip in store.clips()}
    pairs = {pair.uuid: pair for pair in store.pairs()}
    said = [j for j in store.standing() if j.choice in SHARES and (not wanted or j.annotator in wanted)]
    asked = [pairs[j.pair] for j in said]
    row = {hash: i for i, hash in enumerate(dict.fromkeys(h for pair in asked for h in (pair.a, pair.b)))}
    return ClipComparisons(
        tuple(clips[hash] for hash in row),
        np.array([(row[pair.a], row[pair.b]) for pair in asked], np.int64).reshape(-1, 2),
        np.array([SHARES[str(j.choice)] for j in said], np.float64),
        tuple(j.annotator for j in said),
    )


def read_comparisons(path: str | Path, annotators: Iterable[str] = ()) -> ClipComparisons:
    """The comparisons of a store, or of an export of one (JSON lines, or a folder of CSV files).

    DescantError where it is neither, where lines of it are broken, or where nothing was judged.
    """
    path = Path(path)
    if _is_store(path):
        with Store(path, read_only=True) as store:
            found = comparisons_of(store, annotators)
    else:
        with tempfile.TemporaryDirectory() as folder, Store.create(Path(folder) / "export.db") as store:
            report = import_any(store, path)
            if report.skipped:
                raise DescantError(
                    f"{report.skipped} lines of {path} can't be read ({report.reasons[0]}): mend them, or take in the "
                    "others with descant prefs import."
                )
            found = comparisons_of(store, annotators)
    if not len(found):
        raise DescantError(f"{path} holds no comparisons yet: judge pairs with descant prefs label.")
    return found


def _is_store(path: Path) -> bool:
    """Whether the file is one of SQLite; what is wrong with it is said by whoever opens it."""
    try:
        with open(path, "rb") as file:
            return file.read(len(SQLITE)) == SQLITE
    except OSError:
        return False
