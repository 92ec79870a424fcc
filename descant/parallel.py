"""Data-parallel training of one policy by processes that `torchrun` starts: ranks, rows dealt out, sums over all.

Every rank steps the whole batch of episodes, which is cheap, and puts its own rows through the networks, which is not:
log-probabilities are gathered before actions are drawn, so that each rank draws all actions from the same numbers with
the same noise as a single process would. What follows from rewards alone (returns, groups, advantages, their mean and
deviation) every rank works out whole, without a word to the others. Of the loss each rank takes its share of the valid
steps, divided by the number of all, and gradients are summed before they are clipped.

That sum is why nothing is wrapped in `DistributedDataParallel`: it takes the mean of the ranks' gradients, which is
right only where each has as many steps, and rows of episodes are of different length. It also wants every gradient to
come of one call of `forward`, where here losses are added up part by part and some end at logits. One flat buffer
costs the same messages.

Without torchrun's RANK and WORLD_SIZE there is one rank, and every function here hands back what it was given.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn

from descant.devices import check_device
from descant.errors import DescantError

LAUNCHED = ("RANK", "WORLD_SIZE")  # what a launcher says to each process
BAD_INPUT = 2
BY_STEP = ("observations", "actions", "rewards", "terminated", "truncated", "starts", "valid", "masks")


@dataclass(frozen=True)
class Ranks:
    """Which process this is of how many, and which of its machine."""

    rank: int = 0
    world: int = 1
    local: int = 0


_now = Ranks()


def ranks() -> Ranks:
    """This process among those that train together; alone outside of `joined`."""
    return _now


def is_first() -> bool:
    """Whether this process is the one that writes and speaks."""
    return _now.rank == 0


def launched() -> Ranks:
    """What torchrun says in the environment; alone where it says nothing."""
    if not all(name in os.environ for name in LAUNCHED):
        return Ranks()
    try:
        rank, world = (int(os.environ[name]) for name in LAUNCHED)
        local = int(os.environ.get("LOCAL_RANK", rank))
    except ValueError as error:
        raise DescantError(
            f"RANK, WORLD_SIZE and LOCAL_RANK must be numbers ({error}): use torchrun."
        ) from error
    if not (0 <= rank < world and local >= 0):
        raise DescantError(
            f"RANK must lie between 0 and WORLD_SIZE - 1, not {rank} of {world}: use torchrun."
        )
    return Ranks(rank, world, local)


@contextlib.contextmanager
def joined(device: str = "cpu") -> Iterator[Ranks]:
    """Train together with the processes that torchrun started, by gloo, on CUDA by nccl; all but rank 0 are silent.

    DescantError where a rank has no GPU of its own, or the others can't be reached.
    """
    global _now
    found = launched()
    if found.world == 1:
        yield found
        return
    if device == "cuda":
        _take_gpu(found)
    try:
        distributed.init_process_group("cpu:gloo,cuda:nccl" if device == "cuda" else "gloo")
    except (RuntimeError, ValueError) as error:
        raise DescantError(
            f"Rank {found.rank} can't reach the others ({error}): start all by torchrun."
        ) from error
    before, _now = _now, found
    try:
        with contextlib.ExitStack() as silent:
            if found.rank:
                nowhere = silent.enter_context(open(os.devnull, "w"))
                silent.enter_context(contextlib.redirect_stdout(nowhere))
            yield found
    finally:
        _now = before
        distributed.destroy_process_group()


def _take_gpu(found: Ranks) -> None:
    check_device("cuda")
    if found.local >= torch.cuda.device_count():
        raise DescantError(
            f"This machine has {torch.cuda.device_count()} GPUs and rank {found.rank} would be its number "
            f"{found.local + 1}: start one process for each, by --nproc-per-node."
        )
    torch.cuda.set_device(found.local)


def refuse(kind: Any, num_envs: int) -> None:
    """DescantError where this agent can't be trained by several ranks, or its rows can't be dealt out evenly."""
    world = _now.world
    if world == 1:
        return
    complaint = ""
    if not getattr(kind, "deals", ""):
        complaint = (
            f"Agent {kind.name!r} can't be trained by {world} ranks together: start it without torchrun, or seeds side "
            "by side by descant bench."
        )
    elif kind.deals == "rows" and num_envs % world:
        complaint = (
            f"num_envs ({num_envs}) must be a multiple of the number of ranks ({world}): pass --config.num-envs "
            f"{-(-num_envs // world) * world}, or start another number by --nproc-per-node."
        )
    if complaint:
        raise DescantError(complaint) if is_first() else SystemExit(BAD_INPUT)


def told(find: Callable[[], str]) -> str:
    """What rank 0 found, told to all. Where it fails, it says why, and the others leave without a word."""
    if _now.world == 1:
        return find()
    if _now.rank:
        length = _broadcast(torch.zeros(1, dtype=torch.int64))
        if not length:
            raise SystemExit(BAD_INPUT)
        return bytes(_broadcast(torch.zeros(int(length), dtype=torch.uint8)).tolist()).decode()
    try:
        found = find()
    except BaseException:
        _broadcast(torch.zeros(1, dtype=torch.int64))
        raise
    data = torch.tensor(list(found.encode()), dtype=torch.uint8)
    _broadcast(torch.tensor([len(data)]))
    _broadcast(data)
    return found


def own(tree: Any, axis: int = 0) -> Any:
    """This rank's rows of arrays, of dicts or tuples of them, along `axis`; None stays None."""
    if _now.world == 1 or tree is None:
        return tree
    if isinstance(tree, dict):
        return {key: own(value, axis) for key, value in tree.items()}
    if isinstance(tree, tuple):
        return tuple(own(value, axis) for value in tree)
    return tree[(slice(None),) * axis + (share_of(tree.shape[axis]),)]


