"""Clips of a run that translates: two translations of each of some sentences that were held out."""

from __future__ import annotations

from typing import Any

import numpy as np

from descant.commands.translation import ID, open_translator, split_task
from descant.errors import DescantError
from descant.preferences.records import Clip
from descant.tasks import Task

SPLIT = "val"


def translation_clips(place: str, name: str, n: int, temperature: float, seed: int) -> list[Clip]:
    """`n` clips at most, two of each sentence, drawn; `arguments` are reset options of the environment on the split."""
    import torch

    from descant.text.decoding import Drawing, draw
    from descant.text.vocabularies import EOS

    if not 0 < temperature < np.inf:
        raise DescantError(f"--temperature must be above 0, not {temperature}: two translations are drawn.")
    translator = open_translator(place)
    pairs = split_task(translator, SPLIT, {}).pairs
    count = -(-n // 2)
    if count > len(pairs):
        raise DescantError(
            f"{place} holds {len(pairs)} sentences out, two clips each: ask for --n {2 * len(pairs)} or fewer."
        )
    # Sources of one seed are the same for every run of the same data, so that runs meet on them.
    rows = np.repeat(np.sort(np.random.default_rng(seed).permutation(len(pairs))[:count]), 2)[:n]
    generator = torch.Generator(translator.network.device).manual_seed(seed)
    found = draw(translator.network, pairs.sources[rows], translator.limit, Drawing(temperature), generator)
    return [
        Clip(
            ID,
            {"pairs": [row], "source": pairs.text.source[row]},
            (*map(int, tokens), EOS),
            name,
            text=translator.codecs[1].decode(tokens),
            metadata={"seed": seed, "split": SPLIT},
        )
        for row, tokens in zip(rows.tolist(), found.tokens, strict=True)
    ]


def sentences_of(run: str) -> Task[Any]:
    """The task of the sentences that clips of a run translate, with a reward of 0."""
    from descant.reward_models.comparisons import KeepsLine

    task: Task[Any] = split_task(open_translator(run), SPLIT, {"reward": KeepsLine()})
    return task
