"""The reward `chrf`: sentence chrF of a translation's text."""

from __future__ import annotations

from typing import Any

import numpy as np

from descant.tasks import Floats
from descant.text import chrf
from descant.text.translations import chrf_scores, texts_of

from .scored import Mode, Scored


class Chrf(Scored):
    """Sentence chrF from 0 to 1, a hundredth of sacrebleu's on the text that the tokens make.

    Args:
        mode: "terminal", "delta" or "shaped", as `Scored` says; the last two score the whole text at every step.
        gamma: of "shaped": the agent's.
        char_order, beta: the longest n-grams of characters, and the weight of recall.
    """

    name = "chrf"

    def __init__(
        self, mode: Mode = "terminal", gamma: float = 1.0, char_order: int = 6, beta: float = 2.0
    ) -> None:
        super().__init__(mode, gamma)
        self.config = chrf.Config(char_order, beta)

    def potential(self, state: Any) -> Floats:
        """chrF of what is written, float64[n] from 0 to 1."""
        found: Floats = np.minimum(chrf_scores(state, self.config) / 100.0, 1.0)  # roundings passed it
        return found

    def words(self, state: Any) -> str:
        """The text beside the reference."""
        return f"{texts_of(state)[0]!r} beside {state.pairs.answers[int(state.pair[0])][0]!r}"