def own_steps(rollout: Any) -> Any:
    """The steps of this rank's rows of a rollout."""
    if _now.world == 1:
        return rollout
    return dataclasses.replace(rollout, **{name: own(getattr(rollout, name), 1) for name in BY_STEP})


def share_of(count: int) -> slice:
    """This rank's share of so many things in a row; ranks' shares differ by one at most."""
    return slice(count * _now.rank // _now.world, count * (_now.rank + 1) // _now.world)


def dealt(things: Any) -> Any:
    """This rank's of some things, dealt out in turn."""
    return things[_now.rank :: _now.world]


def gather(tree: Any, axis: int = 0) -> Any:
    """All ranks' rows again, from what each made of those that `own` gave it, as many each: tensors, tuples, None."""
    if _now.world == 1 or tree is None:
        return tree
    if isinstance(tree, tuple):
        return tuple(gather(value, axis) for value in tree)
    mine = tree.contiguous()
    found = [torch.empty_like(mine) for _ in range(_now.world)]
    with _alive():
        distributed.all_gather(found, mine)
    return torch.cat(found, dim=axis)


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Put the sum of all ranks' gradients in place of each rank's own; one that no rank has stays None."""
    if _now.world == 1:
        return
    learned = [p for p in parameters if p.requires_grad]
    there = learned[0].new_tensor([float(p.grad is not None) for p in learned])
    own_gradients = [(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in learned]
    flat = torch.cat([there, *own_gradients]).detach()
    _all_reduce(flat)
    counts, *sums = torch.split(flat, [len(learned), *(p.numel() for p in learned)])
    for parameter, count, total in zip(learned, counts.tolist(), sums, strict=True):
        parameter.grad = total.view_as(parameter).clone() if count else None


def totals(record: Mapping[str, float]) -> dict[str, float]:
    """The sum over all ranks of each number; every rank has the same names in the same order."""
    if _now.world == 1:
        return dict(record)
    sums = torch.tensor(list(record.values()), dtype=torch.float64)
    _all_reduce(sums)
    return dict(zip(record, sums.tolist(), strict=True))


def share_and_means(count: int, record: Mapping[str, float]) -> tuple[float, dict[str, float]]:
    """This rank's share of all steps, of which it has `count`; and means over all, from its own means."""
    if _now.world == 1:
        return 1.0, dict(record)
    sums = totals({"count": count, **{n: value * count if count else 0.0 for n, value in record.items()}})
    everything = max(sums.pop("count"), 1.0)
    return count / everything, {name: value / everything for name, value in sums.items()}


def deviation(values: Tensor) -> float:
    """Deviation of the numbers of all ranks together, of which this one has float[B]."""
    if _now.world == 1:
        return float(values.std(correction=0))
    numbers = values.double()
    sums = totals({"count": len(values), "sum": float(numbers.sum())})
    squares = (numbers - sums["sum"] / sums["count"]).square().sum()
    return float((totals({"squares": float(squares)})["squares"] / sums["count"]) ** 0.5)


def any_of(flag: bool) -> bool:
    """Whether any rank says so."""
    return totals({"flag": float(flag)})["flag"] > 0


def check_alike(networks: Iterable[nn.Module], step: int) -> None:
    """DescantError where the ranks' weights are not the same to the last bit: from there on each learns for itself."""
    if _now.world == 1:
        return
    norms = torch._foreach_norm([p.detach() for network in networks for p in network.parameters()])
    mine = torch.stack([norm.double().cpu() for norm in norms])[None]
    every = gather(mine)
    if not bool(((every == every[:1]) | every.isnan()).all()):
        raise DescantError(
            f"The ranks' weights are not alike at step {step}: use machines and libraries of one kind, then go on from "
            "the last checkpoint with --resume."
        )


def _all_reduce(tensor: Tensor) -> None:
    with _alive():
        distributed.all_reduce(tensor)


def _broadcast(tensor: Tensor) -> Tensor:
    with _alive():
        distributed.broadcast(tensor, 0)
    return tensor


@contextlib.contextmanager
def _alive() -> Iterator[None]:
    """DescantError where another rank has gone: what it said stands above."""
    try:
        yield
    except RuntimeError as error:
        raise DescantError(
            f"Rank {_now.rank} lost the others ({str(error).splitlines()[0]}): see what the one that failed said, and "
            "go on from the last checkpoint with --resume."
        ) from error
