"""Evaluating a run on translations: BLEU and chrF by sacrebleu, exact match, variety, and what the policy thinks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from descant.commands.output import print_json
from descant.commands.translation import Translator, exact, open_translator, split_task
from descant.errors import DescantError
from descant.text.decoding import beam, greedy
from descant.text.reports import (
    corpus_scores,
    likelihood,
    paired,
    side_by_side,
    surface,
    thoughts,
)

WORDS = {
    "bleu_tokens": "BLEU of lower-cased tokens",
    "bleu_chrf_gap": "BLEU less chrF",
    "exact": "exact",
    "length_ratio": "length, to the reference",
    "distinct_1": "distinct words",
    "distinct_2": "distinct pairs of words",
    "repeated_4grams": "4-grams said again",
    "eos": "ended before the limit",
    "entropy": "entropy, nats a step",
    "nll": "NLL of itself, nats a step",
    "kl": "KL to the prior, nats a step",
    "prior_perplexity": "perplexity by the prior",
    "reference_nll": "NLL of references, nats a token",
    "reference_perplexity": "perplexity of references",
    "reference_accuracy": "next tokens right",
}
SHARES = frozenset({"exact", "distinct_1", "distinct_2", "repeated_4grams", "eos", "reference_accuracy"})


@dataclass(frozen=True)
class Asked:
    """How to translate, and beside what."""

    split: str = "test"
    width: int = 1
    length_penalty: float = 1.0
    prior: str | None = None
    against: str | None = None
    samples: int = 10
    options: dict[str, Any] | None = None
    device: str | None = None


def evaluate_translations(run: str, asked: Asked) -> dict[str, Any]:
    """Translate a split's sentences, and measure."""
    translator = open_translator(run, asked.device)
    task = split_task(translator, asked.split, dict(asked.options or {}))
    pairs, limit = task.pairs, task.max_steps
    tokens = translated(translator, pairs, limit, asked)
    texts = [pairs.codecs[1].decode(ids) for ids in tokens]
    right = exact(pairs, tokens)
    prior = _prior(translator, asked.prior, asked.device)
    scores = corpus_scores(pairs, texts)
    own = thoughts(translator.network, pairs, tokens, limit, None if prior is None else prior.network)
    references = likelihood(translator.network, pairs, limit)
    report = {
        "run": run,
        "split": asked.split,
        "sentences": len(pairs),
        "decoding": "greedy"
        if asked.width == 1
        else f"beam {asked.width}, length penalty {asked.length_penalty:g}",
        **scores,
        "bleu_chrf_gap": scores["bleu"]["score"] - scores["chrf"]["score"],
        "exact": float(right.mean()),
        **surface(pairs, tokens, limit),
        **own,
        **{f"reference_{name}": value for name, value in references.items()},
        "prior": None if prior is None else prior.name,
        "samples": side_by_side(pairs, texts, right, asked.samples),
    }
    if asked.against is not None:
        other = open_translator(asked.against, asked.device)
        _same_words(translator, other, "--against")
        others = translated(other, pairs, limit, asked)
        report["against"] = {
            "run": asked.against,
            "exact": float(exact(pairs, others).mean()),
            **paired(pairs, texts, [pairs.codecs[1].decode(ids) for ids in others]),
        }
    return report


def translated(translator: Translator, pairs: Any, limit: int, asked: Asked) -> list[list[int]]:
    """Ids of the translations of all pairs."""
    if asked.width == 1:
        return greedy(translator.network, pairs.sources, limit).tokens
    return beam(translator.network, pairs.sources, limit, asked.width, asked.length_penalty).tokens


def _prior(translator: Translator, named: str | None, device: str | None) -> Translator | None:
    """The run that is named, else the one that the agent was trained with, or began from."""
    config = translator.agent.config
    run = named or getattr(config, "prior", "") or getattr(config, "init", "")
    if not run or run in ("uniform", "task"):
        return None
    try:
        prior = open_translator(run, device)
    except DescantError:
        if named:
            raise
        return None
    _same_words(translator, prior, "--prior")
    return prior


def _same_words(translator: Translator, other: Translator, flag: str) -> None:
    own, theirs = ([codec.tokens(range(len(codec))) for codec in t.codecs] for t in (translator, other))
    if own != theirs or translator.network.shape != other.network.shape:
        raise DescantError(
            f"{flag} {other.name} has other words or other lengths than {translator.name}: give a run on the same text."
        )


def leave(report: dict[str, Any], as_json: bool) -> None:
    """Print the report: JSON, or for a person."""
    if as_json:
        print_json(report)
        return
    print(f"{report['run']}: {report['sentences']:,} sentences of {report['split']}, {report['decoding']}")
    for name, title in (("bleu", "BLEU"), ("chrf", "chrF")):
        found = report[name]
        low, high = found["interval"]
        print(f"{title:<32}{found['score']:>9.2f}  [{low:.2f}, {high:.2f}]  {found['signature']}")
    for name, title in WORDS.items():
        value = report.get(name)
        if isinstance(value, dict):
            value = value["score"]
        if value is not None:
            print(f"{title:<32}{f'{value:.1%}' if name in SHARES else f'{value:.3f}':>9}")
    if "against" in report:
        _print_against(report["against"])
    for sample in report["samples"]:
        print(
            f"\n  source       {sample['source']}\n  reference    {sample['reference']}\n"
            f"  translation  {sample['translation']}{'  (right)' if sample['exact'] else ''}"
        )


def _print_against(against: dict[str, Any]) -> None:
    for name, title in (("bleu", "BLEU"), ("chrf", "chrF")):
        found = against[name]
        better = f"{found['ahead']:+.2f}, paired bootstrap p = {found['p']:.4f}"
        print(f"{title + ' of ' + against['run']:<32}{found['score']:>9.2f}  ahead of it by {better}")
