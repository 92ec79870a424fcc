"""Linear layers by oneDNN where they are large: torch's own choice, MKL, is half as fast on processors not Intel's."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

LARGE = 2**21  # multiplications from which oneDNN is faster, its longer way there included
NARROW = 16  # columns below which a product is sooner made the other way round
ONEDNN = hasattr(torch.ops.mkldnn, "_linear_pointwise")  # where torch was built with it


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x weight^T + bias, float[..., O], from float[..., I], float[O, I] and float[O]; differentiable once if large."""
    if not _fits(x, weight):
        return torch.nn.functional.linear(x, weight, bias)
    if not torch.is_grad_enabled():
        return _onednn(x, weight, bias)
    out: Tensor = _Linear.apply(x, weight, bias)  # type: ignore[no-untyped-call]
    return out


def linear_into(out: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`linear` without gradients: float[B, O] in `out` where it is small; what holds it."""
    return _onednn(x, weight, bias) if _fits(x, weight) else torch.addmm(bias, x, weight.t(), out=out)


def product_into(out: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """x weight, float[B, I], from float[B, O] and float[O, I], likewise."""
    return _onednn(x, weight.t()) if _fits(x, weight) else torch.mm(x, weight, out=out)


def outer_into(out: Tensor, gradient: Tensor, x: Tensor) -> None:
    """Sum over rows of gradient times x, in `out` float[O, I], from float[B, O] and float[B, I]."""
    if _fits(gradient, out):
        out.copy_(_onednn(gradient.t(), x.t()))
    elif x.shape[1] < NARROW:
        out.copy_(torch.mm(x.t(), gradient).t())
    else:
        torch.mm(gradient.t(), x, out=out)


class Dense(torch.nn.Linear):
    """A linear layer over the last axis by `linear`; as torch's where numbers are cast."""

    def forward(self, x: Tensor) -> Tensor:
        """float[..., O] from float[..., I]."""
        if torch.is_autocast_enabled(x.device.type):
            return torch.nn.functional.linear(x, self.weight, self.bias)
        flat = linear(x.reshape(-1, x.shape[-1]), self.weight, self.bias)
        return flat.view(*x.shape[:-1], flat.shape[-1])


def _fits(x: Tensor, weight: Tensor) -> bool:
    if (
        x.dim() != 2 or x.shape[0] * weight.numel() < LARGE
    ):  # `len` of a tensor takes longer than a small layer
        return False
    return ONEDNN and x.dtype is weight.dtype is torch.float32 and x.device.type == "cpu"


def _onednn(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """What torch.compile makes of `linear` too; without gradients of its own."""
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], None)
    return out


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _onednn(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        back = _onednn(gradient, weight.t()) if ctx.needs_input_grad[0] else None
        return back, _onednn(gradient.t(), x.t()), gradient.sum(0)
