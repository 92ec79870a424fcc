"""Comparisons: which of two items an annotator preferred, from a store or made by hand, and how they are split."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from descant.errors import DescantError
from descant.preferences.clips import COUNTERPOINT, MELODY, play_clips, task_of
from descant.preferences.records import Clip, to_json
from descant.preferences.store import Store
from descant.reward_models.likelihoods import TIE, A, B
from descant.reward_models.stacked import Items
from descant.reward_models.views import TRANSLATION, View, view_of
from descant.tasks import Floats, Ints, Task

ANSWERS = {"a": A, "b": B, "tie": TIE, "both_bad": TIE}


@dataclass(frozen=True)
class Comparisons:
    """K comparisons of items: `pairs` int64[K, 2] rows of `items`, `answers` int64[K] (0 a, 1 b, 2 tie).

    `annotators` int64[K] by index in `names`; `groups` int64[K] is equal where the same two clips were compared.
    """

    items: Items
    pairs: Tensor
    answers: Tensor
    annotators: Tensor
    groups: Tensor
    names: tuple[str, ...] = ("",)
    weights: Tensor | None = None  # float[M, K] of each model, where they differ

    def __len__(self) -> int:
        return len(self.pairs)

    def take(self, rows: Tensor) -> Comparisons:
        """The chosen comparisons of the same items."""
        kept = {name: getattr(self, name)[rows] for name in ("pairs", "answers", "annotators", "groups")}
        weights = None if self.weights is None else self.weights[:, rows]
        return dataclasses.replace(self, **kept, weights=weights)

    def without_ties(self) -> Comparisons:
        """Those that were decided."""
        return self.take(torch.nonzero(self.answers != TIE)[:, 0])


def make_comparisons(items: Items, pairs: Any, answers: Any, annotators: Any = None) -> Comparisons:
    """Comparisons from arrays: pairs int[K, 2], answers int[K] (0, 1, 2), annotators int[K] or all the same."""
    pairs = torch.as_tensor(np.asarray(pairs, np.int64))
    answers = torch.as_tensor(np.asarray(answers, np.int64))
    if pairs.ndim != 2 or pairs.shape[1] != 2 or answers.shape != pairs.shape[:1]:
        raise DescantError("Comparisons need pairs int[K, 2] and answers int[K].")
    who = np.zeros(len(pairs), np.int64) if annotators is None else np.asarray(annotators, np.int64)
    names = tuple(map(str, range(int(who.max(initial=0)) + 1)))
    ordered = pairs.sort(dim=1).values
    groups = torch.unique(ordered, dim=0, return_inverse=True)[1] if len(pairs) else answers
    return Comparisons(items, pairs, answers, torch.as_tensor(who), groups, names)


@dataclass(frozen=True)
class Split:
    """Comparisons to learn from, to stop by, and to report on. No two clips are compared in more than one of them."""

    train: Comparisons
    valid: Comparisons
    test: Comparisons


def split(data: Comparisons, valid: float = 0.1, test: float = 0.1, seed: int = 0) -> Split:
    """Shares of the pairs of clips, whoever judged them and however often, drawn by the seed.

    DescantError where one of the three would be empty.
    """
    groups, of = torch.unique(data.groups, return_inverse=True)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(groups)))
    cut = [max(round(share * len(groups)), 1) for share in (valid, test)]
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order))
    place = rank[of]
    parts = (place >= sum(cut), place < cut[0], (place >= cut[0]) & (place < sum(cut)))
    if len(groups) < 10:
        raise DescantError(
            f"{len(groups)} pairs of clips are judged: a reward model needs 10 or more. Label more."
        )
    return Split(*(data.take(torch.nonzero(part)[:, 0]) for part in parts))


class KeepsLine:
    """A reward of 0 that asks for states which keep all that was written."""

    needs_line = True
    name = "nothing"

    def __call__(self, state: Any, action: Ints, next_state: Any) -> Floats:
        """Zeros float[n]."""
        return np.zeros(len(action))


def clip_items(clips: Sequence[Clip], text: Task[Any] | None = None) -> tuple[Items, View]:
    """What reward models see of clips of one environment; `text` is the task of the sentences that clips translate.

    DescantError for clips of several environments, of none, or of other sentences.
    """
    kinds = sorted({clip.environment for clip in clips})
    if len(kinds) != 1 or kinds[0] not in (MELODY, COUNTERPOINT, TRANSLATION):
        raise DescantError(
            f"Reward models are fitted to clips of one environment, {MELODY}, {COUNTERPOINT} or {TRANSLATION}, "
            f"not of {', '.join(kinds) or 'none'}: make a store of its own for each."
        )
    groups: dict[str, list[int]] = {}
    for row, clip in enumerate(clips):
        groups.setdefault(to_json([*clip.prompt_parts, len(clip.tokens)]), []).append(row)
    parts, view = [], None
    for rows in groups.values():
        together = [clips[row] for row in rows]
        last = _last_of(together, text)
        view = view or view_of(kinds[0], last)
        parts.append(view.items(last))
    assert view is not None
    order = torch.tensor([row for rows in groups.values() for row in rows])
    joined = join_items(parts)
    back = torch.empty_like(order)
    back[order] = torch.arange(len(order))
    return joined.take(back), view


def _last_of(clips: Sequence[Clip], text: Task[Any] | None) -> Any:
    """The state in which clips of one problem and length end."""
    first = clips[0]
    if first.environment != TRANSLATION:
        return play_clips(clips, task_of(first, KeepsLine())).states[-1]
    if text is None:
        raise DescantError(
            f"Clips of {TRANSLATION} are of a run's own sentences and words: pass --run, the run that wrote them, or "
            "one trained on the same text."
        )
    options = {**first.arguments, "pairs": list(first.arguments.get("pairs", ())) * len(clips)}
    return play_clips(clips, text, options).states[-1]


def join_items(parts: Sequence[Items]) -> Items:
    """Items one below the other, padded to the longest."""
    longest = max(part.columns.shape[1] for part in parts)
    padded = [
        torch.nn.functional.pad(part.columns, (0, 0, 0, longest - part.columns.shape[1])) for part in parts
    ]
    return Items(torch.cat(padded), torch.cat([part.lengths for part in parts]))


def read_comparisons(store: Store, text: Task[Any] | None = None) -> tuple[Comparisons, View, list[Clip]]:
    """The standing judgements of a store, skips left out, and the clips that `items` are, in order.

    Both bad counts as a tie. Clips of equal content are the same to the split, whoever wrote them. `text` as of
    `clip_items`.
    """
    standing = [j for j in store.standing() if j.choice in ANSWERS]
    if not standing:
        raise DescantError(f"{store.path} has no judgement that says anything: label pairs first.")
    pairs = {pair.uuid: pair for pair in store.pairs()}
    wanted = dict.fromkeys(h for j in standing for h in (pairs[j.pair].a, pairs[j.pair].b))
    clips = [clip for clip in store.clips() if clip.hash in wanted]
    place = {clip.hash: row for row, clip in enumerate(clips)}
    items, view = clip_items(clips, text)
    names = sorted({j.annotator for j in standing})
    rows = [(place[pairs[j.pair].a], place[pairs[j.pair].b]) for j in standing]
    contents = {content: i for i, content in enumerate(sorted({clip.content for clip in clips}))}
    twos = [sorted(contents[clips[row].content] for row in pair) for pair in rows]
    data = Comparisons(
        items,
        torch.tensor(rows),
        torch.tensor([ANSWERS[str(j.choice)] for j in standing]),
        torch.tensor([names.index(j.annotator) for j in standing]),
        torch.tensor([a * len(contents) + b for a, b in twos]),
        tuple(names),
    )
    return data, view, clips
