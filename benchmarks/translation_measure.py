"""What `bench translation` measures of a model: scores of greedy translations, what is forgotten, where it errs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from descant.control import policy_log_probs
from descant.files import write_atomically
from descant.policies.translators import TranslationNetwork
from descant.text import bleu
from descant.text.decoding import greedy
from descant.text.examples import Examples, examples_of
from descant.text.matches import NOTHING
from descant.text.pairs import Pairs
from descant.text.reports import corpus_scores, likelihood, paired, surface, thoughts
from descant.text.vocabularies import EOS, PAD

PLACES = (1, 5, 9, 13)  # first positions of the groups in which errors are counted
SMOOTHED = {
    "exp": bleu.Config(),
    "add-k 10": bleu.Config("add-k", 10.0),
    "floor 10": bleu.Config("floor", 10.0),
}
ROWS = 128
SAMPLES = 10
TEXTS = "test.txt"  # in a run's folder: what it makes of the test split, a line a sentence

Counts = list[list[int]]  # [tokens, wrong ones] of each group of positions


def measure(
    network: TranslationNetwork, prior: TranslationNetwork | None, test: Any, val: Any, home: Path
) -> dict[str, Any]:
    """Of tasks on the test and validation split; KL and p are beside `prior`, where there is one.

    The translations are left as home/test.txt. What is found holds ten of them and no more, so that it may be
    published where the text may not.
    """
    pairs, limit = test.pairs, test.max_steps
    tokens, texts = translations(network, test)
    write_atomically(home / TEXTS, "".join(text + "\n" for text in texts).encode())
    corpus = {name: found["score"] for name, found in corpus_scores(pairs, texts, 0).items()}
    return {
        **corpus,
        "exact": float(pairs.exact(np.arange(len(pairs)), tokens).mean()),
        "sentence_bleu": sentence_scores(pairs, tokens),
        "perplexity": likelihood(network, val.pairs, limit)["perplexity"],
        **surface(pairs, tokens, limit),
        **{k: v for k, v in thoughts(network, pairs, tokens, limit, prior).items() if k in ("entropy", "kl")},
        "errors": errors(network, pairs, tokens, limit),
        **({"p": paired(pairs, texts, translations(prior, test)[1])["bleu"]["p"]} if prior else {}),
        "samples": samples(pairs, texts),
    }


def translations(network: TranslationNetwork, task: Any) -> tuple[list[list[int]], list[str]]:
    """Greedy ones of all sources: ids without EOS, and their texts."""
    tokens = greedy(network, task.pairs.sources, task.max_steps).tokens
    return tokens, [task.pairs.codecs[1].decode(ids) for ids in tokens]


def samples(pairs: Pairs, texts: Sequence[str]) -> list[list[str]]:
    """[source, first reference, text] of sentences that are spread evenly."""
    picked = np.linspace(0, len(pairs) - 1, min(SAMPLES, len(pairs))).round().astype(int)
    return [[pairs.text.source[i], pairs.answers[i][0], texts[i]] for i in picked]


def sentence_scores(pairs: Pairs, tokens: Sequence[Sequence[int]]) -> dict[str, float]:
    """Mean sentence BLEU, 0 to 100, by each way of smoothing: what a reward that can be cheated would pay."""
    lengths = np.array([len(ids) for ids in tokens], np.int64)
    written = np.full((len(tokens), max(int(lengths.max(initial=1)), 1)), NOTHING, np.int64)
    for row, ids in zip(written, tokens, strict=True):
        row[: len(ids)] = ids
    rows = np.arange(len(tokens))
    return {
        name: float(bleu.whole_scores(pairs.references, rows, written, lengths, config).mean())
        for name, config in SMOOTHED.items()
    }


def errors(
    network: TranslationNetwork, pairs: Pairs, tokens: Sequence[Sequence[int]], limit: int
) -> dict[str, Counts]:
    """Wrong tokens by position: "forced", the likeliest after the reference's words, and "free", after its own.

    A token is wrong where it and the one before it, the reference's or its own, stand nowhere in the reference one
    after the other. So both are held against the same, and a word that is shifted is no error.
    """
    known = examples_of(pairs, limit)
    rows = [i for i, text in enumerate(pairs.text.target) if len(pairs.codecs[1].encode(text)) < limit]
    forced, free = _nothing(), _nothing()
    for row, target, guesses in zip(rows, known.targets, likeliest(network, known), strict=True):
        words = [int(word) for word in target if word != PAD]
        right = set(zip([0, *words[:-1]], words, strict=True))
        _count(forced, zip([0, *words[:-1]], guesses, strict=True), right)
        own = [*tokens[row], EOS]
        _count(free, zip([0, *own[:-1]], own, strict=True), right)
    return {"forced": forced, "free": free}


def likeliest(network: TranslationNetwork, shown: Examples) -> list[list[int]]:
    """The likeliest token at each step of the targets, their words before it given."""
    found: list[list[int]] = []
    for first in range(0, len(shown.targets), ROWS):
        part = shown.take(slice(first, first + ROWS))
        best = policy_log_probs(network, part).argmax(axis=-1)
        lengths = (part.actions != PAD).sum(axis=0)
        found += [best[:n, i].tolist() for i, n in enumerate(lengths)]
    return found


def _nothing() -> Counts:
    return [[0, 0] for _ in PLACES]


def _count(counts: Counts, said: Any, right: set[tuple[int, int]]) -> None:
    for position, (before, word) in enumerate(said, 1):
        group = sum(position >= first for first in PLACES) - 1
        counts[group][0] += 1
        counts[group][1] += (before, word) not in right


def rates(counts: Sequence[Sequence[int]]) -> list[float]:
    """Percent of wrong tokens in each group of positions; NaN where no sentence is so long."""
    return [100 * wrong / total if total else float("nan") for total, wrong in counts]
