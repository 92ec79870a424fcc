"""A device that is not there: tensors that say they are on it, are refused beside others as on CUDA, and are computed.

Torch lets a backend be written in Python ("privateuseone"). A tensor of this one holds a tensor of the processor, on
which each operation is done, once it is known that all that goes into it is on the device. What CUDA refuses is refused
here: operations on tensors of two devices (but for numbers, and for indices from the processor), and views as arrays.
It can't be taken back, and the engine of autograd must not have run before: use it in a process of its own.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules import rnn
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

NAME = "pretended"
UNCAST = torch.library.Library("_", "IMPL")  # numbers are not cast: only whether it may be asked for is seen
ATEN = torch.ops.aten
INDEXED = {
    ATEN.index.Tensor,
    ATEN.index_put_.default,
    ATEN.index_put.default,
    ATEN._index_put_impl_.default,
    ATEN._unsafe_index.Tensor,
}


class Far(Tensor):
    """A tensor on the device; `held` has its numbers."""

    held: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: Tensor) -> Far:
        form = {"strides": held.stride(), "storage_offset": held.storage_offset(), "dtype": held.dtype}
        made: Far = Tensor._make_wrapper_subclass(cls, held.size(), **form, device=f"{NAME}:0")  # type: ignore[attr-defined]
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return done(func, args, kwargs or {})

    def tolist(self) -> Any:
        """Numbers, as of any tensor: torch refuses it of a class of one's own."""
        return self.cpu().tolist()


class Backend(_DummyBackendModule):
    """What torch asks of a backend, and what it may be asked to cast to."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        """bfloat16 alone."""
        return [torch.bfloat16]


class Pretending(TorchDispatchMode):
    """Sees operations on no tensor of the device too: those that make one."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled here, and to say so costs time at each operation

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return done(func, args, kwargs or {})


