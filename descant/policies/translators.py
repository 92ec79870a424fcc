"""A network that translates: a policy, or a critic, for the observations of `descant/Translation-v0`.

An observation tells all, source and what is written, so that nothing has to be remembered from step to step; but to
read it anew for every token would cost a sentence a token. Whole sentences are one pass here, and a step is asked of
what was kept of the steps before, if the observation shows that it belongs to them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from descant.errors import DescantError, did_you_mean
from descant.policies.categorical import MASKED
from descant.policies.gru_translators import GRUTranslator
from descant.policies.heads import make_head
from descant.policies.linear import linear
from descant.policies.losses import output_loss
from descant.policies.networks import Network
from descant.policies.sentences import Sentences, Shape, sentences_of, trimmed
from descant.policies.transformer_translators import Tensors, TransformerTranslator
from descant.text.vocabularies import BOS, EOS, PAD, UNK

MODELS = {"gru": GRUTranslator, "transformer": TransformerTranslator}
TOGETHER = 64  # sentences that are read at once, those of like length, so that few of their words are padding
EQUAL = 4  # rows that show each source, in the mean, from which it pays to look for those that are equal
SHRINK = 0.75  # rows that still write, of those that are kept, below which the others are left behind


@dataclass
class Cache:
    """What was kept of `n` rows: sources, what was written before the last step, and what the model made of them.

    They are `rows` of the `size` that are observed: those that have been over for two steps may be left behind.
    """

    source: Tensor  # int64[n, S]
    target: Tensor  # int64[n, T]
    consumed: Tensor  # int64[n], tokens that the past holds, BOS included
    memory: Tensors
    past: Tensors
    rows: Tensor  # int64[n]
    over: Tensor  # bool[n], at the last step
    size: int

    def keep(self, chosen: Tensor) -> None:
        """Leave all but the chosen rows behind, bool[n]."""
        for name in ("source", "target", "consumed", "rows", "over"):
            setattr(self, name, getattr(self, name)[chosen])
        self.memory = {name: value[chosen] for name, value in self.memory.items()}
        filled = int(self.consumed.max()) if len(self.consumed) else 0
        self.past = {name: _taken(value, chosen, filled) for name, value in self.past.items()}


class TranslationNetwork(Network):
    """Encoder, decoder, heads; the policy's head is the table of target words.

    Padding, BOS and unknown words have no chance, and EOS none as the first token, as in the environment's mask.

    Args:
        shape: of what is observed.
        heads: width by kind, as of `Network`; a policy's must be the target's ids.
        hidden: widths: of embeddings and layers (gru), or one for the embeddings and one for each layer of encoder and
            decoder (transformer).
        trunk: gru or transformer.
        dropout: share of what is dropped in training; it is on between `train()` and `eval()`, off at first.
    """

    cached = True
    forbidden: Tensor

    def __init__(
        self,
        shape: Shape,
        heads: Mapping[str, int],
        hidden: Sequence[int] = (128, 256),
        trunk: str = "gru",
        dropout: float = 0.0,
    ) -> None:
        nn.Module.__init__(self)
        if trunk not in MODELS:
            raise DescantError(f"Unknown trunk {trunk!r}.{did_you_mean(trunk, MODELS)}")
        if not 0 <= dropout < 1:
            raise DescantError(f"dropout must be 0 or more and below 1, not {dropout}.")
        self.shape = shape
        made: Any = MODELS[trunk](shape, hidden, dropout)
        self.model: Any = made
        self.bias = nn.Parameter(torch.zeros(shape.target)) if "policy" in heads else None
        width: int = made.out_features
        others = {kind: make_head(kind, width, out) for kind, out in heads.items() if kind != "policy"}
        self.heads = nn.ModuleDict(others)
        forbidden = torch.zeros(shape.target)
        forbidden[[PAD, BOS, UNK]] = MASKED
        self.register_buffer("forbidden", forbidden, persistent=False)
        self.eval()

    @property
    def recurrent(self) -> bool:
        """Episodes go through it side by side."""
        return True

    @property
    def trunk(self) -> Any:  # type: ignore[override]
        """What has the features."""
        return self.model

    def valid_outputs(
        self, observation: Any, starts: Tensor, valid: Tensor, state: Any = None
    ) -> dict[str, Tensor]:
        """Heads of the steps where `valid` bool[T, N], float[K, width] each; nothing is worked out of the others."""
        return self.at(observation, valid)

    def cross_entropy(self, observation: Any, wanted: Tensor, actions: Tensor, smoothing: float) -> Tensor:
        """`output_loss`, a scalar, of the wanted steps bool[T, N], whose tokens are `actions` int64[T, N]."""
        device = self.device
        wanted = wanted.to(device)
        found = sentences_of({key: value.to(device) for key, value in observation.items()}, wanted)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.autocast):
            features, _ = self.model.decode(self.model.encode(found.source), found.inputs)
        if self.autocast:
            features = features.bfloat16()
        assert self.bias is not None
        shown = (features[found.row, found.place], self.model.target.weight, self.bias + self.forbidden)
        return output_loss(*shown, actions.to(device)[wanted], smoothing, (found.place == 0, EOS))

    def at(self, observation: Any, wanted: Tensor) -> dict[str, Tensor]:
        """Heads of the wanted steps, float[K, width] each, of observations [T, N, ...] and bool[T, N]."""
        device = self.device
        seen = {key: value.to(device) for key, value in observation.items()}
        found = sentences_of(seen, wanted.to(device))
        return self.headed(self._features(found), found.place)

    def _features(self, found: Sentences) -> Tensor:
        """Features of all wanted steps, float[K, width], from sentences of about one length at a time."""
        longest = found.place.new_zeros(len(found.inputs)).scatter_reduce(0, found.row, found.place, "amax")
        alike = self._alike(found.source)
        features, order = [], []
        by_length = longest.argsort(descending=True, stable=True)
        for first in range(0, max(len(by_length), 1), TOGETHER):
            rows = by_length[first : first + TOGETHER]
            number = torch.full_like(longest, -1)
            number[rows] = torch.arange(len(rows), device=rows.device)
            mine = (number[found.row] >= 0).nonzero()[:, 0]
            inputs = found.inputs[rows, : int(longest[rows[:1]].sum()) + 1]
            with torch.autocast(inputs.device.type, torch.bfloat16, enabled=self.autocast):
                if alike is None:
                    memory = self.model.encode(trimmed(found.source[rows]))
                else:
                    memory = _rows_of(alike[0], alike[1][rows])
                decoded, _ = self.model.decode(memory, inputs)
            picked = decoded[number[found.row[mine]], found.place[mine]]
            features.append(picked.float() if picked.dtype is torch.bfloat16 else picked)
            order.append(mine)
        return torch.cat(features)[torch.cat(order).argsort()]

    def sequence(self, observation: Any, starts: Tensor, state: Any = None) -> tuple[dict[str, Tensor], Any]:
        """Heads of [T, N, ...], float[T, N, width] each; where episodes begin is told by what is observed."""
        heads = self.at(observation, torch.ones_like(starts))
        return {kind: value.view(*starts.shape, -1) for kind, value in heads.items()}, None

    def outputs(self, observation: Any, starts: Tensor, state: Any = None) -> dict[str, Tensor]:
        """The same without a state, of which there is none."""
        return self.sequence(observation, starts)[0]

    def forward(self, observation: Any) -> dict[str, Tensor]:
        """Heads of observations [B, ...], float[B, width] each."""
        one = {key: value[None] for key, value in observation.items()}
        return self.at(one, torch.ones_like(one["position"], dtype=torch.bool))

    def headed(self, features: Tensor, place: Tensor) -> dict[str, Tensor]:
        """Heads of features float[K, width] after `place` int64[K] tokens."""
        heads = {kind: head(features) for kind, head in self.heads.items()}
        if self.bias is not None:
            logits = linear(features, self.model.target.weight, self.bias) + self.forbidden
            first = (place == 0)[:, None] & (torch.arange(logits.shape[1], device=place.device) == EOS)
            heads["policy"] = logits.masked_fill(first, MASKED)
        return heads

    def step(self, observation: Any, starts: Tensor, state: Any) -> tuple[dict[str, Tensor], Any]:
        """Heads of one step [N, ...], float[N, width] each, on the CPU, and what is kept of it.

        What is kept is compared with what is observed: a row that does not go on from it is read anew, so that a
        wrong `state`, or None, costs time alone. Rows that show for long that they are over may get zeros.
        """
        seen = {key: value.to(self.device).long() for key, value in observation.items()}
        cache = self._left(state, over_of(seen))
        if cache is None or len(cache.rows) == cache.size:
            return self._step(seen, cache)
        heads, cache = self._step({key: value[cache.rows] for key, value in seen.items()}, cache)
        rows = cache.rows.cpu()
        return {kind: _spread(value, rows, cache.size) for kind, value in heads.items()}, cache

    def _step(self, seen: dict[str, Tensor], state: Cache | None) -> tuple[dict[str, Tensor], Cache]:
        """The same of the rows that are kept, or of all where nothing is."""
        source, target, place = seen["source"], seen["target"], seen["position"]
        cache = self.renewed(source, state)
        each = torch.arange(len(place), device=place.device)
        before = (place - 1).clamp(min=0)
        other = target != cache.target
        other[each, before] = False
        over = over_of(seen)
        stale = (place > 0) & ((cache.consumed != place) | other.any(dim=1)) & ~(over & cache.over)
        if stale.any():
            self._catch_up(cache, stale.nonzero()[:, 0], target, place)
        token = torch.where(place > 0, target[each, before], BOS)
        features = self.model.step(cache.memory, cache.past, token, place)
        cache.target, cache.consumed, cache.over = target, place + 1, over
        return {kind: value.cpu() for kind, value in self.headed(features, place).items()}, cache

    def branched(self, observation: Any, rows: Tensor, lengths: Tensor) -> Cache:
        """What is kept of copies of `rows` int64[R] of what is observed, cut to `lengths` int64[R] of its tokens.

        It is as if each copy had just been asked for the token after these, so that a step of what then is written goes
        on from here. Nothing is encoded twice; what can't be cut, as a state that was moved on, is read anew.
        """
        seen = {key: value.to(self.device).long() for key, value in observation.items()}
        _, whole = self._step(seen, None)
        rows, lengths = rows.to(self.device), lengths.to(self.device)
        filled = int(lengths.max()) + 1 if len(lengths) else 0
        columns = torch.arange(whole.target.shape[1], device=self.device)
        target = torch.where(columns < lengths[:, None], whole.target[rows], PAD)
        consumed = lengths + 1 if self.model.rewinds else torch.zeros_like(lengths)
        memory = {name: value[rows] for name, value in whole.memory.items()}
        past = {name: _taken(value, rows, filled) for name, value in whole.past.items()}
        each = torch.arange(len(rows), device=self.device)
        over = torch.zeros_like(each, dtype=torch.bool)
        return Cache(whole.source[rows], target, consumed, memory, past, each, over, len(rows))

    def _left(self, state: Any, over: Tensor) -> Cache | None:
        """The cache, once they are many without rows that were over before and are, bool[N]; or None if useless.

        What is over for one step may begin anew at the next, as environments do: it is worth keeping.
        """
        if not isinstance(state, Cache) or state.size != len(over):
            return None
        if len(state.rows) < state.size:
            gone = torch.ones_like(over)
            gone[state.rows] = False
            if (gone & ~over).any():
                return None
        wanted = ~(over[state.rows] & state.over)
        if 0 < int(wanted.sum()) < SHRINK * len(wanted):
            state.keep(wanted)
        return state

    def renewed(self, source: Tensor, state: Any) -> Cache:
        """The cache of rows int64[N, S], with those encoded whose source is new."""
        if not isinstance(state, Cache) or state.source.shape != source.shape:
            memory = self.encoded(source)
            past = self.model.begin(memory, self.shape.target_columns + 1)
            nothing = source.new_zeros(len(source))
            unwritten = source.new_full((len(source), self.shape.target_columns), PAD)
            each = torch.arange(len(source), device=source.device)
            return Cache(source, unwritten, nothing, memory, past, each, nothing.bool(), len(source))
        new = (state.source != source).any(dim=1).nonzero()[:, 0]
        if len(new):
            found = self.encoded(source[new])
            columns = max(found["visible"].shape[1], state.memory["visible"].shape[1])
            for name, value in found.items():
                state.memory[name] = _filled(state.memory[name], columns, name)
                state.memory[name][new] = _filled(value, columns, name)
            state.source = source
            state.consumed[new] = 0
        return state

    def encoded(self, source: Tensor) -> Tensors:
        """What the model makes of sources int64[N, S], as far as the longest of them goes."""
        alike = self._alike(source)
        found: Tensors = self.model.encode(trimmed(source)) if alike is None else _rows_of(*alike)
        return found

    def _alike(self, source: Tensor) -> tuple[Tensors, Tensor] | None:
        """The memory of sources int64[N, S] that differ, and which of them each is, int64[N]; None where few are equal.

        A group's translations are all of one source, which is so encoded once.
        """
        if self.training or len(source) < EQUAL:  # with dropout no two are alike
            return None
        different, which = torch.unique(source, dim=0, return_inverse=True)
        if len(source) < EQUAL * len(different):
            return None
        with torch.autocast(source.device.type, torch.bfloat16, enabled=self.autocast):
            return self.model.encode(trimmed(different)), which

    def _catch_up(self, cache: Cache, rows: Tensor, target: Tensor, place: Tensor) -> None:
        """Read what the rows have written before their last token."""
        lengths = place[rows]
        words = target[rows, : int(lengths.max()) - 1]
        inputs = torch.cat([words.new_full((len(rows), 1), BOS), words], dim=1)
        _, found = self.model.decode({name: value[rows] for name, value in cache.memory.items()}, inputs)
        self.model.put(cache.past, rows, found, lengths)


def over_of(seen: Tensors) -> Tensor:
    """Where the last word of what is observed ends the sentence, bool[N]."""
    place = seen["position"]
    last = seen["target"].gather(1, (place - 1).clamp(min=0)[:, None])[:, 0]
    return (place > 0) & (last == EOS)


def _rows_of(memory: Tensors, rows: Tensor) -> Tensors:
    """Rows int64[R] of what a model makes of sources; differentiable."""
    return {name: value.index_select(0, rows) for name, value in memory.items()}


def _spread(value: Tensor, rows: Tensor, size: int) -> Tensor:
    """float[size, width] with a value float[n, width] at rows int64[n], 0 elsewhere."""
    whole = value.new_zeros(size, *value.shape[1:])
    whole[rows] = value
    return whole


def _taken(value: Tensor, rows: Tensor, filled: int) -> Tensor:
    """Rows of a past; of keys and values float[n, heads, steps, width] the steps that are there alone are copied."""
    if value.dim() < 4:
        return value[rows]
    count = int(rows.sum()) if rows.dtype is torch.bool else len(rows)
    # Zeros, not whatever is there: rows that are less far look at it, with no weight, and 0 times NaN is NaN.
    room = value.new_zeros(count, *value.shape[1:])
    room[:, :, :filled] = value[rows, :, :filled]
    return room


def _filled(value: Tensor, columns: int, name: str) -> Tensor:
    """Padded to so many words: [N, S] for what is visible, [N, heads, S, width] for keys and values."""
    axis = 1 if name == "visible" else 2
    if name == "begin" or value.shape[axis] == columns:
        return value
    padded = value.new_zeros(*value.shape[:axis], columns, *value.shape[axis + 1 :])
    padded.narrow(axis, 0, value.shape[axis]).copy_(value)
    return padded
