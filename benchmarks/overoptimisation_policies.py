"""Three ways to maximise a proxy near a prior: exact tilting, best of n, reinforcement learning; measured exactly.

Distributions are log-probabilities float[S] of all sequences. A point is [KL to the prior in nats, gold, proxy].
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces

from descant.makers import make_agent
from descant.shells import TaskVectorEnv
from descant.tasks import Bools, Floats, Ints, Task

from .overoptimisation_worlds import World

Point = list[float]
CLOSE, MOST_STEPS = 1e-9, 60  # of the search for a KL: in log KL, and steps where none has so much


def point(log_policy: Floats, world: World, proxy: Floats) -> Point:
    """KL, gold and proxy of a distribution."""
    chances = np.exp(log_policy)
    there = chances > 0
    kl = float(chances[there] @ (log_policy - world.log_prior)[there])
    return [kl, float(chances @ world.gold), float(chances @ proxy)]


# Exact tilting: the optimum of E[proxy] - c KL.


def tilted(log_prior: Floats, proxy: Floats, c: float) -> Floats:
    """log of p exp(proxy / c) / Z."""
    found: Floats = log_prior + proxy / c
    return found - np.logaddexp.reduce(found)


def tilted_to(log_prior: Floats, proxies: Floats, kls: Sequence[float]) -> Floats:
    """The tilted priors of proxies float[P, S] whose KL to the prior is each of K `kls`: log-probabilities [P, K, S].

    The sharpest there is where none has so much. Newton's steps for log KL over log(1 / c), all side by side, inside
    brackets that shrink: KL grows with 1 / c, and its slope is the proxy's variance over c.
    """
    asked = np.log(np.asarray(kls, np.float64))
    low, high = (np.full((len(proxies), len(asked)), edge) for edge in np.log([1e-4, 1e4]))
    at = np.full_like(low, np.log(0.1))
    for _ in range(MOST_STEPS):
        sharp = np.exp(at)
        found = log_prior + sharp[..., None] * proxies[:, None]
        found -= found.max(axis=2, keepdims=True)
        chances = np.exp(found)
        total = chances.sum(axis=2)
        chances /= total[..., None]
        kl = ((found - log_prior) * chances).sum(axis=2) - np.log(total)
        mean, square = chances @ proxies[..., None], chances @ (proxies**2)[..., None]
        slope = sharp**2 * np.maximum(square - mean**2, 1e-300)[..., 0]
        excess = np.log(np.maximum(kl, 1e-300)) - asked
        if (np.abs(excess) < CLOSE).all():
            break
        low, high = np.where(excess < 0, at, low), np.where(excess < 0, high, at)
        step = at - excess * kl / slope
        at = np.where((step > low) & (step < high), step, (low + high) / 2)
    return found - np.log(total)[..., None]


# Best of n.


def best_of(n: int, log_prior: Floats, proxy: Floats) -> Floats:
    """Log-probability that each sequence is the best, by the proxy, of n drawn from the prior; the first among equals.

    Of sequences with less than x, the prior has F: all n are below with F^n.
    """
    order = np.argsort(proxy, kind="stable")
    ranks = np.unique(proxy[order], return_index=True)[1]
    share = np.exp(log_prior[order])
    group = np.add.reduceat(share, ranks)
    upto = np.minimum(np.cumsum(group), 1.0)
    upto[-1] = 1.0
    below = np.append(0.0, upto[:-1])
    won = _powers(below, upto, n)
    lengths = np.diff(np.append(ranks, len(proxy)))
    found = np.empty(len(proxy))
    with np.errstate(divide="ignore"):
        found[order] = np.repeat(np.log(won) - np.log(group), lengths) + log_prior[order]
    return found


def _powers(below: Floats, upto: Floats, n: int) -> Floats:
    """upto^n - below^n, without loss where the two are near: float[k]."""
    with np.errstate(divide="ignore"):
        logs = n * np.log(upto)
        ratio = n * (np.log(below) - np.log(upto))
    found: Floats = np.exp(logs) * -np.expm1(ratio)
    return found


def kl_of_best(n: int) -> float:
    """KL of best-of-n where no two sequences are worth the same and none has a large share: log n - (n - 1) / n."""
    return float(np.log(n) - (n - 1) / n)


# Reinforcement learning.


@dataclass(frozen=True)
class State:
    """Tokens written so far int64[n, T], counted from 1, 0 is none; their number int64[n]."""

    written: Ints
    step: Ints


class Sentences(Task[State]):
    """The sequences of a world, paid for at their end by a table float[S]; all that is written is observed."""

    name: ClassVar[str] = "bench/Sentences"
    enumerable: ClassVar[bool] = True

    def __init__(self, world: World, rewards: Floats) -> None:
        self.tokens, self.steps = int(world.task.tokens), int(world.task.steps)
        self.rewards, self.log_prior = rewards, world.task.log_prior
        self.observation_space = spaces.MultiDiscrete(np.full(self.steps, self.tokens + 1))
        self.action_space = spaces.Discrete(self.tokens)

    def reset(self, rng: np.random.Generator, n: int, options: Mapping[str, Any] | None = None) -> State:
        """`n` empty sequences."""
        return State(np.zeros((n, self.steps), np.int64), np.zeros(n, np.int64))

    def starts(self) -> State:
        """The empty sequence."""
        return self.reset(np.random.default_rng(0), 1)

    def step(self, state: State, action: Ints, rng: np.random.Generator) -> tuple[State, Floats, Bools]:
        """Write a token; pay where it was the last."""
        written, place = state.written.copy(), np.minimum(state.step, self.steps - 1)
        written[np.arange(len(place)), place] = action + 1
        after = State(written, np.minimum(state.step + 1, self.steps))
        ends = after.step == self.steps
        paid = np.where(ends, self.rewards[self._rows(written)], 0.0)
        return after, paid, ends

    def _rows(self, written: Ints) -> Ints:
        """Which of all sequences, in lexical order, begins so."""
        rows: Ints = np.maximum(written - 1, 0) @ self.tokens ** np.arange(self.steps - 1, -1, -1)
        return rows

    def observe(self, state: State) -> Ints:
        """int64[n, T]."""
        return state.written.copy()

    def action_mask(self, state: State) -> Bools:
        """All may be written."""
        return np.ones((len(state.step), self.tokens), bool)

    def prior_log_probs(self, observation: Any) -> Floats:
        """That of the world: of the token before."""
        written = np.asarray(observation)
        before = np.maximum((written > 0).sum(axis=1) - 1, 0)
        return np.asarray(self.log_prior[written[np.arange(len(written)), before]], np.float64)

    def key(self, state: State) -> Ints:
        """What is written, as a number."""
        found: Ints = state.written @ (self.tokens + 1) ** np.arange(self.steps)
        return found


def log_policy_of(agent: Any, task: Sentences) -> Floats:
    """Log-probability of every sequence, in lexical order, under an agent: float[S]."""
    state, total = task.starts(), np.zeros(1)
    rng = np.random.default_rng(0)
    for _ in range(task.steps):
        total = (total[:, None] + agent.log_probs(task.observe(state))).ravel()
        rows = np.repeat(np.arange(len(state.step)), task.tokens)
        actions = np.tile(np.arange(task.tokens), len(state.step))
        state, _, _ = task.step(State(state.written[rows], state.step[rows]), actions, rng)
    return total - np.logaddexp.reduce(total)


def learned(
    world: World, proxy: Floats, cs: Iterable[float], agent: str, config: Mapping[str, Any], seed: int
) -> list[Point]:
    """An agent trained on the proxy at each temperature c, next to the world's prior: where it ended."""
    found = []
    options = {k: v for k, v in config.items() if k not in ("num_envs", "steps", "coef")}
    for c in cs:
        task = Sentences(world, proxy)
        env = TaskVectorEnv(task, config["num_envs"])
        made = make_agent(agent, env, prior="task", seed=seed, **{config["coef"]: c}, **options)
        made.learn(config["steps"])
        found.append(point(log_policy_of(made, task), world, proxy))
    return found
