"""Translations to learn from: pairs of token ids, shown as the episodes that write them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from descant.errors import DescantError
from descant.files import write_atomically
from descant.rollouts import Rollout
from descant.tasks import Bools, Ints
from descant.text.pairs import Pairs
from descant.text.vocabularies import EOS, PAD, UNK

NAMES = ("sources", "targets")


@dataclass(frozen=True, eq=False)
class Examples:
    """`n` pairs: sources int32[n, S] and targets int32[n, T], each with EOS at its end, then PAD.

    It looks like a `Rollout` of n rows and T steps, of which `take` makes the episodes that are asked for: all together
    they would show every prefix of every target.
    """

    sources: NDArray[np.int32]
    targets: NDArray[np.int32]

    @property
    def actions(self) -> Ints:
        """int64[T, n]."""
        return self.targets.T.astype(np.int64)

    @property
    def valid(self) -> Bools:
        """bool[T, n]: not where nothing is, nor where a word is unknown, which nobody can write."""
        found: Bools = ((self.targets != PAD) & (self.targets != UNK)).T
        return found

    @property
    def steps(self) -> int:
        """Tokens that can be learned."""
        return int(self.valid.sum())

    @property
    def lengths(self) -> Ints:
        """Tokens of each target, EOS included: int64[n]."""
        found: Ints = (self.targets != PAD).sum(axis=1).astype(np.int64)
        return found

    def take(self, rows: Any, written: NDArray[np.int32] | None = None) -> Rollout:
        """The episodes of rows int[k], as long as the longest. `written` int32[k, T]: other words to go on from."""
        targets, sources = self.targets[rows], self.sources[rows]
        steps, n = int((targets != PAD).sum(axis=1).max(initial=1)), len(targets)
        time = np.arange(steps)
        known = (targets if written is None else written)[None]
        observations = {
            "source": np.tile(sources[None], (steps, 1, 1)),
            "target": np.where(np.arange(targets.shape[1]) < time[:, None, None], known, np.int32(PAD)),
            "position": np.tile(time[:, None], (1, n)),
        }
        actions = targets[:, :steps].T.astype(np.int64)
        valid = (actions != PAD) & (actions != UNK)
        nothing = np.zeros(valid.shape, bool)
        starts = nothing.copy()
        starts[0] = True
        zeros = np.zeros(valid.shape)
        return Rollout(observations, actions, zeros, nothing, nothing, starts, valid, None, None)

    def save(self, path: Path) -> None:
        """Write as safetensors, in one step."""
        from safetensors.numpy import save

        write_atomically(path, save({"sources": self.sources, "targets": self.targets}))

    @classmethod
    def load(cls, path: str | Path, space: Any) -> Examples | None:
        """What `save` wrote, None for any other file; DescantError where it does not fit the space of observations."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            arrays = load_file(path)
        except (OSError, SafetensorError):
            return None  # whoever reads it otherwise says what is wrong
        if set(arrays) != set(NAMES):
            return None
        found = cls(*(np.ascontiguousarray(arrays[name]) for name in NAMES))
        shapes = {"source": found.sources.shape[1:], "target": found.targets.shape[1:]}
        spaces = getattr(space, "spaces", {})
        for name, values in (("source", found.sources), ("target", found.targets)):
            fits = name in spaces and spaces[name].shape == shapes[name]
            if not fits or not len(values) or values.min() < 0 or values.max() >= spaces[name].nvec[0]:
                raise DescantError(
                    f"The translations in {path} do not fit the environment: another vocabulary or another length of "
                    f"the {name}. Pretrain anew."
                )
        return found


def examples_of(pairs: Pairs, max_length: int) -> Examples:
    """What there is to learn of pairs; targets that are longer than `max_length` with EOS are left out.

    DescantError where none is left.
    """
    ids = [pairs.codecs[1].encode(target) for target in pairs.text.target]
    kept = [i for i, each in enumerate(ids) if len(each) < max_length]
    if not kept:
        raise DescantError(f"No translation is shorter than max_length ({max_length}): raise it.")
    targets = np.full((len(kept), max_length), PAD, np.int32)
    for row, i in zip(targets, kept, strict=True):
        row[: len(ids[i]) + 1] = [*ids[i], EOS]
    return Examples(np.ascontiguousarray(pairs.sources[kept]), targets)
