"""A run is a folder: config, metrics, checkpoints; exact resume. Importing this costs milliseconds."""

from .checkpoints import Checkpoint, checkpoint_exists, load_checkpoint, save_checkpoint
from .digests import content_hash, sha256
from .folders import RunFolder, find_checkpoint
from .interrupts import Interrupt, interruptible
from .metrics import MetricsFile, read_metrics
from .rngs import restore_rng, rng_state
from .tracking import (
    JsonlTracker,
    MultiTracker,
    TensorBoardTracker,
    Tracker,
    WandbTracker,
    make_tracker,
)

__all__ = [
    "Checkpoint",
    "Interrupt",
    "JsonlTracker",
    "MetricsFile",
    "MultiTracker",
    "RunFolder",
    "TensorBoardTracker",
    "Tracker",
    "WandbTracker",
    "checkpoint_exists",
    "content_hash",
    "find_checkpoint",
    "interruptible",
    "load_checkpoint",
    "make_tracker",
    "read_metrics",
    "restore_rng",
    "rng_state",
    "save_checkpoint",
    "sha256",
]
