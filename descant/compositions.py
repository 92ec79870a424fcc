"""Compositions: what a policy writes when nobody stops it, many at once, beside what a prior says of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from descant.errors import DescantError
from descant.kl import exact_kl
from descant.tasks import Bools, Floats, Ints, Task, join_rows

ROWS = 4096  # written at once: what is drawn depends on it

# One for all steps, or that of the first and that of the last, with a line between.
Temperature = float | Sequence[float]


@dataclass(frozen=True)
class Compositions:
    """`n` finished episodes of T steps. What is a mean is one over the steps that were free, float64[n] each.

    `actions` int8[n, T]; `rewards` and `terms` (the reward by term) sums over episodes, float64[n]; `log_policy` the
    log-probability of what was written under the policy that wrote it, `log_prior` and `kl` that under the prior and
    the exact KL to it, None where there is no prior; `last` the task's states at the end.
    """

    actions: NDArray[np.int8]
    rewards: Floats
    terms: dict[str, Floats]
    log_policy: Floats
    log_prior: Floats | None
    kl: Floats | None
    last: Any

    def __len__(self) -> int:
        return len(self.actions)

    @property
    def scores(self) -> dict[str, Floats]:
        """By name: `reward`, `reward/TERM` of each term, `log_policy`, and where there is a prior `log_prior`, `kl`."""
        found = {"reward": self.rewards} | {f"reward/{name}": v for name, v in self.terms.items()}
        found["log_policy"] = self.log_policy
        if self.log_prior is not None and self.kl is not None:
            found |= {"log_prior": self.log_prior, "kl": self.kl}
        return found


def write_compositions(
    policy: Any,
    task: Task[Any],
    n: int,
    *,
    prior: Any = None,
    temperature: Temperature = 1.0,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    terms: bool = True,
) -> Compositions:
    """`n` episodes that a policy writes on a task of episodes of equal length, such as `descant/Melody-v0`.

    `policy` and `prior` are agents (with memory or without) or priors; `temperature` divides the log-probabilities of
    the policy, 0 takes the likeliest action, of two the first step has the first and the last the last, with a line
    between; `options` are the task's at reset. The prior is asked at temperature 1.
    `terms=False` saves the time that the reward by term takes. DescantError for n below 1 or a temperature below 0.
    """
    if n < 1:
        raise DescantError(f"There must be 1 composition at least, not {n}.")
    for one in temperature if isinstance(temperature, Sequence) else (temperature,):
        if not 0 <= one < np.inf:
            raise DescantError(f"temperature must be 0 (the likeliest) or more, not {one}.")
    rng = np.random.default_rng(seed)
    sizes = [min(ROWS, n - begun) for begun in range(0, n, ROWS)]
    parts = [_written(policy, prior, task, rows, temperature, rng, options, terms) for rows in sizes]
    return Compositions(
        np.concatenate([part.actions for part in parts]),
        np.concatenate([part.rewards for part in parts]),
        {name: np.concatenate([part.terms[name] for part in parts]) for name in parts[0].terms},
        np.concatenate([part.log_policy for part in parts]),
        None if prior is None else np.concatenate([part.log_prior for part in parts]),
        None if prior is None else np.concatenate([part.kl for part in parts]),
        join_rows([part.last for part in parts]),
    )


def _written(
    policy: Any,
    prior: Any,
    task: Task[Any],
    rows: int,
    temperature: Temperature,
    rng: np.random.Generator,
    options: Mapping[str, Any] | None,
    with_terms: bool,
) -> Compositions:
    state = task.reset(rng, rows, options)
    reward_of = getattr(getattr(task, "reward", None), "terms", None) if with_terms else None
    actions: list[Ints] = []
    rewards, own, other, kl, free = np.zeros((5, rows))
    terms: dict[str, Floats] = {}
    memory: Any = None
    prior_memory: Any = None
    ended, starts = np.zeros(rows, bool), np.ones(rows, bool)
    temperatures = _each(temperature, task)
    while not ended.all():
        seen, masks = task.observe(state), task.action_mask(state)
        plain, memory = policy_step(policy, seen, masks, starts, memory)
        log_policy = tempered(plain, next(temperatures))
        action = (log_policy + rng.gumbel(size=log_policy.shape)).argmax(axis=1)
        if prior is policy:
            log_prior: Floats | None = plain
        elif prior is not None:
            log_prior, prior_memory = policy_step(prior, seen, masks, starts, prior_memory)
        else:
            log_prior = None
        own += _taken(log_policy, action)
        if log_prior is not None:
            other += _taken(log_prior, action)
            with np.errstate(invalid="ignore"):  # both may rule an action out: it counts for nothing
                kl += exact_kl(log_policy, log_prior)
        free += masks.sum(axis=1) > 1
        after, reward, ended = task.step(state, action, rng)
        rewards += reward
        for name, value in (reward_of(state, action, after) if reward_of else {}).items():
            terms[name] = terms.get(name, 0.0) + value
        actions.append(action)
        state, starts = after, np.zeros(rows, bool)
        if ended.any() and not ended.all():
            raise DescantError(
                f"Episodes of {task.name} differ in length: they can't be written side by side."
            )
    count = np.maximum(free, 1)
    written = np.stack(actions, axis=1).astype(np.int8)
    means = (own / count, None if prior is None else other / count, None if prior is None else kl / count)
    return Compositions(written, rewards, terms, *means, state)


def policy_step(
    policy: Any, observation: Any, masks: Bools, starts: Bools, memory: Any
) -> tuple[Floats, Any]:
    """Log-probabilities float64[n, A] of a policy or prior over the allowed actions, and its memory after the step."""
    if hasattr(policy, "policy_step"):
        tensor, memory = policy.policy_step(observation, masks, starts, memory)
        found = tensor.cpu().numpy().astype(np.float64)
    else:
        found = np.asarray(policy.log_probs(observation, None, masks), np.float64)
    if masks.all():
        return found, memory
    # Not every policy knows masks, and those that do leave -1e9.
    masked = np.where(masks, found, -np.inf)
    return masked - np.logaddexp.reduce(masked, axis=1, keepdims=True), memory


def by_step(temperature: Temperature, steps: int) -> Floats:
    """The temperature of each step: float[T]."""
    first, last = temperature if isinstance(temperature, Sequence) else (temperature, temperature)
    return np.linspace(first, last, steps)


def _each(temperature: Temperature, task: Task[Any]) -> Iterator[float]:
    if not isinstance(temperature, Sequence):
        return itertools.repeat(temperature)
    steps = getattr(task, "steps", None)
    if steps is None:
        raise DescantError(f"{task.name} has no number of steps: give one temperature for all.")
    return iter(by_step(temperature, steps))


def tempered(log_probs: Floats, temperature: float) -> Floats:
    """Log-probabilities float[n, A] over a temperature; at 0 all on the first of the likeliest."""
    if temperature == 1:
        return log_probs
    if temperature == 0:
        first = np.arange(log_probs.shape[1]) == log_probs.argmax(axis=1)[:, None]
        return np.where(first, 0.0, -np.inf)
    # Relative to the likeliest, so that a low temperature does not overflow.
    scaled = (log_probs - log_probs.max(axis=1, keepdims=True)) / temperature
    return np.asarray(scaled - np.logaddexp.reduce(scaled, axis=1, keepdims=True))


def _taken(log_probs: Floats, action: Ints) -> Floats:
    return log_probs[np.arange(len(action)), action]
