"""What a reward model is worth on comparisons it has not seen, and what its annotators' own consistency allows."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from descant.preferences.agreement import Estimate, consistency, labels_of, proportion
from descant.preferences.store import Store
from descant.reward_models.comparisons import Comparisons
from descant.reward_models.models import RewardModel, right

BINS = 10


def measure(model: RewardModel, data: Comparisons) -> dict[str, Any]:
    """Accuracy, negative log-likelihood and calibration on decided comparisons; None where there are none.

    The ensemble answers by the mean of its log-odds.
    """
    decided = data.without_ties()
    if not len(decided):
        return {"decided": 0, "accuracy": None, "nll": None, "ece": None}
    with torch.no_grad():
        every = model.log_odds(decided)
    odds = every.mean(0)
    hits = right(odds, decided.answers)
    signed = torch.where(decided.answers == 0, odds, -odds)
    return {
        "decided": len(decided),
        "accuracy": share(hits).as_json(),
        "accuracy_of_each": right(every, decided.answers).mean(1).tolist(),
        "nll": float(-torch.nn.functional.logsigmoid(signed).mean()),
        "ece": ece(odds.sigmoid(), (decided.answers == 0).float()),
    }


def share(hits: Tensor) -> Estimate:
    """The mean of hits float[K], of which some may be half, with Wilson's interval."""
    return proportion(float(hits.sum()), len(hits))  # type: ignore[arg-type]


def ece(p: Tensor, happened: Tensor, bins: int = BINS) -> float:
    """Expected calibration error of probabilities float[K] and what happened, 0 or 1: the mean gap between confidence
    and accuracy, over bins of as many answers each (Guo et al. 2017, Nixon et al. 2019).

    An answer's confidence is that in the likelier side, 1/2 to 1.
    """
    confidence = torch.maximum(p, 1 - p)
    correct = torch.where(p >= 0.5, happened, 1 - happened)
    order = torch.argsort(confidence, stable=True)
    gaps = [
        float((confidence[rows].mean() - correct[rows].mean()).abs()) * len(rows)
        for rows in torch.tensor_split(order, min(bins, len(order)))
    ]
    return sum(gaps) / len(order)


def bounds(store: Store) -> dict[str, Any]:
    """What answers of a store allow: the accuracy that no model can be expected to exceed on them.

    `consistency`: if annotators gave their true answer to any pair with the same probability p, they would repeat it
    with p^2 + (1 - p)^2; p from the share of repeated pairs that they answered alike. `one_taste`: the share of the
    larger side among the answers to each pair that several annotators judged, which is the most that one model for all
    can agree with (it flatters where few judged a pair). None where nothing was repeated, or shared.
    """
    pairs = {pair.uuid: pair for pair in store.pairs()}
    labels = {
        name: {uuid: label for uuid, label in own.items() if label in ("a", "b")}
        for name, own in labels_of(list(store.standing())).items()
    }
    counts = [consistency(own, pairs) for own in labels.values()]
    repeated = proportion(sum(hits for hits, _ in counts), sum(n for _, n in counts))
    by_pair: dict[str, list[str]] = {}
    for own in labels.values():
        for uuid, label in own.items():
            if pairs[uuid].repeats is None:
                by_pair.setdefault(uuid, []).append(label)
    several = [each for each in by_pair.values() if len(each) > 1]
    larger = sum(max(each.count("a"), each.count("b")) for each in several)
    return {
        "repeated": repeated.as_json(),
        "consistency": Estimate(
            truth(repeated.value), truth(repeated.low), truth(repeated.high), repeated.n
        ).as_json(),
        "one_taste": proportion(larger, sum(map(len, several))).as_json(),
    }


def truth(repeats: float | None) -> float | None:
    """p with p^2 + (1 - p)^2 = the share of repeats answered alike; 1/2 where that is less than half."""
    return None if repeats is None else 0.5 * (1 + math.sqrt(max(2 * repeats - 1, 0.0)))
