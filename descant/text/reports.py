"""What translations are worth: BLEU and chrF by sacrebleu, exact match, length, variety, and what the policy thinks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from descant.control import policy_log_probs
from descant.kl import exact_kl
from descant.policies.translators import TranslationNetwork
from descant.rollouts import Rollout
from descant.tasks import Floats
from descant.text.examples import Examples
from descant.text.pairs import Pairs
from descant.text.vocabularies import EOS, PAD
from descant.text.words import tokenize

RESAMPLES = 1000
SAMPLES = 10


@dataclass(frozen=True)
class Written:
    """Translations of all pairs, in order: ids without EOS, and their texts."""

    tokens: list[list[int]]
    texts: list[str] = field(default_factory=list)


def written(pairs: Pairs, tokens: list[list[int]]) -> Written:
    """Ids with their texts."""
    return Written(tokens, [pairs.codecs[1].decode(ids) for ids in tokens])


def streams(pairs: Pairs) -> Any:
    """References as sacrebleu wants them: the first of each pair, the second where there is one, and so on."""
    most = max(map(len, pairs.answers))
    return [[each[k] if k < len(each) else None for each in pairs.answers] for k in range(most)]


def lowercased(pairs: Pairs) -> bool:
    """Whether the model knows no capital letters, so that none can be asked of it."""
    return bool(getattr(pairs.codecs[1], "lowercase", False))


def metrics_of(pairs: Pairs) -> dict[str, Any]:
    """sacrebleu's BLEU and chrF of texts."""
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    lower = lowercased(pairs)
    return {"bleu": BLEU(lowercase=lower), "chrf": CHRF(lowercase=lower)}


def corpus_scores(pairs: Pairs, texts: Sequence[str], resamples: int = RESAMPLES) -> dict[str, Any]:
    """BLEU and chrF of texts with 95 % intervals (of bootstrap resamples) and signatures; and BLEU of lower-cased
    tokens, as in old tables."""
    from sacrebleu.metrics.bleu import BLEU

    references: Any = streams(pairs)
    found: dict[str, Any] = {}
    for name, metric in metrics_of(pairs).items():
        score = metric.corpus_score(list(texts), references, n_bootstrap=resamples if resamples > 1 else 1)
        interval = [float(score._mean - score._ci), float(score._mean + score._ci)] if resamples > 1 else None
        found[name] = {
            "score": float(score.score),
            "interval": interval,
            "signature": str(metric.get_signature()),
        }
    tokens = [_tokenized(text) for text in texts]
    answers: Any = [[None if a is None else _tokenized(a) for a in each] for each in references]
    old = BLEU(tokenize="none", lowercase=True, force=True).corpus_score(tokens, answers)
    found["bleu_tokens"] = {"score": float(old.score)}
    return found


def _tokenized(text: str) -> str:
    return " ".join(tokenize(text))


def corpus_bleu(pairs: Pairs, texts: Sequence[str]) -> float:
    """BLEU of texts alone."""
    found: float = metrics_of(pairs)["bleu"].corpus_score(list(texts), streams(pairs)).score
    return found


def paired(
    pairs: Pairs, texts: Sequence[str], others: Sequence[str], resamples: int = RESAMPLES
) -> dict[str, Any]:
    """What other translations of the same score, and p of a paired bootstrap test that the two are alike.

    sacrebleu calls equal scores as unlike as can be, since no resample differs more: p is 1 there.
    """
    from sacrebleu.significance import PairedTest

    systems: list[tuple[str, Sequence[str]]] = [("others", list(others)), ("these", list(texts))]
    test = PairedTest(systems, metrics_of(pairs), streams(pairs), test_type="bs", n_samples=resamples)
    _, scores = test()
    found = {}
    for name in metrics_of(pairs):
        column: Any = next(values for key, values in scores.items() if key.lower().startswith(name))
        before, after = float(column[0].score), float(column[1].score)
        p = float(column[1].p_value) if after != before else 1.0
        found[name] = {"score": before, "ahead": after - before, "p": p}
    return found


