"""A small causal Transformer that is asked step by step: it keeps keys and values of the steps before.

Layers are normalised in front (Xiong et al. 2020). What tells steps apart is their distance, taken from the scores at a
rate of each head (ALiBi: Press et al. 2022), so that nothing depends on where an episode stands.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from descant.errors import DescantError
from descant.policies.trunks import State

CONTEXT = 64  # steps back that are seen
HEADS = 4


class _Layer(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.before_attention, self.before_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.project = nn.Linear(width, 3 * width)
        self.join = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor, past: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """float[N, T, width], keys and values before float[N, P, 2 width], bias float[N, heads, T, P + T]; the output
        and all keys and values float[N, P + T, 2 width]."""
        n, steps, width = x.shape
        query, new = self.project(self.before_attention(x)).split([width, 2 * width], dim=-1)
        memory = torch.cat([past, new], dim=1)
        keys, values = (_by_head(part) for part in memory.chunk(2, dim=-1))
        seen = functional.scaled_dot_product_attention(_by_head(query), keys, values, attn_mask=bias)
        x = x + self.join(seen.transpose(1, 2).reshape(n, steps, width))
        return x + self.mlp(self.before_mlp(x)), memory


def _by_head(x: Tensor) -> Tensor:
    """float[N, S, width] as float[N, heads, S, width / heads]."""
    n, steps, width = x.shape
    return x.view(n, steps, HEADS, width // HEADS).transpose(1, 2)


class TransformerTrunk(nn.Module):
    """Layers of attention over the last 64 steps of an episode, one for each width in `hidden`, the input's width.

    The state is keys and values of the past float[layers * 64, N, 2 width], the oldest first, and how many of them are
    the present episode's float[1, N, 1].
    """

    recurrent = True

    def __init__(self, width: int, hidden: Sequence[int]) -> None:
        super().__init__()
        if not hidden or any(size != width for size in hidden) or width % HEADS:
            raise DescantError(
                f"A transformer's hidden must name one width of a multiple of {HEADS}, once for the encoder and once "
                f"for each layer, such as 64 64 64; not {' '.join(map(str, (width, *hidden)))}."
            )
        self.layers = nn.ModuleList(_Layer(width) for _ in hidden)
        self.norm = nn.LayerNorm(width)
        self.out_features = width

    def initial_state(self, n: int) -> State:
        """An empty past for `n` rows."""
        device = self.norm.weight.device
        past = torch.zeros(len(self.layers) * CONTEXT, n, 2 * self.out_features, device=device)
        return past, torch.zeros(1, n, 1, device=device)

    def forward(self, features: Tensor, starts: Tensor, state: State | None) -> tuple[Tensor, State]:
        """float[T, N, width], bool[T, N] to float[T, N, width] and the state after the last step."""
        steps, rows, _ = features.shape
        past, length = self.initial_state(rows) if state is None else state
        pasts = [part.transpose(0, 1) for part in torch.split(past, CONTEXT)]
        bias = self.bias(starts, length[0, :, 0])
        if state is None:  # nothing to look back at
            bias, empty = bias[..., CONTEXT:], [part[:, :0] for part in pasts]
        x, kept = features.transpose(0, 1), []
        for layer, old in zip(self.layers, pasts if state is not None else empty, strict=True):
            x, memory = layer(x, old, bias)
            kept.append(functional.pad(memory, (0, 0, max(CONTEXT - memory.shape[1], 0), 0))[:, -CONTEXT:])
        numbers = torch.arange(1, steps + 1, device=starts.device)[:, None]
        last = (numbers * starts).amax(dim=0)  # number of the last step at which an episode began, 0 for none
        since = torch.where(last > 0, steps - last + 1, length[0, :, 0] + steps).clamp(max=CONTEXT)
        out: Tensor = self.norm(x).transpose(0, 1)
        return out, (torch.cat(kept, dim=1).transpose(0, 1), since.to(past.dtype)[None, :, None])

    def bias(self, starts: Tensor, length: Tensor) -> Tensor:
        """What is added to scores, float[N, heads, T, 64 + T]: less with distance, -inf for what may not be seen."""
        steps, device = len(starts), starts.device
        at = torch.arange(CONTEXT + steps, device=device)
        distance = torch.arange(CONTEXT, CONTEXT + steps, device=device)[:, None] - at  # [T, 64 + T]
        episode = starts.long().cumsum(dim=0).T  # [N, T]
        before = torch.where(at[:CONTEXT] >= CONTEXT - length[:, None], 0, -1)  # [N, 64]
        same = episode[:, :, None] == torch.cat([before, episode], dim=1)[:, None]
        seen = same & (distance >= 0) & (distance <= CONTEXT)
        slopes = 2.0 ** -(8.0 / HEADS * torch.arange(1, HEADS + 1, device=device))
        bias = -slopes[:, None, None] * distance
        return torch.where(seen[:, None], bias, -torch.inf)
