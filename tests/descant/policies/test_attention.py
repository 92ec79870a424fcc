"""Attention of short sentences, beside torch's own."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from descant.policies.attention import attend

MASK = torch.tensor([[True, True, False, True, False], [True, False, False, False, False]])[:, None, None]


@pytest.mark.parametrize("causal", [False, True])
def test_with_gradients_it_is_torchs_up_to_rounding(causal: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    own = tuple(torch.randn(2, 4, 5, 8, generator=generator).requires_grad_() for _ in range(3))
    mask = None if causal else MASK
    mine = attend(*own, mask, causal)
    true = functional.scaled_dot_product_attention(*own, attn_mask=mask, is_causal=causal)
    torch.testing.assert_close(mine, true, atol=1e-6, rtol=1e-5)
    weights = torch.randn(mine.shape, generator=generator)
    for a, b in zip(
        torch.autograd.grad((mine * weights).sum(), own),
        torch.autograd.grad((true * weights).sum(), own),
        strict=True,
    ):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_what_is_not_visible_is_not_seen() -> None:
    generator = torch.Generator().manual_seed(1)
    queries, keys, values = (torch.randn(2, 4, 5, 8, generator=generator) for _ in range(3))
    before = attend(queries, keys.requires_grad_(), values, MASK, False)
    changed = values.clone()
    changed[0, :, 2] = 9.0
    torch.testing.assert_close(attend(queries, keys, changed, MASK, False), before)
