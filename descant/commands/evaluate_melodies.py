"""Evaluating a run on melodies: the statistics of what it composes, with intervals, beside tunes it never saw."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from descant.agent import Agent
from descant.commands.melodies import melody_task, own_key, prior_beside, tunes_beside
from descant.commands.output import print_json
from descant.compositions import Temperature, write_compositions
from descant.music.keys import Key
from descant.music.melody_reports import UNBOUNDED, Estimate, means, report

WORDS = {
    "repeated": "repeated too often",
    "autocorrelation_1": "autocorrelation, lag 1",
    "autocorrelation_2": "autocorrelation, lag 2",
    "autocorrelation_3": "autocorrelation, lag 3",
    "out_of_key": "not in key",
    "starts_on_tonic": "starting with the tonic",
    "leaps_resolved": "leaps resolved",
    "unique_highest": "unique highest note",
    "unique_lowest": "unique lowest note",
    "in_motif": "in a motif",
    "in_repeated_motif": "in a repeated motif",
    "pitch_class_entropy": "pitch-class entropy, bits",
    "scale_consistency": "scale consistency",
    "pitch_range": "pitch range, semitones",
    "distinct": "distinct melodies",
    "alike_openings": "two that begin alike",
    "copied": "16 steps copied",
    "longest_copied": "longest copied run, steps",
    "overlap_intervals": "overlap of intervals",
    "overlap_durations": "overlap of durations",
    "log_policy": "log p by itself, a step",
    "log_prior": "log p by the prior, a step",
    "kl": "KL to the prior, a step",
    "reward": "reward",
}
PLAIN = frozenset({"longest_copied", "log_policy", "log_prior", "kl"}) | UNBOUNDED


@dataclass(frozen=True)
class Evaluation:
    """Statistics by name with intervals, those of tunes held out, and what is to be said of what is missing."""

    n: int
    key: Key
    temperature: Temperature
    statistics: dict[str, Estimate]
    heldout: dict[str, float]
    notes: list[str]


def evaluate_melodies(
    agent: Agent,
    run: str,
    options: dict[str, Any],
    n: int,
    temperature: Temperature,
    prior: str | None,
    seed: int,
) -> Evaluation:
    """Compose `n` melodies and measure them; the tunes are those of the run itself or of its prior's, where there."""
    task, key = melody_task(agent, options), own_key(options)
    beside, said = prior_beside(agent, prior, task)
    found = write_compositions(agent, task, n, prior=beside, temperature=temperature, seed=seed)
    notes = [f"no log p and KL: {said}"] if said else []
    tunes = tunes_beside(run, prior, getattr(agent.config, "prior", None))
    if not tunes:
        notes.append("no copied runs and overlaps: the tunes of the pretrained run are not at hand")
    statistics = report(found.actions, key, tunes.get("train"), tunes.get("test")) | means(found.scores)
    held = report(tunes["test"], key, tunes["train"]) if tunes else {}
    return Evaluation(n, key, temperature, statistics, {name: e.value for name, e in held.items()}, notes)


def leave(found: Evaluation, as_json: bool) -> None:
    """Print JSON, or a table."""
    if as_json:
        print_json(as_plain(found))
        return
    print(
        f"{found.n:,} melodies in {found.key}, temperature {_temperature(found.temperature)}; 95 % intervals\n"
    )
    held = bool(found.heldout)
    print(f"{'':<28}{'':>10}{'':>24}" + (f"{'tunes held out':>16}" if held else ""))
    for name, words in (WORDS | _terms(found)).items():
        if name in found.statistics:
            other = f"{_said(name, found.heldout.get(name, math.nan)):>16}" if held else ""
            print(_row(name, words, found.statistics[name]) + other)
    for said in found.notes:
        print(f"note: {said}")


def _terms(found: Evaluation) -> dict[str, str]:
    """The reward's terms, in order."""
    return {name: "  " + name.partition("/")[2] for name in found.statistics if name.startswith("reward/")}


def _row(name: str, words: str, estimate: Estimate) -> str:
    bounds = (_said(name, bound) for bound in (estimate.low, estimate.high))
    return f"{words:<28}{_said(name, estimate.value):>10}{'[' + ', '.join(bounds) + ']':>24}"


def _said(name: str, value: float) -> str:
    """A number as text: in percent where the paper has it so."""
    if math.isnan(value):
        return "-"
    return f"{value:.3f}" if name in PLAIN or name.startswith("reward") else f"{value:.2%}"


def _temperature(temperature: Temperature) -> str:
    return " to ".join(
        f"{one:g}" for one in (temperature if isinstance(temperature, Sequence) else [temperature])
    )


def as_plain(found: Evaluation) -> dict[str, Any]:
    """For JSON: null for what is not defined."""
    statistics = {
        name: {"value": _plain(e.value), "low": _plain(e.low), "high": _plain(e.high)}
        for name, e in found.statistics.items()
    }
    return {
        "n": found.n,
        "key": found.key.tonic,
        "mode": found.key.mode,
        "temperature": found.temperature,
        "statistics": statistics,
        "heldout": {name: _plain(value) for name, value in found.heldout.items()},
        "said": found.notes,
    }


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value
