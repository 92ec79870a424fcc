"""Upload of what was written offline for Weights & Biases."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from ..errors import DescantError
from .mirrors import has_key
from .wandb_files import offline_runs

COMMAND = [sys.executable, "-m", "wandb", "sync"]
PATIENCE_SECONDS = 5.0


def upload(folder: Path) -> list[Path]:
    """Upload every offline session below a folder that is not at the server yet; those uploaded, oldest first.

    DescantError where there is none at all, no key, no way to the server, or the server refuses: nothing is lost, and
    what had been uploaded is not uploaded again the next time.
    """
    sessions = offline_runs(folder)
    if not sessions:
        raise DescantError(f"{folder} has no offline run of Weights & Biases: nothing to upload.")
    waiting = [session for session in sessions if not _is_synced(session)]
    if waiting:
        kept = f"{len(waiting)} offline runs are kept below {folder}"
        _reach(kept)
        _sync(waiting, kept)
    return waiting


def _is_synced(session: Path) -> bool:
    return bool(list(session.glob("*.wandb.synced")))


def _reach(kept: str) -> None:
    """DescantError where there is no key, or the server does not answer."""
    if not has_key():
        raise DescantError(
            f"{kept}, but there is no key: set WANDB_API_KEY or run `wandb login`, then give --wandb-sync again."
        )
    url = urlsplit(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai")
    if url.scheme in getproxies():
        return
    try:
        address = (url.hostname or "", url.port or (80 if url.scheme == "http" else 443))
        socket.create_connection(address, PATIENCE_SECONDS).close()
    except OSError as error:
        raise DescantError(
            f"{kept}, but {url.netloc} can't be reached ({error}): give --wandb-sync again when there is a network."
        ) from error


def _sync(sessions: list[Path], kept: str) -> None:
    """Upload by W&B's command, which puts sessions of one run in order, and says 0 even where the server refused."""
    done = subprocess.run([*COMMAND, *map(str, sessions)], capture_output=True, text=True, check=False)
    left = [session for session in sessions if not _is_synced(session)]
    if left:
        lines = (done.stdout + done.stderr).strip().splitlines()
        reason = next((line for line in lines if "ERROR" in line), lines[-1] if lines else "no reason given")
        raise DescantError(
            f"{kept}, of which {len(left)} could not be uploaded ({reason.removeprefix('wandb: ')}): "
            "give --wandb-sync again to go on."
        )
