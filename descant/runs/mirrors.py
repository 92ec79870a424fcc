"""The dashboards that mirror metrics.jsonl: TensorBoard, and Weights & Biases."""

from __future__ import annotations

import contextlib
import math
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from ..errors import DescantError
from .files import replace_file
from .metrics import plain_values
from .trackers import Tracker


class TensorBoardTracker(Tracker):
    """Writes event files to `folder`; on resume TensorBoard forgets the later steps.

    The numbers are rounded to single precision, as TensorBoard's classic scalars are: most readers of event
    files don't see its double-precision tensors as scalars, and don't forget them on resume.
    """

    def __init__(self, folder: Path, resume_step: int | None = None) -> None:
        from torch.utils.tensorboard import SummaryWriter

        purge_step = None if resume_step is None else resume_step + 1  # the step itself is in the checkpoint
        self._writer: Any = SummaryWriter(str(folder), purge_step=purge_step)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in _mirrored(values).items():
            self._writer.add_scalar(name, value, step)

    def sync(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class WandbTracker(Tracker):
    """Logs to Weights & Biases directly, offline where there is no key: then nothing touches the network.

    W&B drops or merges rows whose own `_step` comes late or twice, so that is the number of the record (the
    line in metrics.jsonl); the charts have our `step` as x axis. The run's id is kept in `folder/wandb_id`: a
    resumed run goes on under it, and what it repeats after a kill has the numbers that it had the first time.
    """

    def __init__(
        self,
        folder: Path,
        project: str = "descant",
        name: str | None = None,
        group: str | None = None,
        job_type: str | None = None,
        config: Mapping[str, Any] | None = None,
        mode: str | None = None,
        first_record: int = 0,
    ) -> None:
        """Begin or resume; `mode` None means what WANDB_MODE says, or else online where there is a key."""
        mode = _mode(mode)
        if mode == "offline":
            os.environ.setdefault(
                "WANDB_ERROR_REPORTING", "false"
            )  # read when wandb is imported: it'd call home
        import wandb

        self._record = first_record
        settings = wandb.Settings(
            silent=True, console="off", x_disable_stats=True, save_code=False, reinit="create_new"
        )
        try:
            self._run = wandb.init(
                dir=folder, project=project, name=name, group=group, job_type=job_type, mode=mode,
                config=dict(config or {}), id=_wandb_id(folder), resume="allow", settings=settings,
            )  # fmt: skip
        except (wandb.Error, OSError) as error:
            raise DescantError(
                f"cannot begin the Weights & Biases run: {error}. Set WANDB_MODE=offline to log "
                "without network, or leave wandb out of the trackers"
            ) from error
        self._run.define_metric("step", hidden=True)
        self._run.define_metric("*", step_metric="step")

    @property
    def run(self) -> Any:
        """W&B's own run, for what is more than numbers."""
        return self._run

    @property
    def url(self) -> str | None:
        """The run's page; None offline."""
        return self._run.url

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log({"step": step, **_mirrored(values)}, step=self._record, commit=True)
        self._record += 1

    def sync(self) -> None:
        """Nothing: W&B's own process writes as it receives."""

    def close(self) -> None:
        self._run.finish()


def _mirrored(values: Mapping[str, float]) -> dict[str, float]:
    """The numbers of the JSONL record: its null is a mirror's NaN."""
    return {name: math.nan if value is None else value for name, value in plain_values(values).items()}


def _mode(asked: str | None) -> Literal["online", "offline", "disabled"]:
    mode = asked or os.environ.get("WANDB_MODE")
    if mode == "disabled":
        return "disabled"
    if mode != "offline" and has_key():
        return "online"
    if mode != "offline" and asked:
        raise DescantError(
            f"W&B mode {asked!r} needs a key, and there is none: set WANDB_API_KEY, run `wandb login`, "
            "or use the mode 'offline'"
        )
    return "offline"


def has_key() -> bool:
    """Whether W&B would find a key for its server, asked without importing it (which may call home)."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    import netrc
    from urllib.parse import urlsplit

    host = urlsplit(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").netloc
    file = os.environ.get("NETRC")
    for path in [Path(file)] if file else [Path.home() / ".netrc", Path.home() / "_netrc"]:
        with contextlib.suppress(OSError, netrc.NetrcParseError):
            if netrc.netrc(path.expanduser()).authenticators(host):
                return True
    return False


def _wandb_id(folder: Path) -> str:
    """The run's id at W&B: made once, by the agent of a sweep where one began it, then always the same."""
    path = folder / "wandb_id"
    with contextlib.suppress(FileNotFoundError):
        if known := path.read_text().strip():
            return known
    new = os.environ.get("WANDB_RUN_ID") or secrets.token_hex(4)
    replace_file(path, f"{new}\n".encode())
    return new
