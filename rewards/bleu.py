"""The reward `bleu`: sentence BLEU of a translation on its tokens."""

from __future__ import annotations

from typing import Any

import numpy as np

from descant.errors import DescantError
from descant.tasks import Bools, Floats
from descant.text import bleu
from descant.text.pairs import ORDER
from descant.text.translations import bleu_scores

from .scored import Mode, Scored

GRAMS = ("words", "pairs", "triples", "fours")


class Bleu(Scored):
    """Sentence BLEU from 0 to 1, a hundredth of sacrebleu's sentence score on the same tokens.

    Args:
        mode: "terminal", "delta" or "shaped", as `Scored` says.
        gamma: of "shaped": the agent's.
        smoothing, value, effective_order, order: as `descant.text.bleu.Config` says.
    """

    name = "bleu"

    def __init__(
        self,
        mode: Mode = "terminal",
        gamma: float = 1.0,
        smoothing: bleu.Smoothing = "exp",
        value: float | None = None,
        effective_order: bool = True,
        order: int = ORDER,
    ) -> None:
        super().__init__(mode, gamma)
        self.config = bleu.Config(smoothing, value, effective_order, order)
        if order > ORDER:
            raise DescantError(f"order must be at most {ORDER}, not {order}: longer n-grams are not counted.")

    def potential(self, state: Any) -> Floats:
        """BLEU of what is written, float64[n] from 0 to 1."""
        found: Floats = np.minimum(bleu_scores(state, self.config) / 100.0, 1.0)  # roundings passed it
        return found

    def foreign(self, states: Any) -> Bools:
        """Words whose writing left the count of shared words as it was."""
        found: Bools = (np.diff(states.length) > 0) & (np.diff(states.correct[:, 0]) == 0)
        return found

    def words(self, state: Any) -> str:
        """How many n-grams the references have, and the lengths."""
        length = int(state.length[0])
        near = int(bleu.closest(state.pairs.references.lengths[state.pair], state.length)[0])
        shared = ", ".join(
            f"{state.correct[0, n]} of {max(length - n, 0)} {name}"
            for n, name in enumerate(GRAMS[: self.config.order])
        )
        return f"{shared} are in the reference; {length} words to its {near}"
