"""`descant prefs pairs`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro

from descant.commands.bounds import at_least
from descant.commands.output import print_json
from descant.errors import DescantError
from descant.preferences.pairs import STRATEGIES, make_pairs
from descant.preferences.records import Clip, Pair, from_json, shown
from descant.preferences.store import Store
from descant.tasks import Floats


@dataclasses.dataclass
class Pairs:
    """Choose pairs of clips to ask about.

    Both clips of a pair were written to the same problem. Some pairs come once more with their sides swapped, to see
    whether an annotator answers alike. Strategies other than random ask where an ensemble of reward models is
    uncertain, disagrees, or would learn most about the annotator.

    Example: descant prefs pairs taste.db --n 50 --strategy random
    """

    store: Annotated[Path, tyro.conf.Positional]
    """A store that descant prefs new made."""
    n: int = 50
    """How many new pairs, without those repeated."""
    strategy: str = "random"
    """random, uncertainty, disagreement or information."""
    scores: Path | None = None
    """What reward models say of the clips, as JSON: {"model_hash": "...", "scores": {CLIP_HASH: [one a model]}}."""
    repeat: float = 0.08
    """Share of the pairs that come once more with their sides swapped: 0.05 to 0.10 is usual."""
    between: Literal["auto", "sources", "any"] = "auto"
    """Clips of different sources alone (sources), or any; auto takes sources where there are several."""
    seed: int = 0
    """Seed of what is drawn."""
    json: bool = False
    """Print JSON."""

    def run(self) -> int:
        """Add the pairs; say how many there are."""
        at_least(0, seed=self.seed)
        at_least(1, n=self.n)
        if not 0 <= self.repeat <= 1:
            raise DescantError(f"--repeat is a share, 0 to 1, not {self.repeat}.")
        if self.scores is not None and STRATEGIES.get(self.strategy, make_pairs) is None:
            raise DescantError(f"--strategy {self.strategy} takes no --scores: leave one of them out.")
        with Store(self.store) as store:
            made = self._make(store)
            with store.transaction():
                for pair in made:
                    store.add_pair(pair)
            total = store.counts()["pairs"]
        repeated = sum(pair.repeats is not None for pair in made)
        if self.json:
            print_json({"store": str(self.store), "added": len(made), "repeated": repeated, "pairs": total})
        else:
            print(
                f"{len(made)} pairs added, {repeated} of them repetitions; {self.store} has {total}. "
                f"Next: descant prefs label {self.store}"
            )
        return 0

    def _make(self, store: Store) -> list[Pair]:
        clips = list(store.clips())
        content = {clip.hash: clip.content for clip in clips}
        asked = frozenset(frozenset((content[p.a], content[p.b])) for p in store.pairs())
        scores, model = (None, None) if self.scores is None else read_scores(self.scores, clips)
        several = len({clip.source for clip in clips}) > 1
        return make_pairs(
            clips, self.n, self.strategy, scores=scores, model_hash=model, repeat=self.repeat,
            between=several if self.between == "auto" else self.between == "sources",
            asked=asked, rng=np.random.default_rng(self.seed),
        )  # fmt: skip


def read_scores(path: Path, clips: Sequence[Clip]) -> tuple[Floats, str | None]:
    """Scores float[m, c] of the clips and the hash of what gave them; DescantError where one is missing."""
    try:
        data = from_json(path.read_bytes())
    except OSError as error:
        raise DescantError(f"Cannot read {path}: {error.strerror}. Check the path.") from error
    except DescantError as error:
        raise DescantError(f"{path} has no scores: it is {error}.") from error
    found = data.get("scores") if isinstance(data, dict) else None
    if not isinstance(found, dict):
        raise DescantError(f'{path} has no scores: write {{"scores": {{CLIP_HASH: [...]}}}}.')
    missing = [clip.hash for clip in clips if clip.hash not in found]
    if missing:
        raise DescantError(
            f"{path} has no score of {len(missing)} clips, such as {missing[0]}: score all of them."
        )
    try:
        scores = np.array([found[clip.hash] for clip in clips], float).T
    except (TypeError, ValueError) as error:
        raise DescantError(
            f"{path}: every clip needs as many numbers as there are models: {error}."
        ) from error
    model = data.get("model_hash")
    if model is not None and not isinstance(model, str):
        raise DescantError(f"{path}: model_hash must be text, not {shown(model)}.")
    return scores, model
