"""Where networks are: on the processor, or on a GPU by CUDA.

Environments, replays and all chance are on the processor wherever networks are. Networks take what they are given to
where they are (`Network.here`), losses are worked out there, and what is acted by comes back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from descant.errors import DescantError

Device = Literal["cpu", "cuda"]
CPU = torch.device("cpu")


@dataclass(frozen=True)
class DeviceConfig:
    """What can be chosen of where an agent's networks are."""

    device: Device = "cpu"
    """Where networks act and learn: cpu, or cuda for a GPU."""


def check_device(name: str) -> None:
    """DescantError for another device than cpu and cuda, or for CUDA where there is none."""
    if name not in ("cpu", "cuda"):
        raise DescantError(f"device must be cpu or cuda, not {name!r}.")
    if name == "cuda" and not has_cuda():
        raise DescantError("There is no CUDA on this machine: pass device cpu (--device cpu).")


def device_for(name: str) -> torch.device:
    """The device of that name; DescantError as of `check_device`."""
    check_device(name)
    return CPU if name == "cpu" else cuda()


def has_cuda() -> bool:
    """Whether there is a GPU to work on."""
    return torch.cuda.is_available()


def cuda() -> torch.device:
    """The GPU of this process: `descant.parallel.joined` gives each rank one of its own."""
    return torch.device("cuda", torch.cuda.current_device())


def settled(config: Any, new: bool) -> Any:
    """An agent's config with a device that is there.

    Of a checkpoint's agent it becomes cpu where there is no CUDA, since weights fit either; that of a new one stays, or
    DescantError as of `check_device`.
    """
    wanted = getattr(config, "device", "cpu")
    if not new and wanted == "cuda" and not has_cuda():
        return replace(config, device="cpu")
    check_device(wanted)
    return config


def moved(tree: Any, device: torch.device) -> Any:
    """Tensors on a device, alone or in dicts and tuples; on the processor as they are, since they begin there."""
    if device.type == "cpu" or tree is None:
        return tree
    if isinstance(tree, Tensor):
        return tree.to(device)
    if isinstance(tree, dict):
        return {key: moved(value, device) for key, value in tree.items()}
    if isinstance(tree, tuple):
        return tuple(moved(value, device) for value in tree)
    return tree
