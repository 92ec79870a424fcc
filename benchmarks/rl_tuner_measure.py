"""What a policy that writes melodies is worth: statistics, reward by term, exact KL to the prior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from descant.agent import Agent
from descant.compositions import Temperature, by_step
from descant.kl import exact_kl
from descant.music import melody_statistics
from descant.music.melody_states import Actions, write
from descant.tasks import Floats, Ints

from .rl_tuner_prior import Prior

ROWS = 4096  # compositions written side by side: what a step needs stays in the processor's cache
SAMPLES = 3  # kept of every model, the first that were drawn


@dataclass(frozen=True)
class Compositions:
    """What a policy wrote, int8[n, T], and what was seen while it wrote: means over all compositions.

    `terms` of the reward and `reward` a composition; `kl` float[T], exact, at each step; `log_p` of the prior and the
    policy's `entropy` a step, in nats.
    """

    written: Actions
    terms: dict[str, float]
    kl: Floats
    log_p: float
    entropy: float

    @property
    def reward(self) -> float:
        """Worth of a composition."""
        return sum(self.terms.values())


def compose(
    agent: Agent, prior: Prior, n: int, rng: np.random.Generator, temperature: Temperature
) -> Compositions:
    """`n` compositions drawn from the agent's own distribution, its log-probabilities divided by `temperature`."""
    sizes = [min(ROWS, n - begun) for begun in range(0, n, ROWS)]
    parts = [_compose(agent, prior, size, rng, temperature) for size in sizes]
    share = np.array(sizes) / n
    return Compositions(
        np.concatenate([part.written for part in parts]),
        {name: float(share @ [part.terms[name] for part in parts]) for name in parts[0].terms},
        share @ np.stack([part.kl for part in parts]),
        float(share @ [part.log_p for part in parts]),
        float(share @ [part.entropy for part in parts]),
    )


def _compose(
    agent: Any, prior: Prior, n: int, rng: np.random.Generator, temperature: Temperature
) -> Compositions:
    frozen: Any = prior.agent
    task = prior.task
    state, rows = task.reset(rng, n), np.arange(n)
    masks, memory, remembered = np.ones((n, int(task.action_space.n)), bool), None, None
    kl, log_p, entropy, terms = [], [], [], dict.fromkeys(task.reward.weights, 0.0)
    for t, divisor in enumerate(by_step(temperature, task.steps)):
        seen, starts = task.observe(state), np.full(n, t == 0)
        said, memory = agent.policy_step(seen, masks, starts, memory)
        known, remembered = frozen.policy_step(seen, masks, starts, remembered)
        log_policy = torch.log_softmax(said.double() / divisor, dim=-1).numpy()
        log_prior = known.double().numpy()
        action = draw(log_policy, rng)
        kl.append(exact_kl(log_policy, log_prior).mean())
        log_p.append(log_prior[rows, action].mean())
        entropy.append(-(np.exp(log_policy) * log_policy).sum(axis=1).mean())
        after = write(state, action)
        for name, worth in task.reward.terms(state, action, after).items():
            terms[name] += float(worth.mean())
        state = after
    return Compositions(state.written, terms, np.array(kl), float(np.mean(log_p)), float(np.mean(entropy)))


def draw(log_probs: Floats, rng: np.random.Generator) -> Ints:
    """An action int64[n] from each row of float[n, A]."""
    heaped = np.exp(log_probs).cumsum(axis=1)
    below: Ints = (heaped < rng.random((len(heaped), 1)) * heaped[:, -1:]).sum(axis=1)
    return below


def measure(
    agent: Agent, prior: Prior, n: int, rng: np.random.Generator, temperature: Temperature = 1.0
) -> dict[str, Any]:
    """All that is reported of a policy, as JSON; `samples` are compositions as lists of actions."""
    found = compose(agent, prior, n, rng, temperature)
    said = {
        "reward": found.reward,
        "terms": found.terms,
        "kl": float(found.kl.mean()),
        "kl_by_step": found.kl.tolist(),
        "log_p": found.log_p,
        "entropy": found.entropy,
        "samples": found.written[:SAMPLES].tolist(),
    }
    return said | statistics(found.written, prior)


def statistics(written: Actions, prior: Prior) -> dict[str, float]:
    """What compositions int8[n, T] say of themselves, of the tunes learned from, and of others: by name."""
    longest = melody_statistics.Corpus(prior.windows("train")).longest(written)
    overlaps = melody_statistics.overlap_areas(written, prior.windows("test"))
    return melody_statistics.summary(written, prior.task.music_key) | {
        "copied": float((longest >= melody_statistics.COPIED_RUN).mean()),
        "longest_copied": float(longest.mean()),
        "overlap_intervals": overlaps["intervals"],
        "overlap_durations": overlaps["durations"],
    }


def real_tunes(prior: Prior) -> dict[str, Any]:
    """The same of tunes that the prior never saw, as far as it can be said of tunes."""
    tunes = prior.windows("test")
    task = prior.task
    state, total = task.reset(np.random.default_rng(0), len(tunes)), dict.fromkeys(task.reward.weights, 0.0)
    for column in tunes.T.astype(np.int64):
        after = write(state, column)
        for name, worth in task.reward.terms(state, column, after).items():
            total[name] += float(worth.mean())
        state = after
    said = {"reward": sum(total.values()), "terms": total, "log_p": -prior.facts["model"]["nll"]}
    return said | statistics(tunes, prior)
