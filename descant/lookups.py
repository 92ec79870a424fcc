"""Observations as rows of a table: each distinct one gets an index, in order of appearance."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from descant.errors import DescantError
from descant.tasks import Floats, Ints

UNBOUNDED = 1e6  # a bound of a Box beyond this says nothing of where its values lie


class Lookup:
    """Finds the index of an observation by its bytes.

    With `bins`, each column of a Box is cut into so many equal parts (one without bounds is squeezed by x / (1 + |x|)
    first), so that states of a continuous world fall together; without, only equal observations do.
    """

    def __init__(self, space: spaces.Space[Any], bins: int = 0) -> None:
        if bins < 0:
            raise DescantError(f"bins must be 0 (none) or more, not {bins}.")
        self.space, self.bins = space, bins
        self._place: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._place)

    def find(self, observation: Any) -> Ints:
        """Index of each row, int[n], -1 where it was never added."""
        return np.array([self._place.get(code, -1) for code in self._codes(observation)], np.int64)

    def add(self, observation: Any) -> Ints:
        """The same, with those that are new added at the end."""
        place = self._place
        return np.array([place.setdefault(code, len(place)) for code in self._codes(observation)], np.int64)

    def to_array(self) -> NDArray[np.uint8]:
        """All that was added, uint8[len, bytes], for a checkpoint."""
        width = len(next(iter(self._place), b""))
        return np.frombuffer(b"".join(self._place), np.uint8).reshape(len(self), width)

    def from_array(self, codes: NDArray[np.uint8]) -> None:
        """Take back what `to_array` gave."""
        self._place = {row.tobytes(): i for i, row in enumerate(codes)}

    def _codes(self, observation: Any) -> list[bytes]:
        whole = _bytes(observation, self.space, self.bins)
        width = whole.shape[1]
        flat = whole.tobytes()
        return [flat[i : i + width] for i in range(0, len(flat), width)]


def _bytes(observation: Any, space: spaces.Space[Any], bins: int) -> NDArray[np.uint8]:
    """uint8[n, bytes]: equal rows for equal observations, whatever their dtype was."""
    if isinstance(space, spaces.Dict):
        parts = [_bytes(observation[key], part, bins) for key, part in space.spaces.items()]
        return np.concatenate(parts, axis=1)
    rows = np.asarray(observation)
    if isinstance(space, spaces.Box) and bins:
        rows = _binned(rows.reshape(len(rows), -1).astype(np.float64), space, bins)
    else:
        rows = rows.astype(space.dtype) + space.dtype.type(0)  # type: ignore[union-attr] # -0.0 is 0.0
    return np.ascontiguousarray(rows.reshape(len(rows), -1)).view(np.uint8)


def _binned(rows: Floats, space: spaces.Box, bins: int) -> Ints:
    """The bin of each column, int[n, columns]."""
    low, high = (np.ravel(bound).astype(np.float64) for bound in (space.low, space.high))
    bounded = (np.abs(low) < UNBOUNDED) & (np.abs(high) < UNBOUNDED)
    low, high = np.where(bounded, low, -1.0), np.where(bounded, high, 1.0)
    squeezed = np.where(bounded, rows, rows / (1 + np.abs(rows)))
    share = (squeezed - low) / np.maximum(high - low, 1e-12)
    return np.clip((share * bins).astype(np.int64), 0, bins - 1)
