"""What reward models see of an environment's episodes: columns of each step, worked out from finished states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from gymnasium import spaces

from descant.errors import DescantError, did_you_mean
from descant.music import counterpoint, melodies, melody_states
from descant.music.keys import SCALES
from descant.preferences.clips import COUNTERPOINT, MELODY
from descant.reward_models.stacked import Items
from descant.reward_models.viewpoints import SIZES, viewpoints
from descant.runs.digests import content_hash
from descant.tasks import Bools, Ints
from descant.text import translations

TRANSLATION, TOKENS = "descant/Translation-v0", "descant/Tokens-v0"
BAR = 16  # sixteenths


class View(Protocol):
    """One environment's."""

    environment: str
    vocabulary: Mapping[str, Any]

    @property
    def space(self) -> spaces.Space[Any]:
        """Of the columns of one step."""
        ...

    def check(self, state: Any) -> None:
        """DescantError for a state of another environment or vocabulary."""
        ...

    def finished(self, state: Any) -> Bools:
        """Which episodes have ended: bool[n]."""
        ...

    def items(self, state: Any) -> Items:
        """What is written so far; nothing but finished episodes makes a whole."""
        ...


@dataclass(frozen=True)
class MelodyView:
    """Of each sixteenth: the action, the one before, the place in the bar, the key, and `viewpoints`."""

    vocabulary: Mapping[str, Any]
    environment = MELODY

    @property
    def space(self) -> spaces.MultiDiscrete:
        """Columns as the class says."""
        a = melodies.ACTIONS
        return spaces.MultiDiscrete([a, a + 1, BAR, 12, len(SCALES), *SIZES])

    @classmethod
    def of(cls, state: Any) -> MelodyView:
        """The view of states like this one."""
        return cls({"actions": melodies.ACTIONS})

    def check(self, state: Any) -> None:
        """Any key and length will do."""
        _check_kind(state, melody_states.State, self.environment)

    def finished(self, state: Any) -> Bools:
        """Those of all steps."""
        return np.asarray(state.step == state.steps)

    def items(self, state: Any) -> Items:
        """int64[n, T, 12]."""
        written = np.maximum(state.written.astype(np.int64), 0)
        place = np.broadcast_to(np.arange(written.shape[1]) % BAR, written.shape)
        tonic, mode = state.key.pitch_class, list(SCALES).index(state.key.mode)
        key = (np.full(written.shape, tonic), np.full(written.shape, mode))
        columns = (written, _before(written), place, *key, *viewpoints(written, tonic))
        return _items(columns, state.step)


@dataclass(frozen=True)
class CounterpointView:
    """Of each bar: the note, the two before, the cantus's note and the one before, how many are left, the side."""

    vocabulary: Mapping[str, Any]
    environment = COUNTERPOINT

    @property
    def space(self) -> spaces.MultiDiscrete:
        """Columns as the class says."""
        g, c = counterpoint.G, counterpoint.C
        return spaces.MultiDiscrete([g, g + 1, g + 1, c + 1, c + 1, 4, 2])

    @classmethod
    def of(cls, state: Any) -> CounterpointView:
        """The view of states like this one."""
        return cls({"actions": counterpoint.G})

    def check(self, state: Any) -> None:
        """DescantError for states that do not keep the line."""
        _check_kind(state, counterpoint.State, self.environment)
        _check_kind(state, counterpoint.Written, f"{self.environment} with its reward in the environment")

    def finished(self, state: Any) -> Bools:
        """Those at the end of their cantus."""
        rows = state.problems.rows[state.bar]
        return np.asarray(rows[:, counterpoint.COLUMN["notes left"]] == 0)

    def items(self, state: Any) -> Items:
        """int64[n, T, 7]."""
        problems, line = state.problems, np.maximum(state.line, 0)
        begin = problems.problem_of(state) * problems.stride
        bars = problems.rows[begin[:, None] + np.arange(problems.max_notes)].astype(np.int64)
        before = _before(line)
        two = np.pad(before[:, :-1], ((0, 0), (1, 0)))
        column = counterpoint.COLUMN
        now = bars[..., len(counterpoint.HEAD)]
        left = np.clip(bars[..., column["notes left"]] - 1, 0, 3)
        columns = (
            line,
            before,
            two,
            now,
            bars[..., column["cantus before"]],
            left,
            bars[..., column["position"]],
        )
        return _items(columns, state.bar - begin)


