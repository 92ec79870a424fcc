"""Plans of the exact teacher, kept on disk: each is made once for all seeds and workers."""

from __future__ import annotations

import dataclasses
import functools
import io
from pathlib import Path

import numpy as np

from descant.files import write_atomically
from descant.tables import Table

FIELDS = tuple(field.name for field in dataclasses.fields(Table))


class Plans(dict[int, list[Table]]):
    """Tables of each step by problem; those that are not here are looked for in the folder, new ones left there."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def __contains__(self, problem: object) -> bool:
        if not super().__contains__(problem) and (file := self._file(problem)).exists():
            super().__setitem__(problem, _read(file))  # type: ignore[index]
        return super().__contains__(problem)

    def __setitem__(self, problem: int, tables: list[Table]) -> None:
        super().__setitem__(problem, tables)
        arrays = {f"{i}.{name}": getattr(table, name) for i, table in enumerate(tables) for name in FIELDS}
        np.savez_compressed(buffer := io.BytesIO(), **arrays)
        write_atomically(self._file(problem), buffer.getvalue())

    def _file(self, problem: object) -> Path:
        return self.folder / f"{problem}.npz"


@functools.cache
def plans_in(folder: str) -> Plans:
    """The plans in a folder, read once in each process."""
    return Plans(Path(folder))


def _read(file: Path) -> list[Table]:
    with np.load(file, allow_pickle=False) as arrays:
        count = len(arrays.files) // len(FIELDS)
        return [Table(**{name: arrays[f"{i}.{name}"] for name in FIELDS}) for i in range(count)]
