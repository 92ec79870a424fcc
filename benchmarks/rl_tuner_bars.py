"""The published figures of Jaques et al. 2017, and the bars that our best tuned model is measured against."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

PUBLISHED = ("Note RNN", "Q", "Psi", "G")
ALONE_LOG_P = -3.65  # what log p a note fell to where only the reward was learned from


@dataclass(frozen=True)
class Statistic:
    """A row of the paper's table 1: its name in `melody_statistics.summary`, and what the paper's models had.

    `scale` 100 prints fractions in percent, as the paper does; `published` is as printed.
    """

    name: str
    label: str
    published: tuple[float, float, float, float]
    digits: int = 1
    scale: int = 100


STATISTICS = (
    Statistic("repeated", "notes repeated too often, %", (63.3, 0.0, 0.02, 0.03), 3),
    Statistic("autocorrelation_1", "autocorrelation, lag 1", (-0.16, -0.11, -0.10, 0.55), 3, 1),
    Statistic("autocorrelation_2", "autocorrelation, lag 2", (0.14, 0.03, -0.01, 0.31), 3, 1),
    Statistic("autocorrelation_3", "autocorrelation, lag 3", (-0.13, 0.03, 0.01, 0.17), 3, 1),
    Statistic("out_of_key", "notes not in key, %", (0.1, 1.0, 0.6, 28.7), 2),
    Statistic("starts_on_tonic", "starts on the tonic, %", (0.9, 28.8, 28.7, 0.0)),
    Statistic("leaps_resolved", "leaps resolved, %", (77.2, 91.1, 90.0, 52.2)),
    Statistic("unique_highest", "unique highest note, %", (64.7, 56.4, 59.4, 37.1)),
    Statistic("unique_lowest", "unique lowest note, %", (49.4, 51.9, 58.3, 56.5)),
    Statistic("in_motif", "notes in a motif, %", (5.9, 75.7, 73.8, 69.3)),
    Statistic("in_repeated_motif", "notes in a repeated motif, %", (0.007, 0.11, 0.09, 0.01), 3),
)


@dataclass(frozen=True)
class Bar:
    """What a measure must reach: `at most` or `at least` the limit, or `within` it of 0."""

    name: str
    label: str
    kind: Literal["at most", "at least", "within"]
    limit: float
    digits: int = 1
    scale: int = 100

    def met(self, value: float) -> bool:
        """Whether a value reaches it; a number that is not defined does not."""
        if not math.isfinite(value):
            return False
        match self.kind:
            case "at most":
                return value <= self.limit
            case "at least":
                return value >= self.limit
            case "within":
                return abs(value) <= self.limit

    def __str__(self) -> str:
        """As printed in a table."""
        return f"{self.kind} {self.scale * self.limit:.{self.digits}f}"


BARS = (
    Bar("repeated", "notes repeated too often, %", "at most", 0.0002, 3),
    Bar("autocorrelation_1", "autocorrelation, lag 1", "within", 0.10, 3, 1),
    Bar("autocorrelation_2", "autocorrelation, lag 2", "within", 0.03, 3, 1),
    Bar("autocorrelation_3", "autocorrelation, lag 3", "within", 0.03, 3, 1),
    Bar("out_of_key", "notes not in key, %", "at most", 0.006, 2),
    Bar("starts_on_tonic", "starts on the tonic, %", "at least", 0.90),
    Bar("leaps_resolved", "leaps resolved, %", "at least", 0.911),
    Bar("unique_highest", "unique highest note, %", "at least", 0.65),
    Bar("unique_lowest", "unique lowest note, %", "at least", 0.583),
    Bar("in_motif", "notes in a motif, %", "at least", 0.757),
    Bar("in_repeated_motif", "notes in a repeated motif, %", "at least", 0.0011, 3),
    Bar("copied", "16 steps copied, %", "at most", 0.02, 2),
)


def bars(prior_log_p: float) -> tuple[Bar, ...]:
    """All bars; the last one asks log p a note to be nearer to the prior's own than to that of the reward alone."""
    middle = (prior_log_p + ALONE_LOG_P) / 2
    return (*BARS, Bar("log_p", "log p a note under the prior", "at least", middle, 3, 1))


def missed(all_bars: Sequence[Bar], seeds: Sequence[Mapping[str, float]]) -> tuple[Bar, ...]:
    """The bars that some seed does not reach; all of them where there is no seed."""
    return tuple(bar for bar in all_bars if not seeds or not all(bar.met(seed[bar.name]) for seed in seeds))