def surface(pairs: Pairs, tokens: Sequence[Sequence[int]], limit: int) -> dict[str, float]:
    """Length over the nearest reference's, distinct n-grams, 4-grams said again in a sentence, EOS before the limit."""
    near = [
        min((abs(len(t) - int(r)), int(r)) for r in row if r >= 0)[1]
        for t, row in zip(tokens, pairs.references.lengths, strict=True)
    ]
    grams = {n: [g for t in tokens for g in _grams(t, n)] for n in (1, 2)}
    fours = [_grams(t, 4) for t in tokens]
    again = sum(len(each) - len(set(each)) for each in fours)
    return {
        "length_ratio": sum(map(len, tokens)) / max(sum(near), 1),
        **{f"distinct_{n}": len(set(found)) / max(len(found), 1) for n, found in grams.items()},
        "repeated_4grams": again / max(sum(map(len, fours)), 1),
        "eos": float(np.mean([len(t) + 1 < limit for t in tokens])),
    }


def _grams(tokens: Sequence[int], n: int) -> list[tuple[int, ...]]:
    return [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]


@dataclass
class _Sums:
    """Of steps, one after another."""

    steps: int = 0
    totals: Counter[str] = field(default_factory=Counter)

    def add(self, **values: Floats) -> None:
        self.steps += len(next(iter(values.values())))
        for name, each in values.items():
            self.totals[name] += float(each.sum())  # type: ignore[assignment]

    def means(self) -> dict[str, float]:
        return {name: total / max(self.steps, 1) for name, total in self.totals.items()}


def thoughts(
    network: TranslationNetwork,
    pairs: Pairs,
    tokens: Sequence[Sequence[int]],
    limit: int,
    prior: TranslationNetwork | None = None,
    rows: int = 128,
) -> dict[str, float]:
    """Along translations, a step: entropy, negative log-likelihood ("nll") and perplexity, all in nats and exact; with
    a prior the KL to it and the perplexity of the translations under it."""
    sums = _Sums()
    for first in range(0, len(tokens), rows):
        part = slice(first, first + rows)
        shown = _shown(pairs.sources[part], tokens[part], limit)
        mine = policy_log_probs(network, shown)[shown.valid]
        taken = shown.actions[shown.valid][:, None]
        nll = -np.take_along_axis(mine, taken, 1)[:, 0]
        values = {"entropy": -(np.exp(mine) * mine).sum(1), "nll": nll}
        if prior is not None:
            theirs = policy_log_probs(prior, shown)[shown.valid]
            values |= {"kl": exact_kl(mine, theirs), "prior_nll": -np.take_along_axis(theirs, taken, 1)[:, 0]}
        sums.add(**values)
    found = sums.means()
    for name in ("nll", "prior_nll"):
        if name in found:
            found[name.replace("nll", "perplexity")] = float(np.exp(min(found[name], 700.0)))
    return found


def _shown(sources: Any, tokens: Sequence[Sequence[int]], limit: int) -> Rollout:
    """Translations as episodes, under the environment's mask: EOS alone where it has to end."""
    targets = np.full((len(tokens), limit), PAD, np.int32)
    for row, ids in zip(targets, tokens, strict=True):
        row[: len(ids) + 1] = [*ids, EOS]
    shown = Examples(sources, targets).take(slice(None))
    shown.valid &= shown.observations["position"] < limit - 1  # the last EOS is no choice
    return shown


def likelihood(network: TranslationNetwork, pairs: Pairs, limit: int) -> dict[str, float]:
    """Of each pair's first reference, if it fits: nll in nats a token, perplexity, share of likeliest tokens right."""
    from descant.text.examples import examples_of

    shown, sums = examples_of(pairs, limit), _Sums()
    for first in range(0, len(shown.targets), 128):
        part = shown.take(slice(first, first + 128))
        with torch.inference_mode():
            found = policy_log_probs(network, part)[part.valid]
        taken = part.actions[part.valid]
        sums.add(nll=-found[np.arange(len(taken)), taken], accuracy=found.argmax(1) == taken)
    means = sums.means()
    return {
        "nll": means["nll"],
        "perplexity": float(np.exp(min(means["nll"], 700.0))),
        "accuracy": means["accuracy"],
    }


def side_by_side(pairs: Pairs, texts: Sequence[str], exact: Any, n: int = SAMPLES) -> list[dict[str, Any]]:
    """`n` translations spread over all, each with source, reference and whether it is right."""
    if n < 1:
        return []
    rows = np.unique(np.linspace(0, len(texts) - 1, min(n, len(texts))).round().astype(int))
    return [
        {
            "source": pairs.text.source[row],
            "translation": texts[row],
            "reference": pairs.answers[row][0],
            "exact": bool(exact[row]),
        }
        for row in rows
    ]
