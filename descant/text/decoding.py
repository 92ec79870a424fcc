"""Translations out of a network that translates: the likeliest word each time, drawn, by beam search, of least risk.

All work on batches, with what the decoder made of the words before kept, and under the environment's mask: special
words have no chance, EOS none as the first token, and the last token that fits is EOS.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from descant.errors import DescantError
from descant.policies.categorical import MASKED, sample
from descant.policies.sentences import trimmed
from descant.policies.translators import TranslationNetwork
from descant.tasks import Floats
from descant.text import bleu
from descant.text.matches import NOTHING, make_references
from descant.text.vocabularies import BOS, EOS, PAD, UNK

BATCH = 64  # sentences at once
ROWS = 512  # hypotheses at once, of beams and of samples
SHRINK = 0.75  # rows that still go on, of those there are, below which the others are left behind
NEVER = -1e30


@dataclass(frozen=True)
class Translations:
    """Tokens of each without EOS, and its score: log-probability, divided by length^penalty of a beam."""

    tokens: list[list[int]]
    scores: Floats


@dataclass(frozen=True)
class Drawing:
    """How words are drawn: from log-probabilities over `temperature`, of the `top_k` likeliest words (0 for all), of
    the fewest words that have `top_p` of the probability."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if self.temperature < 0 or self.top_k < 0 or not 0 < self.top_p <= 1:
            raise DescantError("temperature and top_k must be 0 or more, and top_p above 0 and at most 1.")

    def __call__(self, log_probs: Tensor) -> Tensor:
        """Log-probabilities float[n, V] of what is drawn from those of the network, float[n, V]."""
        found = torch.log_softmax(log_probs / self.temperature, dim=-1)
        if self.top_k and self.top_k < found.shape[-1]:
            least = found.topk(self.top_k, dim=-1).values[:, -1:]
            found = torch.where(found >= least, found, MASKED).log_softmax(dim=-1)
        if self.top_p < 1:
            ranked, order = found.sort(dim=-1, descending=True)
            probs = ranked.exp()
            kept = torch.empty_like(found, dtype=torch.bool)
            kept.scatter_(-1, order, probs.cumsum(dim=-1) - probs < self.top_p)
            found = torch.where(kept, found, MASKED).log_softmax(dim=-1)
        return found


# Log-probabilities float[n, V] to words int64[n] and what each of them adds to the score, float[n].
Pick = Callable[[Tensor], tuple[Tensor, Tensor]]


def greedy(network: TranslationNetwork, sources: Any, limit: int) -> Translations:
    """The likeliest word each time, of sources int[n, S]; at most `limit` tokens, EOS included."""

    def likeliest(log_probs: Tensor) -> tuple[Tensor, Tensor]:
        best = log_probs.max(dim=-1)
        return best.indices, best.values

    return _in_batches(sources, BATCH, lambda some: _write(network, some, limit, likeliest))


def draw(
    network: TranslationNetwork,
    sources: Any,
    limit: int,
    drawing: Drawing | None = None,
    generator: torch.Generator | None = None,
) -> Translations:
    """Translations drawn from sources int[n, S]; scores are log-probabilities of what was drawn from."""
    drawing = Drawing() if drawing is None else drawing
    if drawing.temperature == 0:
        return greedy(network, sources, limit)

    def drawn(log_probs: Tensor) -> tuple[Tensor, Tensor]:
        found = drawing(log_probs)
        words = sample(found, generator)
        return words, found.gather(1, words[:, None])[:, 0]

    return _in_batches(sources, ROWS, lambda some: _write(network, some, limit, drawn))


