"""A run is a folder: its configuration, its metrics, its checkpoints."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..errors import DescantError
from ..version import __version__
from .checkpoints import checkpoint_exists
from .files import replace_file, temporary_prefix

FORMAT = 1
CONFIG = "config.json"
LOCK = ".lock"


class RunFolder:
    """`config.json`, `metrics.jsonl`, `checkpoints/NAME/`: begin one with `create`, go back with `open`.

    `config` is what the run was asked to do; `origin` says when, by which command and with which versions.
    """

    def __init__(self, path: Path, config: dict[str, Any], origin: dict[str, Any]) -> None:
        self.path = path
        self.config = config
        self.origin = origin

    @classmethod
    def create(cls, path: Path, config: Mapping[str, Any]) -> RunFolder:
        """Begin a run in `path`, a new or empty folder; DescantError where it isn't, or can't be written."""
        path = Path(os.path.abspath(path))
        origin = _origin()
        content = {"format": FORMAT, **origin, "config": dict(config)}
        try:
            data = (json.dumps(content, indent=1) + "\n").encode()
        except (TypeError, ValueError) as error:
            raise DescantError(f"the configuration of a run must be JSON: {error}") from error
        try:
            path.mkdir(parents=True, exist_ok=True)
            _refuse_content(path)
            replace_file(path / CONFIG, data)
        except OSError as error:
            raise DescantError(f"cannot begin a run in {path}: {error}. Choose another --out") from error
        return cls(path, json.loads(data)["config"], origin)

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """The run in `path`; DescantError where there is none, or a newer descant made it."""
        path = Path(os.path.abspath(path))
        content = _read_config(path)
        version = content.get("format")
        if isinstance(version, int) and version > FORMAT:
            raise DescantError(
                f"{path} is a run of format {version}, this descant {__version__} reads up to {FORMAT}: "
                f"upgrade descant (the run was made by {content.get('descant')})"
            )
        if version != FORMAT or not isinstance(content.get("config"), dict):
            raise DescantError(f"{path / CONFIG} is not the configuration of a run. {_WHAT_A_RUN_HAS}")
        origin = {name: value for name, value in content.items() if name not in ("format", "config")}
        return cls(path, content["config"], origin)

    @property
    def metrics_path(self) -> Path:
        return self.path / "metrics.jsonl"

    def checkpoint_path(self, name: str = "last") -> Path:
        """Where the checkpoint of that name is, or would be."""
        return self.path / "checkpoints" / name

    def has_checkpoint(self, name: str = "last") -> bool:
        """Whether there is such a checkpoint to load."""
        return checkpoint_exists(self.checkpoint_path(name))

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run for this process; DescantError where another does. The kernel frees it on death."""
        import fcntl

        with self._lock_file() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                holder = os.pread(file, 20, 0).decode(errors="replace") or "unknown"
                raise DescantError(
                    f"another process (id {holder}) is writing the run {self.path}: wait for it, stop it, "
                    "or choose another --out"
                ) from error
            os.ftruncate(file, 0)
            os.pwrite(file, str(os.getpid()).encode(), 0)
            try:
                yield
            finally:
                fcntl.flock(file, fcntl.LOCK_UN)  # closing is not enough: a forked child has the same lock

    @contextlib.contextmanager
    def _lock_file(self) -> Iterator[int]:
        try:
            file = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise DescantError(f"cannot lock the run {self.path}: {error}. Choose another --out") from error
        try:
            yield file
        finally:
            os.close(file)


def find_checkpoint(path: Path) -> Path:
    """The checkpoint `path` means: itself, or a run's `best`, or else its `last`; DescantError if none."""
    path = Path(os.path.abspath(path))
    for candidate in (path, path / "checkpoints" / "best", path / "checkpoints" / "last"):
        if checkpoint_exists(candidate):
            return candidate
    if not path.exists():
        raise DescantError(f"{path} does not exist: give the folder of a run, or of one of its checkpoints")
    if (path / CONFIG).is_file():
        raise DescantError(f"the run {path} has no checkpoint yet: train it on with --resume")
    raise DescantError(f"{path} is neither a run nor a checkpoint (manifest.json). {_WHAT_A_RUN_HAS}")


_WHAT_A_RUN_HAS = "A run folder has config.json, metrics.jsonl and checkpoints/"


def _origin() -> dict[str, Any]:
    """Where a run comes from: versions are read from the installed metadata, nothing is imported for it."""
    return {
        "descant": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": list(sys.argv),
        "python": ".".join(map(str, sys.version_info[:3])),
        "torch": _installed("torch"),
    }


def _installed(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _refuse_content(path: Path) -> None:
    """A new run needs an empty folder; what a creation that was killed left behind does not count."""
    prefix = temporary_prefix(path / CONFIG)
    if any(file.name != LOCK and not file.name.startswith(prefix) for file in path.iterdir()):
        is_run = (path / CONFIG).is_file()
        found = "already holds a run" if is_run else "is not empty"
        remedy = (
            "choose another --out, or pass --resume to go on with it" if is_run else "choose another --out"
        )
        raise DescantError(f"{path} {found}: {remedy}")


def _read_config(path: Path) -> dict[str, Any]:
    try:
        content = json.loads((path / CONFIG).read_bytes().decode())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DescantError(f"{path} is not a run: there is no {CONFIG}. {_WHAT_A_RUN_HAS}") from error
    except OSError as error:
        raise DescantError(f"cannot read {path / CONFIG}: {error}") from error
    except (ValueError, RecursionError) as error:
        raise DescantError(
            f"{path / CONFIG} is not JSON ({error}): restore it, or begin a new run"
        ) from error
    if not isinstance(content, dict):
        raise DescantError(f"{path / CONFIG} is not the configuration of a run. {_WHAT_A_RUN_HAS}")
    return content
