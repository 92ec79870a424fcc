"""Adam for small networks, where what torch does around each step costs more than the step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

Moments = dict[str, Tensor]


class Adam(torch.optim.Adam):
    """Torch's fused Adam, the same to the last bit, without its checks, hooks and profiling at every step.

    For parameters of one kind on the processor, and no option but learning rate and eps.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, eps: float) -> None:
        super().__init__(parameters, lr=lr, eps=eps, fused=True)

    def _patch_step_function(self) -> None:
        """No hooks around `step`."""

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop all gradients."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step of every parameter that has a gradient."""
        assert closure is None
        for group in self.param_groups:
            learned = [(p, p.grad) for p in group["params"] if p.grad is not None]
            if not learned:
                continue
            state = [self.state[p] or self._begin(p) for p, _ in learned]
            steps = [moments["step"] for moments in state]
            torch._foreach_add_(steps, 1)
            torch._fused_adam_(
                [p for p, _ in learned],
                [grad for _, grad in learned],
                [moments["exp_avg"] for moments in state],
                [moments["exp_avg_sq"] for moments in state],
                [],
                steps,
                lr=group["lr"],
                beta1=group["betas"][0],
                beta2=group["betas"][1],
                weight_decay=0.0,
                eps=group["eps"],
                amsgrad=False,
                maximize=False,
            )

    def _begin(self, parameter: nn.Parameter) -> Moments:
        """The moments of a parameter before its first step."""
        self.state[parameter] = {
            "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }
        moments: Moments = self.state[parameter]
        return moments
