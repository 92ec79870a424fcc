"""Manifests: what a checkpoint's files must be, so that no changed byte goes unseen."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import DescantError
from ..version import __version__
from .digests import content_hash

FORMAT = 1
MANIFEST = "manifest.json"
ADVICE = "Use another checkpoint of the run, or train again"


def json_bytes(content: Mapping[str, Any]) -> bytes:
    """The content as JSON, big ints and NaN included; DescantError where it is not JSON-able."""
    try:
        return (json.dumps(dict(content), indent=1, default=_plain) + "\n").encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise DescantError(f"state and manifest of a checkpoint must be JSON: {error}") from error


def make_manifest(content: Mapping[str, Any], files: Mapping[str, bytes]) -> bytes:
    """The bytes of a manifest: the content, the format, the version, and each file's size and SHA-256."""
    whole = {name: value for name, value in content.items() if name != "digest"}
    whole |= {"format": FORMAT, "descant": __version__}
    whole["files"] = {name: _fingerprint(data) for name, data in files.items()}
    whole = json.loads(json_bytes(whole))  # the digest is of what a reader will see
    return json_bytes(whole | {"digest": content_hash(whole)})


def read_manifest(folder: Path) -> dict[str, Any]:
    """The folder's manifest; DescantError where it is missing, changed or of a newer format."""
    data = read_bytes(folder, MANIFEST)
    manifest = parse_object(folder / MANIFEST, data)
    version = manifest.get("format")
    if isinstance(version, int) and version > FORMAT:
        raise DescantError(
            f"{folder} has checkpoint format {version}, this descant {__version__} reads up to {FORMAT}: "
            f"upgrade descant (the checkpoint was written by {manifest.get('descant')})"
        )
    content = {name: value for name, value in manifest.items() if name != "digest"}
    # Compared with its own canonical form: then no changed byte goes unseen, not even in the white space.
    if manifest.get("digest") != content_hash(content) or json_bytes(manifest) != data:
        raise DescantError(f"{folder / MANIFEST} is corrupt: its content and its digest differ. {ADVICE}")
    return manifest


def read_verified(folder: Path, name: str, manifest: Mapping[str, Any]) -> bytes:
    """The bytes of the folder's file `name`, if they are those that the manifest says."""
    files = manifest.get("files")
    expected = files.get(name) if isinstance(files, dict) else None
    if not isinstance(expected, dict) or not isinstance(expected.get("bytes"), int):
        raise DescantError(f"{folder / MANIFEST} does not say what {name} must be. {ADVICE}")
    data = read_bytes(folder, name)
    if len(data) != expected["bytes"]:
        fate = "truncated" if len(data) < expected["bytes"] else "not the one that was saved"
        raise DescantError(
            f"{folder}: {name} is {len(data):,} bytes, the manifest says {expected['bytes']:,}: "
            f"the file is {fate}. {ADVICE}"
        )
    if _fingerprint(data) != expected:
        raise DescantError(f"{folder}: {name} is corrupt: its SHA-256 is not the manifest's. {ADVICE}")
    return data


def read_bytes(folder: Path, name: str) -> bytes:
    """The bytes of the folder's file `name`; DescantError where there is none."""
    try:
        return (folder / name).read_bytes()
    except FileNotFoundError as error:
        raise DescantError(f"{folder} has no {name}: it is not a whole checkpoint. {ADVICE}") from error
    except OSError as error:
        raise DescantError(f"{folder / name} can't be read: {error}. {ADVICE}") from error


def parse_object(path: Path, data: bytes) -> dict[str, Any]:
    """The JSON object that the bytes of `path` are; DescantError where they aren't."""
    try:
        content = json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise DescantError(f"{path} is not valid JSON ({error}): the file is corrupt. {ADVICE}") from error
    if not isinstance(content, dict):
        raise DescantError(f"{path} is not a JSON object: the file is corrupt. {ADVICE}")
    return content


def _fingerprint(data: bytes) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def _plain(value: Any) -> Any:
    """NumPy's and torch's scalars as Python's; anything else is not JSON."""
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        return value.item()
    raise TypeError(f"it holds a {type(value).__name__} (arrays belong in the weights)")