def done(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """What an operation gives; RuntimeError where CUDA would refuse it."""
    if is_composite(func):
        with Pretending():  # made of others, which torch has not taken apart where no gradients are asked for
            return func.decompose(*args, **kwargs)
    tensors: list[Tensor] = []
    inner, named = held_in(args, tensors), {name: held_in(x, tensors) for name, x in kwargs.items()}
    far = {id(x.held): x for x in tensors if isinstance(x, Far)}
    on_it = bool(far)
    if (asked := kwargs.get("device")) is not None:
        named["device"], on_it = torch.device("cpu"), torch.device(asked).type == NAME
    elif func is ATEN.copy_.default:
        on_it = isinstance(args[0], Far)
    elif func in INDEXED:
        on_it = isinstance(args[0], Far)
        if far and not on_it:
            raise RuntimeError(f"{func}: indices should be on the processor, as the indexed tensor is.")
        if on_it and len(args) > 2 and not isinstance(args[2], Far) and args[2].dim():
            raise RuntimeError(f"{func}: what is put is on the processor, the indexed tensor is not.")
    elif far and any(x.dim() for x in tensors if not isinstance(x, Far)):
        raise RuntimeError(f"{func}: expected all tensors to be on the same device, found {NAME} and cpu.")
    out = OWN.get(func, func)(*inner, **named)
    if not on_it:
        return out
    if torch.Tag.inplace_view in func.tags:  # what holds the numbers has turned, and so must what is seen
        with no_dispatch():
            func(*args, **kwargs)
    if func.is_view and not next(iter(far.values())).is_inference():  # views are as what is looked at
        with torch.inference_mode(False):
            return shown(out, far)
    return shown(out, far)


@functools.cache
def is_composite(func: Any) -> bool:
    """Whether it is made of other operations wherever it is done."""
    return bool(torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd"))


def held_in(x: Any, tensors: list[Tensor]) -> Any:
    """Arguments with what holds the numbers in place of tensors of the device; all tensors are added to the list."""
    if isinstance(x, Tensor):
        tensors.append(x)
        return x.held if isinstance(x, Far) else x
    return type(x)(held_in(each, tensors) for each in x) if isinstance(x, list | tuple) else x


def shown(x: Any, far: dict[int, Far]) -> Any:
    """What came out as tensors of the device, those that went in as they were."""
    if isinstance(x, Tensor):
        return far[id(x)] if id(x) in far else Far(x)
    return type(x)(shown(each, far) for each in x) if isinstance(x, list | tuple) else x


@contextmanager
def pretended() -> Iterator[None]:
    """For this process, `cuda` means this device wherever descant asks for it."""
    from descant import devices

    _setup_privateuseone_for_python_backend(NAME, Backend())
    UNCAST.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    rnn._VF = Layers()  # type: ignore[attr-defined]
    devices.has_cuda = lambda: True
    devices.cuda = lambda: torch.device(NAME, 0)
    with Pretending():
        yield


class Layers:
    """Recurrent layers, with what cuDNN asks of their input: else they are made of the cells below."""

    def __getattr__(self, name: str) -> Any:
        return (
            functools.partial(self.checked, getattr(torch._VF, name))
            if name in ("lstm", "gru")
            else getattr(torch._VF, name)
        )

    def checked(self, layer: Any, *args: Any) -> Any:
        """What a layer gives; RuntimeError where cuDNN would refuse it."""
        packed = isinstance(args[1], Tensor) and isinstance(args[2], Tensor | tuple)
        states, training = args[2 if packed else 1], args[7 if packed else 6]
        if isinstance(args[0], Far):
            if not all(
                state.is_contiguous() for state in (states if isinstance(states, tuple) else (states,))
            ):
                raise RuntimeError("rnn: hx is not contiguous")
            if torch.is_grad_enabled() and not training:
                raise RuntimeError("cudnn RNN backward can only be called in training mode")
        return layer(*args)


# The cells of recurrent networks are one operation each on a GPU, which the processor does not have.


def lstm_cell(gates: Tensor, hidden: Tensor, cell: Tensor, one: Any = None, two: Any = None) -> Any:
    """The hidden state, the cell, and what the way back needs: the gates i, f, g, o."""
    total = gates + hidden + sum(each for each in (one, two) if each is not None)
    i, f, g, o = total.chunk(4, 1)
    i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
    after = f * cell + i * g
    return o * after.tanh(), after, torch.cat([i, f, g, o], 1)


def lstm_cell_back(
    by_hidden: Any, by_cell: Any, cell: Tensor, after: Tensor, kept: Tensor, bias: bool
) -> Any:
    """Gradients by the gates, the cell before and the bias."""
    if by_hidden is None and by_cell is None:
        return None, None, None
    i, f, g, o = kept.chunk(4, 1)
    squashed = after.tanh()
    by_hidden = torch.zeros_like(after) if by_hidden is None else by_hidden
    by_after = by_hidden * o * (1 - squashed**2) + (0 if by_cell is None else by_cell)
    by_input, by_output = by_after * g * i * (1 - i), by_hidden * squashed * o * (1 - o)
    found = torch.cat([by_input, by_after * cell * f * (1 - f), by_after * i * (1 - g * g), by_output], 1)
    return found, by_after * f, found.sum(0) if bias else None


def gru_cell(gates: Tensor, hidden: Tensor, before: Tensor, one: Any = None, two: Any = None) -> Any:
    """The hidden state, and what the way back needs."""
    gates, hidden = gates if one is None else gates + one, hidden if two is None else hidden + two
    (ir, iz, inew), (hr, hz, hnew) = gates.chunk(3, 1), hidden.chunk(3, 1)
    r, z = (ir + hr).sigmoid(), (iz + hz).sigmoid()
    new = (inew + r * hnew).tanh()
    return new + z * (before - new), torch.cat([r, z, new, before, hnew], 1)


def gru_cell_back(by_hidden: Tensor, kept: Tensor, bias: bool) -> Any:
    """Gradients by both kinds of gates, the hidden state before and both biases."""
    r, z, new, before, hnew = kept.chunk(5, 1)
    by_new = by_hidden * (1 - z) * (1 - new * new)
    by_z, by_r = by_hidden * (before - new) * z * (1 - z), by_new * hnew * r * (1 - r)
    gates, hidden = torch.cat([by_r, by_z, by_new], 1), torch.cat([by_r, by_z, by_new * r], 1)
    biases = (gates.sum(0), hidden.sum(0)) if bias else (None, None)
    return gates, hidden, by_hidden * z, *biases


OWN: dict[Any, Any] = {
    ATEN._thnn_fused_lstm_cell.default: lstm_cell,
    ATEN._thnn_fused_lstm_cell_backward_impl.default: lstm_cell_back,
    ATEN._thnn_fused_gru_cell.default: gru_cell,
    ATEN._thnn_fused_gru_cell_backward.default: gru_cell_back,
}