@dataclass(frozen=True)
class TranslationView:
    """Of each token: it, the one before, its place, and the whole source."""

    vocabulary: Mapping[str, Any]
    environment = TRANSLATION

    @property
    def space(self) -> spaces.MultiDiscrete:
        """Columns as the class says."""
        v = self.vocabulary
        return spaces.MultiDiscrete([v["target"], v["target"] + 1, v["limit"], *[v["source"]] * v["words"]])

    @classmethod
    def of(cls, state: Any) -> TranslationView:
        """The view of states like this one."""
        return cls(_words(state))

    def check(self, state: Any) -> None:
        """DescantError for other words or limits."""
        _check_kind(state, translations.State, self.environment)
        own = _words(state)
        if (other := [name for name in own if own[name] != self.vocabulary[name]]) != []:
            raise DescantError(
                f"The reward model was fitted to another vocabulary of {self.environment} (its {other[0]} is another): "
                "make the environment with the same data and options, or fit anew."
            )

    def finished(self, state: Any) -> Bools:
        """Those with EOS."""
        return np.asarray(state.ended)

    def items(self, state: Any) -> Items:
        """int64[n, T, 3 + S]."""
        target = state.target.astype(np.int64)
        source = state.pairs.sources.take(state.pair, axis=0).astype(np.int64)
        place = np.broadcast_to(np.arange(target.shape[1]), target.shape)
        sources = (np.broadcast_to(word[:, None], target.shape) for word in source.T)
        return _items((target, _before(target), place, *sources), state.position)


def _words(state: Any) -> dict[str, Any]:
    """What tells one vocabulary of translations from another."""
    cached = _KNOWN.get(id(state.pairs))
    if cached is None or cached[0] is not state.pairs:
        tokens = [codec.tokens(range(len(codec))) for codec in state.pairs.codecs]
        source, target = map(len, tokens)
        words = state.pairs.sources.shape[1]
        _KNOWN.clear()
        cached = (
            state.pairs,
            {"source": source, "target": target, "words": words, "tokens": content_hash(tokens)},
        )
        _KNOWN[id(state.pairs)] = cached
    return cached[1] | {"limit": state.limit}


_KNOWN: dict[int, tuple[Any, dict[str, Any]]] = {}  # the last text: hashing its words costs more than a step


@dataclass(frozen=True)
class PlainView:
    """Steps of any columns, of which no environment is known: for data made by hand, such as `tokens`."""

    vocabulary: Mapping[str, Any]
    environment = "plain"

    @property
    def space(self) -> spaces.Space[Any]:
        """As the vocabulary says: {"nvec": [...]} for whole numbers, {"width": W} for float[W]."""
        if "width" in self.vocabulary:
            return spaces.Box(-np.inf, np.inf, (self.vocabulary["width"],))
        return spaces.MultiDiscrete(self.vocabulary["nvec"])

    def check(self, state: Any) -> None:
        """No state is one of these."""
        raise DescantError("This reward model was fitted to no environment: it scores items alone.")

    def finished(self, state: Any) -> Bools:
        """No state is one of these."""
        self.check(state)
        raise AssertionError

    def items(self, state: Any) -> Items:
        """No state is one of these."""
        self.check(state)
        raise AssertionError


VIEWS: dict[str, Any] = {
    MELODY: MelodyView,
    COUNTERPOINT: CounterpointView,
    TRANSLATION: TranslationView,
    "plain": PlainView,
}


def make_view(environment: str, vocabulary: Mapping[str, Any]) -> View:
    """The view of an environment, from what a saved model says; DescantError for an environment that has none."""
    view: View = _kind(environment)(dict(vocabulary))
    return view


def view_of(environment: str, state: Any) -> View:
    """The view of an environment's states."""
    view: View = _kind(environment).of(state)
    return view


def tokens(sequences: Ints | Sequence[Sequence[int]], actions: int) -> tuple[Items, PlainView]:
    """Sequences of tokens int[n, T] as items: place, token, and the two before it. For Tokens-v0 and the like."""
    written = np.asarray(sequences, np.int64)
    n, steps = written.shape
    before = _before(written)
    two = np.pad(before[:, :-1], ((0, 0), (1, 0)))
    place = np.broadcast_to(np.arange(steps), (n, steps))
    view = PlainView({"nvec": [steps, actions, actions + 1, actions + 1]})
    return _items((place, written, before, two), np.full(n, steps)), view


def _kind(environment: str) -> Any:
    if environment not in VIEWS:
        raise DescantError(f"No reward model sees {environment!r}.{did_you_mean(environment, VIEWS)}")
    return VIEWS[environment]


def _check_kind(state: Any, kind: type, environment: str) -> None:
    if not isinstance(state, kind):
        raise DescantError(
            f"The reward model was fitted to {environment}, which this environment is not: take one fitted to this one."
        )


def _before(written: Ints) -> Ints:
    """What was written one step before + 1, 0 at first: int64[n, T]."""
    return np.asarray(np.pad(written[:, :-1] + 1, ((0, 0), (1, 0))))


def _items(columns: Sequence[Any], lengths: Any) -> Items:
    stacked = np.stack(columns, axis=-1).astype(np.int64)
    return Items(torch.from_numpy(stacked), torch.from_numpy(np.asarray(lengths, np.int64)))