def beam(
    network: TranslationNetwork, sources: Any, limit: int, width: int = 5, length_penalty: float = 1.0
) -> Translations:
    """The best by log-probability over length^`length_penalty` (EOS counts) that a beam of `width` finds.

    A hypothesis that ends keeps its place of the beam (Sutskever et al. 2014), so that a beam of 1 is `greedy`.
    """
    if width < 1 or length_penalty < 0:
        raise DescantError("A beam's width must be 1 or more, and its length penalty 0 or more.")
    size = max(ROWS // width, 1)
    return _in_batches(sources, size, lambda some: _search(network, some, limit, width, length_penalty))


def minimum_bayes_risk(
    network: TranslationNetwork,
    sources: Any,
    limit: int,
    samples: int = 32,
    generator: torch.Generator | None = None,
) -> Translations:
    """Of translations drawn, the one that has the highest mean BLEU against all of them (Kumar and Byrne 2004).

    The score is that mean, 0 to 100.
    """
    if samples < 1:
        raise DescantError(f"Minimum Bayes risk needs a sample at least, not {samples}.")
    sources = np.asarray(sources)
    found = draw(network, np.repeat(sources, samples, axis=0), limit, None, generator)
    tokens, scores = [], []
    for first in range(0, len(found.tokens), samples):
        best, score = least_risk(found.tokens[first : first + samples])
        tokens.append(best)
        scores.append(score)
    return Translations(tokens, np.array(scores))


def least_risk(candidates: Sequence[list[int]]) -> tuple[list[int], float]:
    """The candidate with the highest mean sentence BLEU against all, itself included; the first of those alike."""
    counts: dict[tuple[int, ...], int] = {}
    for each in candidates:
        counts[tuple(each)] = counts.get(tuple(each), 0) + 1
    texts, weights = [list(text) for text in counts], np.array(list(counts.values()), float)
    n = len(texts)
    lengths = np.array([len(text) for text in texts], np.int64)
    padded = np.full((n, max(lengths.max(), 1)), NOTHING, np.int64)
    for row, text in zip(padded, texts, strict=True):
        row[: len(text)] = text
    references = make_references([[text] for text in texts])
    hypothesis, reference = (index.ravel() for index in np.indices((n, n)))
    found = bleu.whole_scores(references, reference, padded[hypothesis], lengths[hypothesis], bleu.Config())
    means = found.reshape(n, n) @ weights / weights.sum()
    return texts[int(means.argmax())], float(means.max())


class Writer:
    """A network with what it keeps of some rows that write, all as far as each other."""

    def __init__(self, network: TranslationNetwork, sources: Tensor, limit: int, copies: int = 1) -> None:
        self.network, self.limit, self.place = network, limit, 0
        memory = network.model.encode(trimmed(sources.to(network.device).long()))
        self.memory = {k: v.repeat_interleave(copies, 0) if copies > 1 else v for k, v in memory.items()}
        self.past = network.model.begin(self.memory, limit)

    def step(self, token: Tensor) -> Tensor:
        """Log-probabilities float[n, V] of the next token, after `token` int64[n]."""
        place = torch.full_like(token, self.place)
        features = self.network.model.step(self.memory, self.past, token, place)
        logits = self.network.headed(features, place)["policy"]
        self.place += 1
        if self.place == self.limit:
            last = torch.full_like(logits, MASKED)
            last[:, EOS] = 0.0
            return last
        return torch.log_softmax(logits, dim=-1)

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows int64[k] alone, in this order."""
        self.memory = {name: value[rows] for name, value in self.memory.items()}
        self.past = {name: self._taken(value, rows) for name, value in self.past.items()}

    def reorder(self, rows: Tensor) -> None:
        """The same of rows of the same sources: what is known of sources stays."""
        self.past = {name: self._taken(value, rows) for name, value in self.past.items()}

    def _taken(self, value: Tensor, rows: Tensor) -> Tensor:
        if value.dim() < 4:
            return value[rows]
        room = value.new_empty(len(rows), *value.shape[1:])  # of keys and values, those that are there
        room[:, :, : self.place] = value[rows, :, : self.place]
        return room


def _in_batches(sources: Any, size: int, write: Callable[[Tensor], Translations]) -> Translations:
    """Translate so many at a time, those of like length together; in the order asked for."""
    tensor = torch.as_tensor(np.asarray(sources))
    order = np.argsort(-(tensor != PAD).sum(dim=1).numpy(), kind="stable")
    tokens: list[list[int]] = [[] for _ in order]
    scores = np.zeros(len(order))
    with torch.inference_mode():
        for first in range(0, len(order), size):
            rows = order[first : first + size]
            found = write(tensor[torch.as_tensor(rows)])
            scores[rows] = found.scores
            for row, each in zip(rows, found.tokens, strict=True):
                tokens[row] = each
    return Translations(tokens, scores)


def _write(network: TranslationNetwork, sources: Tensor, limit: int, pick: Pick) -> Translations:
    writer, n = Writer(network, sources, limit), len(sources)
    device = network.device
    written = torch.full((n, limit), PAD, device=device)
    scores = torch.zeros(n, device=device)
    row, live = torch.arange(n, device=device), torch.ones(n, dtype=torch.bool, device=device)
    token = torch.full((n,), BOS, device=device)
    for t in range(limit):
        token, value = pick(writer.step(token))
        written[row, t] = torch.where(live, token, PAD)
        scores[row] += torch.where(live, value, 0.0)
        live = live & (token != EOS)
        going = int(live.sum())
        if not going:
            break
        if going < SHRINK * len(live):
            kept = live.nonzero()[:, 0]
            writer.keep(kept)
            row, live, token = row[kept], live[kept], token[kept]
    return Translations(_texts(written), scores.cpu().numpy().astype(np.float64))


def _texts(written: Tensor) -> list[list[int]]:
    """Tokens of rows int64[n, T] before their EOS."""
    ended = (written == EOS).int().argmax(dim=1).tolist()
    return [row[:end] for row, end in zip(written.tolist(), ended, strict=True)]


def _search(
    network: TranslationNetwork, sources: Tensor, limit: int, width: int, penalty: float
) -> Translations:
    n, device = len(sources), network.device
    writer = Writer(network, sources, limit, width)
    row = torch.arange(n, device=device)  # which sentence each beam is of
    scores = torch.full((n, width), NEVER, device=device)
    scores[:, 0] = 0.0  # all begin alike: one place is enough
    written = torch.full((n, width, limit), PAD, device=device)
    best, found = torch.full((n,), 2 * NEVER, device=device), torch.full((n, limit), PAD, device=device)
    places = torch.full((n,), width, device=device)
    token = torch.full((n * width,), BOS, device=device)
    for t in range(limit):
        beams = len(row)
        log_probs = writer.step(token).view(beams, width, -1)
        words = log_probs.shape[-1]
        ranked = (scores[..., None] + log_probs).view(beams, -1).topk(width, dim=1)
        parent, token = ranked.indices // words, ranked.indices % words
        at = torch.arange(beams, device=device)[:, None]
        written = written[at, parent]
        written[:, :, t] = token
        alive = (torch.arange(width, device=device) < places[:, None]) & (ranked.values > MASKED / 2)
        ends = alive & (token == EOS)
        _settle(ends, ranked.values / (t + 1) ** penalty, written, row, best, found)
        places = places - ends.sum(dim=1)
        scores = torch.where(alive & ~ends, ranked.values, NEVER)
        going = (scores > MASKED).any(dim=1)
        if not going.any():
            break
        rows = at * width + parent
        if going.float().mean() < SHRINK:
            kept = going.nonzero()[:, 0]
            writer.keep(rows[kept].view(-1))
            row, scores, written, places, token = (x[kept] for x in (row, scores, written, places, token))
        else:
            writer.reorder(rows.view(-1))
        token = token.reshape(-1)
    return Translations(_texts(found), best.cpu().numpy().astype(np.float64))


def _settle(ends: Tensor, values: Tensor, written: Tensor, row: Tensor, best: Tensor, found: Tensor) -> None:
    """Keep the best of the hypotheses that end now, where it is better than what a sentence has."""
    top = torch.where(ends, values, 2 * NEVER).max(dim=1)
    better = top.values > best[row]
    mine = row[better]
    best[mine] = top.values[better]
    found[mine] = written[better.nonzero()[:, 0], top.indices[better]]


def encode_sources(codec: Any, texts: Sequence[str], columns: int) -> tuple[NDArray[np.int32], list[str]]:
    """Texts as int32[n, columns] with EOS; and what is wrong with each, "" where it is fine: nothing, too long, or no
    known word."""
    found = np.full((len(texts), columns), PAD, np.int32)
    faults = []
    for row, text in zip(found, texts, strict=True):
        ids = codec.encode(text)
        if not ids:
            faults.append("the line is empty")
        elif len(ids) >= columns:
            faults.append(f"the sentence has {len(ids)} tokens, more than max_words ({columns - 1})")
        elif all(i == UNK for i in ids):
            faults.append("no word of the source is in the vocabulary")
        else:
            faults.append("")
        ids = ids[: columns - 1]
        row[: len(ids) + 1] = [*ids, EOS]
    return found, faults
