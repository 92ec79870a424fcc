"""Translation: one target token an action, after Ranzato et al. 2015 and Bahdanau et al. 2016."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from descant.errors import DescantError, did_you_mean
from descant.makers import make_reward
from descant.tasks import Bools, Episode, Floats, Ints, Reward, Task
from descant.text import bleu
from descant.text.pairs import GRAMMAR, VOCABULARY, load_pairs, save_codecs
from descant.text.translations import State, bleu_scores, start, texts_of, tokens_of, write
from descant.text.vocabularies import EOS, PAD, UNK

Order = Literal["random", "sequential"]
OPTIONS = ("first", "pairs", "source")


class Translation(Task[State]):
    """Translate a sentence, a token at a time; the reward compares what is written with references.

    ## Description
    By default a built-in grammar makes the sentences, English to a German-like language, and knows every correct
    translation of each; or pairs come from plain text files. The task is deterministic once the source is drawn.

    ## Action space
    `Discrete(V)`: the next token of the target vocabulary. 0 pad, 1 bos, 2 eos, 3 unk, then words. The mask forbids
    pad, bos, unk, and EOS as the first token. The last token that can be written must be EOS (`force_eos`), so that
    whoever honours the mask always ends by itself. A forbidden action is written like any other and matches nothing.

    ## Observation space
    `Dict`: `source` `MultiDiscrete([Vs] * (max_words + 1))` of int32, its tokens, EOS, then pad; `target`
    `MultiDiscrete([V] * max_length)` of int32, what is written so far, then pad; `position` `Discrete(max_length + 1)`,
    how many tokens that is.

    ## Reward
    `bleu`, sentence BLEU from 0 to 1 at the end, unless another is named: `bleu` with `mode` "delta" or "shaped",
    `chrf`, `length`, `repetition`, weighted sums (`sum`), `shaped`.

    ## Metrics
    Of finished episodes: `bleu` (0 to 100, as sacrebleu's sentence score), `exact` (1 where the translation is one of
    all correct ones, with files: is the reference), `length_ratio` (to the nearest reference), `eos` (1 where EOS was
    written before the limit asked for it).

    ## Starting state
    A sentence drawn from the split, nothing written. With `order="sequential"`, N rows begin with the first N sentences
    and each goes N on at every reset. Reset options: `first`: begin with this one; `pairs`: these, one each row;
    `source`: the text that these must have, so that those of another split are not taken for them. With
    `group_size` in a vector environment, rows of a group translate the same sentence.

    ## Episode end
    EOS terminates. After `max_length` tokens the episode is truncated.

    ## Arguments
    `data="grammar"`: or a folder with `train|val|test.{xx,yy}`, or {"source": FILE, "target": FILE}; `split="train"`;
    `order="random"`; `max_length`: of the target, EOS included (`max_words + 1`); `force_eos=True`; `reward="bleu"`;
    and those of `descant.text.pairs.load_pairs`: `size`, `seed`, `max_words`, `references`, `languages`,
    `min_frequency`, `subwords`, `vocabularies`, `skip`.

    ## Example
    >>> import gymnasium, descant
    >>> env = gymnasium.make("descant/Translation-v0", render_mode="ansi")
    >>> observation, info = env.reset(seed=0)
    """

    name = "descant/Translation-v0"
    render_modes: ClassVar[tuple[str, ...]] = ("ansi",)

    def __init__(
        self,
        data: Any = GRAMMAR,
        split: str = "train",
        order: Order = "random",
        max_length: int | None = None,
        force_eos: bool = True,
        reward: Any = "bleu",
        size: int = 4096,
        seed: int = 0,
        max_words: int | None = None,
        references: int = 1,
        languages: Sequence[str] | None = None,
        min_frequency: int = 1,
        subwords: int = 0,
        vocabularies: str | None = None,
        skip: bool = False,
    ) -> None:
        if order not in get_args(Order):
            raise DescantError(f"Unknown order {order!r}.{did_you_mean(str(order), get_args(Order))}")
        words = {"languages": languages, "min_frequency": min_frequency, "subwords": subwords}
        kept = {"vocabularies": vocabularies, "skip": skip, "max_words": max_words}
        self.pairs = load_pairs(data, split, size, seed, references=references, **words, **kept)  # type: ignore[arg-type]
        self.max_steps = self.pairs.max_words + 1 if max_length is None else max_length
        if self.max_steps < 2:
            raise DescantError(f"max_length must be 2 or more, a word and EOS, not {max_length}.")
        self.order, self.force_eos = order, force_eos
        self.reward: Reward = make_reward(reward)
        source, target = (len(codec) for codec in self.pairs.codecs)
        self.observation_space = spaces.Dict(
            {
                "source": _tokens(source, self.pairs.sources.shape[1]),
                "target": _tokens(target, self.max_steps),
                "position": spaces.Discrete(self.max_steps + 1),
            }
        )
        self.action_space = spaces.Discrete(target)

    def reset(self, rng: np.random.Generator, n: int, options: Mapping[str, Any] | None = None) -> State:
        """`n` sentences: drawn, in order, or those that `options` name."""
        return start(self.pairs, self._rows(rng, n, dict(options or {})), self._limit, n)

    def follow(self, ended: State, rng: np.random.Generator) -> State:
        """Sentences drawn anew, or the next in order."""
        if self.order == "random":
            return self.reset(rng, len(ended.pair))
        rows = (ended.pair + ended.stride) % len(self.pairs)
        return start(self.pairs, rows, self._limit, ended.stride)

    def step(self, state: State, action: Ints, rng: np.random.Generator) -> tuple[State, Floats, Bools]:
        """Write a token. Uses no randomness; what has ended stays as it is."""
        after = write(state, action)
        return after, self.reward(state, action, after), after.ended.copy()

    def observe(self, state: State) -> dict[str, Any]:
        """source int32[n, S], target int32[n, T], position int64[n]."""
        source = self.pairs.sources.take(state.pair, axis=0)
        return {"source": source, "target": state.target.copy(), "position": state.position.copy()}

    def action_mask(self, state: State) -> Bools:
        """bool[n, V]."""
        return self._mask(state.position)

    def observation_mask(self, observation: Mapping[str, Any]) -> Bools:
        """The same read off observations, bool[n, V]."""
        return self._mask(np.asarray(observation["position"]))

    def references(self, observation: Mapping[str, Any]) -> NDArray[np.int32]:
        """The first reference of each source that is observed, int32[n, T], EOS at its end, then PAD.

        PAD alone where the source is not of this split, or its reference too long to be written. Where the text has a
        source more than once, that of the first.
        """
        found = np.full((len(observation["source"]), self._limit), PAD, np.int32)
        for row, source in zip(found, np.asarray(observation["source"], np.int32), strict=True):
            ids = self._answers.get(source.tobytes(), ())
            row[: len(ids)] = ids
        return found

    @functools.cached_property
    def _answers(self) -> dict[bytes, tuple[int, ...]]:
        """Ids of the first reference with EOS, by the bytes of the source."""
        encode, limit, found = self.pairs.codecs[1].encode, self._limit, {}
        for source, target in zip(self.pairs.sources[::-1], self.pairs.text.target[::-1], strict=True):
            ids = (*encode(target), EOS)
            found[source.tobytes()] = ids if len(ids) <= limit else ()
        return found

    def metrics(self, state: State) -> dict[str, Floats]:
        """What the class says under Metrics."""
        near = bleu.closest(self.pairs.references.lengths[state.pair], state.length)
        return {
            "bleu": bleu_scores(state, bleu.Config()),
            "exact": self.pairs.exact(state.pair, tokens_of(state)).astype(float),
            "length_ratio": state.length / np.maximum(near, 1),
            "eos": (state.ended & (state.position < self._limit)).astype(float),
        }

    def keep_with(self, folder: Path) -> None:
        """Write the vocabularies into a run's folder, so that its translations can be read without the text."""
        save_codecs(folder / VOCABULARY, self.pairs.codecs)

    def render(self, episode: Episode[State], mode: str) -> str:
        """`ansi`: the source, what is written, a reference."""
        state = episode.states[-1]
        row = int(state.pair[0])
        lines = {
            "source": self.pairs.text.source[row],
            "target": texts_of(state)[0] + (" <eos>" if state.ended[0] else " ..."),
            "reference": self.pairs.answers[row][0],
        }
        return "\n".join(f"{name:>9} | {text}" for name, text in lines.items())

    @property
    def _limit(self) -> int:
        assert self.max_steps is not None
        return self.max_steps

    def _mask(self, position: Ints) -> Bools:
        mask = np.ones((len(position), int(self.action_space.n)), bool)
        mask[:, : UNK + 1] = False
        mask[:, EOS] = position > 0
        if self.force_eos:
            last = position >= self._limit - 1
            mask[last] = False
            mask[last, EOS] = True
        return mask

    def _rows(self, rng: np.random.Generator, n: int, options: dict[str, Any]) -> Ints:
        for option in options:
            if option not in OPTIONS:
                raise DescantError(f"Unknown reset option {option!r}.{did_you_mean(option, OPTIONS)}")
        if "pairs" in options:
            rows = _checked(options["pairs"], n, len(self.pairs))
            self._check_text(rows, options.get("source"))
            return rows
        if "first" not in options and self.order == "random":
            return rng.integers(len(self.pairs), size=n)
        first = _checked([options.get("first", 0)], 1, len(self.pairs))
        return (first + np.arange(n)) % len(self.pairs)

    def _check_text(self, rows: Ints, text: str | None) -> None:
        """DescantError where the sentences are not those that somebody has in mind."""
        others = [int(row) for row in rows if text is not None and self.pairs.text.source[row] != text]
        if others:
            raise DescantError(
                f"Sentence {others[0]} is {self.pairs.text.source[others[0]]!r}, not {text!r}: make the environment "
                "with the data and the split that it is from."
            )


def _tokens(vocabulary: int, columns: int) -> spaces.MultiDiscrete:
    return spaces.MultiDiscrete(np.full(columns, vocabulary), dtype=np.int32)  # type: ignore[arg-type]


def _checked(rows: Any, n: int, size: int) -> Ints:
    """Indices of sentences, or a DescantError that says what they must be."""
    found = np.asarray(rows)
    if found.shape != (n,) or found.dtype.kind not in "iu" or (found < 0).any() or (found >= size).any():
        raise DescantError(f"Sentences must be {n} whole numbers from 0 to {size - 1}, not {rows!r}.")
    return found.astype(np.int64)
