"""The cache of corpora: one safetensors file each, named by what the corpus depends on."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from descant.files import write_atomically
from descant.music.corpora import Corpus, corpus_files, digest_of, read_corpus

ARRAYS = ("offsets", "actions", "sounding", "on_grid", "bars")


def default_cache() -> Path:
    """Where caches are kept: XDG_CACHE_HOME/descant, by default ~/.cache/descant."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "descant"


def load_corpus(
    spec: str,
    cache: Path | None = None,
    workers: int | None = None,
    progress_bar: bool = False,
    read: Callable[..., Corpus] = read_corpus,
) -> Corpus:
    """The corpus of names, a folder or a file: from the cache where it is there, else read and put there.

    DescantError as of `corpus_files` and `read_corpus`, and where the cache can't be written.
    """
    files = corpus_files(spec)
    path = (cache or default_cache()) / "corpora" / f"{digest_of(files)}.safetensors"
    found = _cached(path)
    if found is None:
        found = read(files, workers, progress_bar)
        _keep(path, found)
    return found


def _cached(path: Path) -> Corpus | None:
    """What the cache has, None where it has nothing whole."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            plain = json.loads(file.metadata()["corpus"])
            arrays = {name: file.get_tensor(name) for name in ARRAYS}
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None
    arrays["on_grid"] = arrays["on_grid"].astype(bool)
    return Corpus(tuple(plain["titles"]), **arrays, skipped=plain["skipped"], reports=tuple(plain["reports"]))


def _keep(path: Path, corpus: Corpus) -> None:
    from safetensors.numpy import save

    plain = {"titles": corpus.titles, "skipped": corpus.skipped, "reports": corpus.reports}
    arrays = {name: np.ascontiguousarray(getattr(corpus, name)) for name in ARRAYS}
    arrays["on_grid"] = arrays["on_grid"].astype(np.uint8)
    write_atomically(path, save(arrays, {"corpus": json.dumps(plain)}))
