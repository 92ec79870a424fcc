"""Plain networks without autograd: values and gradients in arrays made once.

Autograd makes a graph and new arrays at every pass, which for small layers costs more than the layers do.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from descant.policies.encoders import LinearEncoder, OneHotEncoder, gradient_of_rows, sum_of_rows
from descant.policies.linear import linear_into, outer_into, product_into
from descant.policies.networks import Network
from descant.policies.trunks import MLPTrunk

RELU_BACKWARD: Any = (
    torch.ops.aten.threshold_backward.grad_input
)  # found once: to look them up costs as much again
TANH_BACKWARD: Any = torch.ops.aten.tanh_backward.grad_input
ROWS = 1024  # of a pass where no gradient is asked for: as many as fit the processor's cache


def is_plain(network: Network) -> bool:
    """Whether `ClosedForm` knows the network: one linear head, no memory, float32 on the processor."""
    heads = list(network.heads.values())
    known = isinstance(network.encoder, LinearEncoder | OneHotEncoder) and isinstance(network.trunk, MLPTrunk)
    alike = all(p.dtype is torch.float32 and p.device.type == "cpu" for p in network.weights)
    return known and alike and len(heads) == 1 and type(heads[0]) is nn.Linear and not network.autocast


class ClosedForm:
    """The head of a plain network for up to `rows` observations, and its gradient by all weights.

    `gradient` float[weights] is all of it in one piece; `backward` fills it and makes it the parameters' own.
    """

    def __init__(self, network: Network, rows: int) -> None:
        assert is_plain(network)
        trunk: Any = network.trunk
        head: Any = next(iter(network.heads.values()))
        encoder: Any = network.encoder
        self.looks_up = isinstance(encoder, OneHotEncoder)
        first = [] if self.looks_up else [(encoder.linear.weight, encoder.linear.bias)]
        layers = [*first, *trunk.linears, (head.weight, head.bias)]
        self.layers = [(weight.detach(), bias.detach()) for weight, bias in layers]
        self.activate, self.derive = trunk.activate_in_place, DERIVATIVES[trunk.activation]
        self.columns_of: Any = encoder.columns if self.looks_up else None
        self.rows, self.columns = rows, torch.empty(0)
        self.inputs: list[Tensor] = []  # of each layer, from the last pass
        self.outs = [torch.empty(rows, len(bias)) for _, bias in self.layers]
        self.backs = [torch.empty(rows, weight.shape[1]) for weight, _ in self.layers]
        self.parameters: list[Any] = network.weights
        self.gradient = torch.empty(sum(p.numel() for p in self.parameters))
        parts = torch.split(self.gradient, [p.numel() for p in self.parameters])
        self.parts = [part.view_as(p) for p, part in zip(self.parameters, parts, strict=True)]
        places = {p.data_ptr(): part for p, part in zip(self.parameters, self.parts, strict=True)}
        self.slopes = [(places[w.data_ptr()], places[b.data_ptr()]) for w, b in self.layers]
        if self.looks_up:
            self.table, self.bias = encoder.rows.weight.detach(), encoder.bias.detach()
            self.table_slope, self.bias_slope = (places[p.data_ptr()] for p in (self.table, self.bias))

    def forward(self, observation: Tensor) -> Tensor:
        """float[B, width], valid until the next pass."""
        size = observation.shape[0]
        x = observation.reshape(size, -1)
        self.inputs = []
        if self.looks_up:
            self.columns = self.columns_of(x)
            x = self.activate(sum_of_rows(self.table, self.bias, self.columns))
        else:
            x = x.float()
        for (weight, bias), out in zip(self.layers, self.outs, strict=True):
            self.inputs.append(x)
            x = linear_into(out if size == self.rows else out[:size], x, weight, bias)
            if out is not self.outs[-1]:
                self.activate(x)
        return x

    def values(self, observation: Tensor) -> Tensor:
        """float[B, width] of any number of observations, kept."""
        return torch.cat([self.forward(part).clone() for part in torch.split(observation, self.rows)])

    def backward(self, gradient: Tensor) -> None:
        """Parameters' gradients, from float[B, width] by what the last `forward` gave."""
        size = gradient.shape[0]
        for i in reversed(range(len(self.layers))):
            (weight, _), (slope, bias_slope), x = self.layers[i], self.slopes[i], self.inputs[i]
            outer_into(slope, gradient, x)
            torch.sum(gradient, 0, out=bias_slope)
            if i or self.looks_up:
                back = self.backs[i] if size == self.rows else self.backs[i][:size]
                gradient = self.derive(product_into(back, gradient, weight), x)
        if self.looks_up:
            self.table_slope.copy_(gradient_of_rows(self.columns, gradient, len(self.table)))
            torch.sum(gradient, 0, out=self.bias_slope)
        for parameter, part in zip(self.parameters, self.parts, strict=True):
            parameter.grad = part

    def clip(self, longest: float) -> float:
        """Shorten the gradient to `longest`; what its norm was."""
        norm = float(torch.linalg.vector_norm(self.gradient))
        if norm > longest:
            self.gradient.mul_(longest / norm)
        return norm


def _through_relu(gradient: Tensor, out: Tensor) -> Tensor:
    """The gradient by what ReLU gave, float[B, width], as one by what it took; in place."""
    RELU_BACKWARD(gradient, out, 0, grad_input=gradient)
    return gradient


def _through_tanh(gradient: Tensor, out: Tensor) -> Tensor:
    """The same of tanh."""
    TANH_BACKWARD(gradient, out, grad_input=gradient)
    return gradient


DERIVATIVES = {"relu": _through_relu, "tanh": _through_tanh}
