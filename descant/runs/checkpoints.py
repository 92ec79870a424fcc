"""Checkpoints: a folder of weights, state and manifest, whole or not there, and verified on load."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DescantError
from .manifests import ADVICE, MANIFEST, json_bytes, make_manifest, parse_object, read_manifest, read_verified
from .rngs import restore_rng, rng_state
from .swaps import aside, replace_folder

if TYPE_CHECKING:
    import numpy as np
    import torch

__all__ = [
    "Checkpoint",
    "checkpoint_exists",
    "load_checkpoint",
    "restore_rng",
    "rng_state",
    "save_checkpoint",
]

WEIGHTS, STATE = "weights.safetensors", "state.json"


@dataclass(frozen=True)
class Checkpoint:
    """What `load_checkpoint` gives back: named tensors on the CPU, and the two JSON dicts."""

    weights: dict[str, torch.Tensor]
    state: dict[str, Any]
    manifest: dict[str, Any]


def save_checkpoint(
    path: Path,
    weights: Mapping[str, torch.Tensor | np.ndarray],
    state: Mapping[str, Any],
    manifest: Mapping[str, Any],
) -> None:
    """Write the checkpoint folder `path`, replacing the checkpoint there; kill it when you like.

    `state` and `manifest` are JSON (big ints and NaN are fine, arrays belong in `weights`); the manifest gets
    `format`, `descant`, `files` and `digest` added. DescantError where the disk refuses or `path` holds
    something that is no checkpoint: what was there before is still there then.
    """
    path = Path(os.path.abspath(path))
    files = {WEIGHTS: _weights_bytes(weights), STATE: json_bytes(state)}
    files[MANIFEST] = make_manifest(manifest, files)
    try:
        refuse_other_content(path)
        replace_folder(path, files)
    except OSError as error:
        raise DescantError(
            f"cannot save the checkpoint {path}: {error}. The checkpoint before it, if any, is untouched: "
            "free some space or choose a folder that you may write to, then go on with --resume"
        ) from error


def load_checkpoint(path: Path) -> Checkpoint:
    """Read and verify the folder `path`; DescantError says what is missing, cut short or corrupt."""
    path = Path(os.path.abspath(path))
    for _ in range(100):
        before = _identities(path)
        try:
            return _read(_folder_to_read(path))
        except DescantError:
            if _identities(path) == before:
                raise  # and otherwise a save has put another checkpoint here while we read: read that one
        except OSError as error:
            raise DescantError(f"the checkpoint {path} can't be read: {error}. {ADVICE}") from error
    raise DescantError(f"{path} is replaced faster than it can be read: try again, or copy it first")


def checkpoint_exists(path: Path) -> bool:
    """Whether `load_checkpoint(path)` has a folder to read: it doesn't say that the bytes in it are right."""
    path = Path(os.path.abspath(path))
    return any(os.path.isfile(folder / MANIFEST) for folder in (path, aside(path)))


def _weights_bytes(weights: Mapping[str, torch.Tensor | np.ndarray]) -> bytes:
    from safetensors.torch import save

    data: bytes = save({name: _tensor(value) for name, value in weights.items()})
    return data


def _tensor(value: torch.Tensor | np.ndarray) -> torch.Tensor:
    """A contiguous copy on the CPU: safetensors refuses shared memory, and tied weights share it."""
    import numpy as np
    import torch

    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True).contiguous()
    array = np.asarray(value)
    return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("="), order="C", copy=True))


def refuse_other_content(path: Path) -> None:
    """Replacing a folder deletes it: so it must be a checkpoint, and hold nothing else."""
    if not path.exists():
        return
    if not path.is_dir():
        raise DescantError(f"{path} is a file: give another path for the checkpoint, or move the file away")
    if others := sorted({file.name for file in path.iterdir()} - {WEIGHTS, STATE, MANIFEST}):
        raise DescantError(
            f"{path} holds {others[0]!r}, which is no part of a checkpoint: saving here would delete it. "
            "Give another path for the checkpoint, or move its content away"
        )


def _folder_to_read(path: Path) -> Path:
    """`path`, or the old folder aside if a save was killed between its two renames."""
    if path.is_dir():
        return path
    if path.exists():
        raise DescantError(f"{path} is a file, not a checkpoint: give the folder that holds {MANIFEST}")
    if aside(path).is_dir():
        return aside(path)
    raise DescantError(f"there is no checkpoint {path}: check the path, or train first")


def _identities(path: Path) -> list[tuple[int, int] | None]:
    """Which folders are at `path` and aside it now: what changes while a save replaces the checkpoint."""
    return [_identity(path), _identity(aside(path))]


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_ino, status.st_ctime_ns


def _read(folder: Path) -> Checkpoint:
    from safetensors.torch import load

    manifest = read_manifest(folder)
    weights, state = (read_verified(folder, name, manifest) for name in (WEIGHTS, STATE))
    try:
        tensors = load(weights)
    except Exception as error:  # the library has no common error for bytes that are no safetensors
        raise DescantError(f"{folder / WEIGHTS} can't be read: {error}. {ADVICE}") from error
    return Checkpoint(tensors, parse_object(folder / STATE, state), manifest)
