"""A Transformer that translates (Vaswani et al. 2017), normalised in front (Xiong et al. 2020).

It is asked in two ways that give the same: for all steps of sentences at once, and step by step with keys and values
of the steps before kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from descant.errors import DescantError
from descant.policies.attention import attend
from descant.policies.dropping import Dropout
from descant.policies.linear import Dense
from descant.policies.sentences import Shape
from descant.text.vocabularies import PAD

HEADS = 4

Tensors = dict[str, Tensor]  # rows first in each, so that rows can be taken and put


class Block(nn.Module):
    """What is added to the stream by a layer of attention or of width 4: normalised in front, dropped behind."""

    def __init__(self, width: int, inner: nn.Module, dropout: float) -> None:
        super().__init__()
        self.norm, self.inner, self.drop = nn.LayerNorm(width), inner, Dropout(dropout)

    def add(self, x: Tensor) -> Tensor:
        """`x` and what comes of it, where nothing else is looked at."""
        out: Tensor = x + self.drop(self.inner(self.norm(x)))
        return out


class MLP(nn.Sequential):
    """Two layers, the inner one four times as wide."""

    def __init__(self, width: int) -> None:
        super().__init__(Dense(width, 4 * width), nn.ReLU(), Dense(4 * width, width))


class Attention(nn.Module):
    """Projections of attention: queries, keys with values, and what is made of what was seen."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.memory, self.join = (Dense(width, k * width) for k in (1, 2, 1))

    def look(self, x: Tensor, memory: Tensor, mask: Tensor | None, causal: bool = False) -> Tensor:
        """float[E, L, width] of `x` at `memory` float[E, heads, S, 2 width / heads] (`remember` made it)."""
        keys, values = memory.chunk(2, dim=-1)
        seen = attend(by_head(self.query(x)), keys, values, mask, causal)
        out: Tensor = self.join(seen.transpose(1, 2).reshape(x.shape))
        return out

    def remember(self, x: Tensor) -> Tensor:
        """Keys and values of `x` float[E, S, width], side by side: float[E, heads, S, 2 width / heads]."""
        return by_head(self.memory(x))


