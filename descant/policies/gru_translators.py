"""A GRU encoder and decoder with attention (Bahdanau et al. 2015; Cho et al. 2014).

Differences from the paper: attention is a scaled dot product with four heads, asked by a first layer of the decoder; a
second one gets what was seen, so that it knows what has been translated. So all steps of a sentence are one pass.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from descant.errors import DescantError
from descant.policies.linear import Dense
from descant.policies.sentences import Shape
from descant.policies.transformer_translators import HEADS, Tensors, by_head, embedding
from descant.text.vocabularies import PAD


class GRUTranslator(nn.Module):
    """Embeddings of the first width, encoder (both ways) and decoder of the second."""

    rewinds = False  # whether the past of fewer tokens is a part of that of more

    def __init__(self, shape: Shape, hidden: Sequence[int], dropout: float = 0.0) -> None:
        super().__init__()
        if len(hidden) != 2 or hidden[1] % (2 * HEADS):
            raise DescantError(
                f"A gru's hidden must name two widths, the embeddings' and the layers', a multiple of {2 * HEADS}, "
                f"such as 128 256; not {' '.join(map(str, hidden))}."
            )
        size, width = hidden
        self.source, self.target = (embedding(ids, size) for ids in (shape.source, shape.target))
        self.forwards, self.backwards = (nn.GRU(size, width // 2, batch_first=True) for _ in range(2))
        self.start = Dense(width, 2 * width)
        self.memory, self.query = Dense(width, width), Dense(width, width)
        self.first = nn.GRU(size, width, batch_first=True)
        self.second = nn.GRU(2 * width, width, batch_first=True)
        self.join, self.norm = Dense(2 * width, size), nn.LayerNorm(size)
        self.drop = nn.Dropout(dropout)
        self.width, self.out_features, self.scale = width, size, math.sqrt(size)

    def train(self, mode: bool = True) -> Self:
        """As of every module, but for the layers that remember: cuDNN has gradients of them in training alone.

        They drop nothing themselves, so that it makes no other difference.
        """
        super().train(mode)
        for layer in (self.forwards, self.backwards, self.first, self.second):
            layer.train()
        return self

    def encode(self, source: Tensor) -> Tensors:
        """What the decoder sees of sources int64[E, S]: keys, values, where there are words, and where it begins."""
        visible = source != PAD
        visible[:, 0] = True  # an empty source would leave nothing to look at
        words = self.drop(self.source(source) * self.scale)
        back = backwards(visible)
        one, _ = self.forwards(words)
        two, _ = self.backwards(words.gather(1, back[..., None].expand_as(words)))
        values = torch.cat([one, two.gather(1, back[..., None].expand_as(two))], dim=-1)
        last = visible.sum(dim=1) - 1
        each = torch.arange(len(last), device=last.device)
        half = values.shape[-1] // 2  # where each of the two has read all
        ends = torch.cat([values[each, last, :half], values[:, 0, half:]], dim=1)
        values = self.drop(values)
        begin = torch.tanh(self.start(ends)).view(len(source), 2, self.width)
        return {
            "visible": visible,
            "keys": by_head(self.memory(values)),
            "values": by_head(values),
            "begin": begin,
        }

    def decode(self, memory: Tensors, inputs: Tensor) -> tuple[Tensor, Tensors]:
        """Features of all steps float[E, L, size] of `inputs` int64[E, L], and the states that they leave."""
        begin = memory["begin"].transpose(0, 1).contiguous()
        asked, _ = self.first(self.drop(self.target(inputs) * self.scale), begin[:1])
        seen = self._look(asked, memory)
        out, _ = self.second(torch.cat([asked, seen], dim=-1), begin[1:])
        return self._out(out, seen), {"hidden": torch.stack([asked, out], dim=2)}

    def begin(self, memory: Tensors, steps: int) -> Tensors:
        """The state before the first token."""
        return {"hidden": memory["begin"].clone()}

    def put(self, past: Tensors, rows: Tensor, found: Tensors, lengths: Tensor) -> None:
        """Put the states after `lengths` int64[R] tokens of what `decode` left into rows int64[R] of another past."""
        each = torch.arange(len(rows), device=rows.device)
        past["hidden"][rows] = found["hidden"][each, lengths - 1]

    def step(self, memory: Tensors, past: Tensors, token: Tensor, place: Tensor) -> Tensor:
        """Features float[N, size] after one token of each row int64[N]; the state moves on, from the first anew."""
        hidden = torch.where((place == 0)[:, None, None], memory["begin"], past["hidden"])
        asked = _cell(self.first, self.drop(self.target(token) * self.scale), hidden[:, 0])
        seen = self._look(asked[:, None], memory)[:, 0]
        out = _cell(self.second, torch.cat([asked, seen], dim=-1), hidden[:, 1])
        past["hidden"] = torch.stack([asked, out], dim=1)
        return self._out(out, seen)

    def _look(self, asked: Tensor, memory: Tensors) -> Tensor:
        query, mask = by_head(self.query(asked)), memory["visible"][:, None, None]
        seen = functional.scaled_dot_product_attention(
            query, memory["keys"], memory["values"], attn_mask=mask
        )
        return seen.transpose(1, 2).reshape(asked.shape)

    def _out(self, out: Tensor, seen: Tensor) -> Tensor:
        features: Tensor = self.norm(self.join(self.drop(torch.cat([out, seen], dim=-1))))
        return features


def backwards(visible: Tensor) -> Tensor:
    """Places that turn the words of each sentence round and leave the padding behind: int64[E, S]."""
    place = torch.arange(visible.shape[1], device=visible.device)
    length = visible.sum(dim=1, keepdim=True)
    return torch.where(place < length, length - 1 - place, place)


def _cell(layer: nn.GRU, x: Tensor, hidden: Tensor) -> Tensor:
    return torch.gru_cell(x, hidden, *layer.all_weights[0])
