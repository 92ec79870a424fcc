"""Checkpoints: a folder of weights, state and manifest whole or not there, and verified on load."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DescantError
from ..version import __version__
from .digests import content_hash
from .files import sync_folder, temporary_prefix, write_file
from .rngs import restore_rng, rng_state

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

FORMAT = 1
WEIGHTS, STATE, MANIFEST = "weights.safetensors", "state.json", "manifest.json"
_writing: set[str] = set()  # folders that this process is writing now: its own process id says too little


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
    files = {WEIGHTS: _weights_bytes(weights), STATE: _json_bytes(dict(state))}
    files[MANIFEST] = _manifest_bytes(manifest, files)
    _refuse_other_content(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _clean(path)
        with _folder_aside(path, files) as new:
            _swap(path, new)
    except OSError as error:
        raise DescantError(
            f"cannot save the checkpoint {path}: {error}. The checkpoint before it, if any, is untouched: "
            "free some space or choose a folder that you may write to, then go on with --resume"
        ) from error


def load_checkpoint(path: Path) -> Checkpoint:
    """Read and verify the folder `path`; DescantError says what is missing, cut short or corrupt."""
    path = Path(os.path.abspath(path))
    for _ in range(10):
        whole = _whole_folder(path)
        before = _identity(whole)
        try:
            return _read(whole)
        except DescantError:
            if _identity(_whole_folder(path)) == before:
                raise  # and otherwise a save has put another checkpoint here while we read: read that one
    raise DescantError(f"{path} is replaced faster than it can be read: try again, or copy it first")


def checkpoint_exists(path: Path) -> bool:
    """Whether `load_checkpoint(path)` has a folder to read: it doesn't say that the bytes in it are right."""
    path = Path(os.path.abspath(path))
    return any((folder / MANIFEST).is_file() for folder in (path, _old(path)))


# writing


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


def _json_bytes(content: dict[str, Any]) -> bytes:
    try:
        return (json.dumps(content, indent=1, default=_plain) + "\n").encode()
    except (TypeError, ValueError) as error:
        raise DescantError(f"state and manifest of a checkpoint must be JSON: {error}") from error


def _plain(value: Any) -> Any:
    """NumPy scalars as Python's; anything else is not JSON."""
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{type(value).__name__} (arrays belong in the weights)")


def _manifest_bytes(manifest: Mapping[str, Any], files: Mapping[str, bytes]) -> bytes:
    content = {name: value for name, value in manifest.items() if name != "digest"}
    content |= {"format": FORMAT, "descant": __version__}
    content["files"] = {name: _fingerprint(data) for name, data in files.items()}
    content = json.loads(_json_bytes(content))  # the digest is of what a reader will see
    return _json_bytes(content | {"digest": content_hash(content)})


def _fingerprint(data: bytes) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def _refuse_other_content(path: Path) -> None:
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


def _old(path: Path) -> Path:
    return path.with_name(f".{path.name}.old")


def _clean(path: Path) -> None:
    """Remove what saves that were killed have left beside `path`."""
    if path.exists():  # and where it doesn't, the old one is the only one
        _remove(_old(path))
    for folder in path.parent.glob(f"{temporary_prefix(path)}*"):
        if folder.name not in _writing and not _is_alive(folder.name):
            _remove(folder)


def _is_alive(name: str) -> bool:
    """Whether another process that lives is writing the temporary folder `.NAME.tmp-PID-random`."""
    pid = name.rpartition(".tmp-")[2].partition("-")[0]
    if not pid.isdecimal() or int(pid) == os.getpid():
        return False
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True  # somebody else's process
    return True


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


@contextlib.contextmanager
def _folder_aside(path: Path, files: Mapping[str, bytes]) -> Iterator[Path]:
    """A folder beside `path` with the files, safe on the disk; gone afterwards if it was not renamed."""
    folder = path.with_name(f"{temporary_prefix(path)}{os.getpid()}-{secrets.token_hex(4)}")
    _writing.add(folder.name)
    try:
        folder.mkdir()
        for name, data in files.items():
            write_file(folder / name, data)
        sync_folder(folder)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _writing.discard(folder.name)