def by_head(x: Tensor) -> Tensor:
    """float[E, S, k] as float[E, heads, S, k / heads]."""
    n, steps, width = x.shape
    return x.view(n, steps, HEADS, width // HEADS).transpose(1, 2)


class _EncoderLayer(nn.Module):
    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.attention = Block(width, Attention(width), dropout)
        self.mlp = Block(width, MLP(width), dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        block, attention = self.attention, self.attention.inner
        assert isinstance(attention, Attention)
        normed = block.norm(x)
        x = x + block.drop(attention.look(normed, attention.remember(normed), mask))
        return self.mlp.add(x)


class _DecoderLayer(nn.Module):
    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.own, self.cross = (Block(width, Attention(width), dropout) for _ in range(2))
        self.mlp = Block(width, MLP(width), dropout)

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """All steps at once; what came of them, and their keys and values."""
        attention = self.own.inner
        assert isinstance(attention, Attention)
        normed = self.own.norm(x)
        past = attention.remember(normed)
        x = x + self.own.drop(attention.look(normed, past, None, causal=True))
        return self._rest(x, memory, mask), past

    def step(
        self, x: Tensor, memory: Tensor, mask: Tensor, past: Tensor, place: Tensor, seen: Tensor
    ) -> Tensor:
        """One step float[N, 1, width] of each row, whose keys and values are put into `past` at `place` int[N]."""
        attention = self.own.inner
        assert isinstance(attention, Attention)
        normed = self.own.norm(x)
        past[torch.arange(len(x), device=x.device), :, place] = attention.remember(normed)[:, :, 0].to(
            past.dtype
        )
        x = x + self.own.drop(attention.look(normed, past[:, :, : seen.shape[-1]], seen))
        return self._rest(x, memory, mask)

    def _rest(self, x: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        attention = self.cross.inner
        assert isinstance(attention, Attention)
        x = x + self.cross.drop(attention.look(self.cross.norm(x), memory, mask))
        return self.mlp.add(x)


class TransformerTranslator(nn.Module):
    """As many layers of encoder and of decoder as there are widths after the first, all of one width."""

    rewinds = True  # whether the past of fewer tokens is a part of that of more
    positions: Tensor

    def __init__(self, shape: Shape, hidden: Sequence[int], dropout: float = 0.0) -> None:
        super().__init__()
        width = hidden[0]
        if len(hidden) < 2 or any(size != width for size in hidden) or width % (2 * HEADS):
            raise DescantError(
                f"A transformer's hidden must name one width of a multiple of {2 * HEADS}, once for the embeddings and "
                f"once for each layer, such as 128 128 128; not {' '.join(map(str, hidden))}."
            )
        self.source, self.target = (embedding(ids, width) for ids in (shape.source, shape.target))
        self.encoder = nn.ModuleList(_EncoderLayer(width, dropout) for _ in hidden[1:])
        self.decoder = nn.ModuleList(_DecoderLayer(width, dropout) for _ in hidden[1:])
        self.encoded, self.norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.drop = Dropout(dropout)
        longest = max(shape.source_columns, shape.target_columns + 1)
        self.register_buffer("positions", sinusoids(longest, width), persistent=False)
        self.out_features = width

    def encode(self, source: Tensor) -> Tensors:
        """What the decoder sees of sources int64[E, S]: keys and values of each layer, and where there are words."""
        visible = source != PAD
        visible[:, 0] = True  # an empty source would leave nothing to look at
        mask, x = visible[:, None, None], self._embed(self.source, source, self.positions[: source.shape[1]])
        for layer in self.encoder:
            x = layer(x, mask)
        x = self.encoded(x)
        cross = {f"cross{i}": layer.cross.inner.remember(x) for i, layer in enumerate(self.decoder)}  # type: ignore[union-attr, operator]
        return {"visible": visible, **cross}

    def decode(self, memory: Tensors, inputs: Tensor) -> tuple[Tensor, Tensors]:
        """Features of all steps float[E, L, width] of `inputs` int64[E, L], and the past that they leave."""
        x = self._embed(self.target, inputs, self.positions[: inputs.shape[1]])
        mask, past = memory["visible"][:, None, None], {}
        for i, layer in enumerate(self.decoder):
            x, past[f"own{i}"] = layer(x, memory[f"cross{i}"], mask)
        return self.norm(x), past

    def begin(self, memory: Tensors, steps: int) -> Tensors:
        """The past before the first token, with room for `steps`."""
        cross = memory["cross0"]
        n, heads, _, width = cross.shape
        return {f"own{i}": cross.new_zeros(n, heads, steps, width) for i in range(len(self.decoder))}

    def put(self, past: Tensors, rows: Tensor, found: Tensors, lengths: Tensor) -> None:
        """Put the past that `decode` left into rows int64[R] of another one; only `lengths` of it count, by `step`."""
        for name, value in found.items():
            past[name][rows, :, : value.shape[2]] = value

    def step(self, memory: Tensors, past: Tensors, token: Tensor, place: Tensor) -> Tensor:
        """Features float[N, width] after one token of each row int64[N], the one at `place` int64[N]; `past` grows."""
        x = self._embed(self.target, token[:, None], self.positions[place][:, None])
        mask = memory["visible"][:, None, None]
        steps = torch.arange(int(place.max()) + 1, device=place.device)
        seen = (steps <= place[:, None])[:, None, None]
        for i, layer in enumerate(self.decoder):
            x = layer.step(x, memory[f"cross{i}"], mask, past[f"own{i}"], place, seen)  # type: ignore[operator]
        out: Tensor = self.norm(x[:, 0])
        return out

    def _embed(self, table: nn.Module, tokens: Tensor, positions: Tensor) -> Tensor:
        x: Tensor = self.drop(table(tokens) * math.sqrt(self.out_features) + positions)
        return x


def embedding(ids: int, width: int) -> nn.Embedding:
    """A table whose rows are about 1 long, so that it can be the last layer too."""
    table = nn.Embedding(ids, width)
    nn.init.normal_(table.weight, std=width**-0.5)
    return table


def sinusoids(steps: int, width: int) -> Tensor:
    """Vaswani et al.'s positions, float[steps, width], sines first."""
    rates = torch.exp(-math.log(10_000) * torch.arange(width // 2) / (width // 2))
    angles = torch.arange(steps)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)
