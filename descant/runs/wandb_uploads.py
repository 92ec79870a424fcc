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
    waiting = [session for session in sessions if not list(session.glob("*.wandb.synced"))]
    if waiting:
        _reach(f"{len(waiting)} offline runs are kept below {folder}")
    known = {_id(session) for session in sessions if session not in waiting}
    for session in waiting:
        _upload(session, again=_id(session) in known)
        known.add(_id(session))
    return waiting


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


def _upload(session: Path, again: bool) -> None:
    """One session; `again` where an earlier one of the same run is at the server."""
    command = [*COMMAND, *(["--append"] if again else []), str(session)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = (done.stdout + done.stderr).strip().splitlines() or ["no reason given"]
        raise DescantError(
            f"{session} can't be uploaded: {lines[-1]} It is kept; give --wandb-sync again to go on."
        )


def _id(session: Path) -> str:
    return session.name.rpartition("-")[2]