def _swap(path: Path, new: Path) -> None:
    """Rename the old checkpoint aside and the new one in: in between, a reader falls back on the old one."""
    old = _old(path)
    if path.exists():
        os.replace(path, old)
    try:
        os.replace(new, path)
    except OSError:
        if old.exists():
            os.replace(old, path)
        raise
    sync_folder(path.parent)
    _remove(old)


# reading


def _whole_folder(path: Path) -> Path:
    """The folder to read: `path`, or the old one if a save was killed between its two renames."""
    if path.is_dir():
        return path
    if path.exists():
        raise DescantError(f"{path} is a file, not a checkpoint: give the folder that holds {MANIFEST}")
    if _old(path).is_dir():
        return _old(path)
    raise DescantError(f"there is no checkpoint {path}: check the path, or train first")


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def _read(folder: Path) -> Checkpoint:
    from safetensors.torch import load

    manifest = _parse_manifest(folder, _file_bytes(folder, MANIFEST))
    weights, state = (_verified_bytes(folder, name, manifest) for name in (WEIGHTS, STATE))
    try:
        return Checkpoint(load(weights), _parse_object(folder / STATE, state), manifest)
    except DescantError:
        raise
    except (
        Exception
    ) as error:  # safetensors and torch name no common error: the bytes are right, the content isn't
        raise DescantError(f"{folder / WEIGHTS} can't be read: {error}. {_ADVICE}") from error


_ADVICE = "Use another checkpoint of the run, or train again"


def _parse_manifest(folder: Path, data: bytes) -> dict[str, Any]:
    manifest = _parse_object(folder / MANIFEST, data)
    version = manifest.get("format")
    if isinstance(version, int) and version > FORMAT:
        raise DescantError(
            f"{folder} has checkpoint format {version}, this descant {__version__} reads up to {FORMAT}: "
            f"upgrade descant (the checkpoint was written by {manifest.get('descant')})"
        )
    content = {name: value for name, value in manifest.items() if name != "digest"}
    # Compared with its own canonical form: then no changed byte goes unseen, not even in the white space.
    if manifest.get("digest") != content_hash(content) or _json_bytes(manifest) != data:
        raise DescantError(f"{folder / MANIFEST} is corrupt: its content and its digest differ. {_ADVICE}")
    return manifest


def _parse_object(path: Path, data: bytes) -> dict[str, Any]:
    try:
        content = json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise DescantError(f"{path} is not valid JSON ({error}): the file is corrupt. {_ADVICE}") from error
    if not isinstance(content, dict):
        raise DescantError(f"{path} is not a JSON object: the file is corrupt. {_ADVICE}")
    return content


def _verified_bytes(folder: Path, name: str, manifest: dict[str, Any]) -> bytes:
    """The bytes of a file, if they are those that the manifest says."""
    expected = manifest.get("files", {}).get(name)
    if expected is None:
        raise DescantError(f"{folder / MANIFEST} says nothing of {name}. {_ADVICE}")
    data = _file_bytes(folder, name)
    if len(data) != expected["bytes"]:
        fate = "truncated" if len(data) < expected["bytes"] else "not the one that was saved"
        raise DescantError(
            f"{folder}: {name} is {len(data):,} bytes, the manifest says {expected['bytes']:,}: "
            f"the file is {fate}. {_ADVICE}"
        )
    if _fingerprint(data) != expected:
        raise DescantError(f"{folder}: {name} is corrupt: its SHA-256 is not the manifest's. {_ADVICE}")
    return data


def _file_bytes(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except FileNotFoundError as error:
        raise DescantError(f"{folder} has no {name}: it is not a whole checkpoint. {_ADVICE}") from error
    except OSError as error:
        raise DescantError(f"{folder / name} can't be read: {error}") from error
