"""Sequences of tokens with random rewards and a Markov prior: small enough that everything is known exactly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces

from descant.errors import DescantError
from descant.makers import make_reward
from descant.tasks import Bools, Episode, Finding, Floats, Ints, Reward, Task

TERMS = ("unary", "pair", "triple")
MAX_SEQUENCES = 2_000_000
MAX_TABLE = 20_000_000


@dataclass(frozen=True)
class State:
    """Tokens are counted from 1 here: 0 is none."""

    step: Ints  # tokens written
    last: Ints  # the last of them
    before: Ints  # the one before it
    log_prior: Floats  # log-probability under the prior of what is written


class TableReward:
    """Rewards by table: of a token at a step, of a pair, and of three in a row.

    Args:
        unary: float[T, V] by step and token.
        pair: float[V, V] by the token before and the token.
        triple: float[V, V, V] by the two tokens before and the token.
    """

    def __init__(self, unary: Any, pair: Any, triple: Any) -> None:
        self.unary, self.pair, self.triple = (np.asarray(t, np.float64) for t in (unary, pair, triple))
        # A row in front, for "none": what looks further back than the beginning pays nothing.
        self._pair = np.pad(self.pair, ((1, 0), (0, 0)))
        self._triple = np.pad(self.triple, ((1, 0), (1, 0), (0, 0)))

    def __call__(self, state: State, action: Ints, next_state: State) -> Floats:
        """Reward of each row: float[n]."""
        return sum(self.terms(state, action, next_state).values(), np.zeros(len(action)))

    def terms(self, state: State, action: Ints, next_state: State) -> dict[str, Floats]:
        """The same by name, float[n] each."""
        step = np.minimum(state.step, len(self.unary) - 1)  # a row that has ended awaits its reset
        return {
            "unary": self.unary[step, action],
            "pair": self._pair[state.last, action],
            "triple": self._triple[state.before, state.last, action],
        }

    def explain(self, episode: Episode[State]) -> list[Finding]:
        """What each token cost: terms below zero."""
        findings = []
        for t, action in enumerate(episode.actions):
            state, after = episode.states[t : t + 2]
            for name, value in self.terms(state, np.array([action]), after).items():
                if value[0] < 0:
                    cost = -float(value[0])
                    message = f"token {action} at step {t + 1} costs {cost:.3g} by the {name} table"
                    findings.append(Finding(name, "warning", t + 1, cost, message))
        return findings


class Tokens(Task[State]):
    """Write a sequence of tokens: each pays by its step, by the token before and by the two before.

    ## Description
    A vocabulary of `tokens` and exactly `steps` to write. The rewards are tables of Gaussian numbers drawn once
    from `seed`: unary (step, token), pair (token before, token), triple (two before, before, token). A Markov prior
    p(token | token before) is drawn with them: the stand-in of a model that was trained on data. The task is
    deterministic and enumerable. All V ** T sequences can be listed (`sequences`), so the optimum, the best policy
    near the prior (agent `exact-kl`) and every expectation are known exactly.

    ## Action space
    `Discrete(tokens)`: the token to write. All are allowed always.

    ## Observation space
    `MultiDiscrete([steps + 1, tokens + 1, tokens + 1])` of int64, a sufficient statistic: tokens written, the last
    one, the one before; tokens count from 1 here, 0 is none.

    ## Reward
    The sum of the three tables' entries, each term by its name. A table that looks back beyond the beginning pays
    nothing.

    ## Prior
    `prior_log_probs(observation)`: softmax of Gaussian numbers over `prior_temperature`, one row for the first
    token and one for each token before. A low temperature makes it sharp, a high one even. Agents take it by
    `prior="task"`.

    ## Starting state
    Always the empty sequence.

    ## Episode end
    Terminates when `steps` tokens are written; never truncates.

    ## Arguments
    `tokens=4`, `steps=5`, `seed=0`; `unary_scale=1`, `pair_scale=1`, `triple_scale=0.5`: deviations of the tables;
    `prior_temperature=1`; `reward=None`: or {"unary": [T][V], "pair": [V][V], "triple": [V][V][V]}, tables of one's
    own (those left out pay nothing), or a reward by name or as an object.

    ## Example
    >>> import gymnasium, descant
    >>> env = gymnasium.make("descant/Tokens-v0", tokens=4, steps=5, seed=1)
    >>> observation, info = env.reset()
    """

    name = "descant/Tokens-v0"
    enumerable = True
    render_modes: ClassVar[tuple[str, ...]] = ("ansi",)

    def __init__(
        self,
        tokens: int = 4,
        steps: int = 5,
        seed: int = 0,
        unary_scale: float = 1.0,
        pair_scale: float = 1.0,
        triple_scale: float = 0.5,
        prior_temperature: float = 1.0,
        reward: Any = None,
    ) -> None:
        if tokens < 2 or steps < 1 or seed < 0:
            raise DescantError(
                f"tokens must be at least 2, steps 1 and seed 0, not {tokens}, {steps} and {seed}."
            )
        if tokens**3 + tokens * steps > MAX_TABLE:
            raise DescantError(f"Tables of {tokens} tokens and {steps} steps are too large: take fewer.")
        scales = {"unary": unary_scale, "pair": pair_scale, "triple": triple_scale}
        for name, scale in scales.items():
            if not 0 <= scale < np.inf:
                raise DescantError(f"{name}_scale must be 0 or more and finite, not {scale}.")
        if not prior_temperature > 0:
            raise DescantError(
                f"prior_temperature must be above 0 (a large one is even), not {prior_temperature}."
            )
        self.tokens, self.steps = tokens, steps
        rng = np.random.default_rng(seed)
        drawn = {n: scales[n] * rng.standard_normal(shape) for n, shape in self._shapes().items()}
        logits = rng.standard_normal((tokens + 1, tokens)) / prior_temperature
        self.log_prior: Floats = logits - np.logaddexp.reduce(
            logits, axis=1, keepdims=True
        )  # [before, token]
        self.reward = self._reward(reward, drawn)
        self.observation_space = spaces.MultiDiscrete([steps + 1, tokens + 1, tokens + 1])
        self.action_space = spaces.Discrete(tokens)

    def reset(self, rng: np.random.Generator, n: int, options: Mapping[str, Any] | None = None) -> State:
        """`n` empty sequences."""
        if options:
            raise DescantError(f"Unknown reset option {next(iter(options))!r}: {self.name} has none.")
        return State(np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n))

    def starts(self) -> State:
        """The empty sequence."""
        return self.reset(np.random.default_rng(0), 1)

    def step(self, state: State, action: Ints, rng: np.random.Generator) -> tuple[State, Floats, Bools]:
        """Write a token. Uses no randomness."""
        written = np.minimum(state.step + 1, self.steps)
        log_prior = state.log_prior + self.log_prior[state.last, action]
        after = State(written, action + 1, state.last, log_prior)
        return after, self.reward(state, action, after), written == self.steps

    def observe(self, state: State) -> Ints:
        """int64[n, 3]."""
        return np.stack([state.step, state.last, state.before], axis=1)

    def action_mask(self, state: State) -> Bools:
        """bool[n, V], all True."""
        return np.ones((len(state.step), self.tokens), bool)

    def prior_log_probs(self, observation: Any) -> Floats:
        """The prior's log-probability of every next token, float64[n, V]."""
        return self.log_prior[np.asarray(observation)[:, 1]]

    def key(self, state: State) -> Ints:
        """step x last x before, int64[n]."""
        return (state.step * (self.tokens + 1) + state.last) * (self.tokens + 1) + state.before

    def metrics(self, state: State) -> dict[str, Floats]:
        """prior_log_prob: log-probability of the sequence under the prior, in nats."""
        return {"prior_log_prob": state.log_prior.copy()}

    def sequences(self) -> tuple[Ints, Floats, Floats]:
        """All sequences int64[V ** T, T] in lexical order, total reward and prior log-probability of each.

        Raises DescantError where there are more than two million.
        """
        count = self.tokens**self.steps
        if count > MAX_SEQUENCES:
            raise DescantError(f"{self.name} has {count} sequences, too many to list: take fewer steps.")
        every = np.stack(np.unravel_index(np.arange(count), (self.tokens,) * self.steps), axis=1)
        rng = np.random.default_rng(0)  # draws nothing
        state, total = self.reset(rng, count), np.zeros(count)
        for column in every.T:
            state, reward, _ = self.step(state, column, rng)
            total += reward
        return every, total, state.log_prior

    def render(self, episode: Episode[State], mode: str) -> str:
        """`ansi`: the tokens written, a dot for each to come, and the prior's log-probability."""
        dots = ["."] * (self.steps - len(episode.actions))
        log_prior = float(episode.states[-1].log_prior[0])
        return " ".join([*map(str, episode.actions), *dots]) + f"  (log prior {log_prior:.2f})"

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        v = self.tokens
        return dict(zip(TERMS, ((self.steps, v), (v, v), (v, v, v)), strict=True))

    def _reward(self, spec: Any, drawn: dict[str, Floats]) -> Reward:
        """The drawn tables, a user's tables, or a reward by name or object."""
        if spec is None:
            return TableReward(**drawn)
        if not isinstance(spec, Mapping) or "name" in spec:
            return make_reward(spec)
        tables = {}
        for name in spec:
            if name not in TERMS:
                raise DescantError(f"Unknown table {name!r}: there are {', '.join(TERMS)}.")
        for name, shape in self._shapes().items():
            table = np.asarray(spec.get(name, np.zeros(shape)), np.float64)
            if table.shape != shape or not np.isfinite(table).all():
                raise DescantError(
                    f"The {name} table must be finite numbers {list(shape)}, not {list(table.shape)}."
                )
            tables[name] = table
        return TableReward(**tables)
