"""What a policy tuned from a prior gained and lost, on cantus firmi that neither has learned from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from descant.agent import Agent
from descant.kl import exact_kl
from descant.tasks import Bools, Floats, Ints, size, take_rows

from .kl_prior import load_prior, measured_lines, measured_on


@dataclass(frozen=True)
class Play:
    """Episodes side by side, [T, N] each: what was done, and what both policies said; after the end not `valid`."""

    legal: Bools  # of the whole episode: [N]
    actions: Ints
    rewards: Floats
    valid: Bools
    kl: Floats  # exact, of each state
    entropy: Floats
    log_prior: Floats  # of the action taken


def play(agent: Agent, prior: Agent, task: Any, starts: Any, rng: np.random.Generator) -> Play:
    """One episode from each start, actions drawn from the agent's policy."""
    state, n = starts, size(starts)
    rows, alive, legal, steps = np.arange(n), np.ones(n, bool), np.zeros(n, bool), []
    while alive.any():
        seen, masks = task.observe(state), task.action_mask(state)
        log_policy = agent.log_probs(seen, action_masks=masks)
        log_prior = prior.log_probs(seen, action_masks=masks)
        action = np.where(masks, log_policy + rng.gumbel(size=masks.shape), -np.inf).argmax(axis=1)
        kl, entropy = exact_kl(log_policy, log_prior), -(np.exp(log_policy) * log_policy).sum(axis=1)
        state, reward, ended = task.step(state, action, rng)
        steps.append((action, np.where(alive, reward, 0.0), alive, kl, entropy, log_prior[rows, action]))
        legal = np.where(alive & ended, task.metrics(state)["legal"] > 0, legal)
        alive = alive & ~ended
    return Play(legal, *(np.stack(column) for column in zip(*steps, strict=True)))


def distinct(actions: Ints, valid: Bools, problem: Ints) -> float:
    """Share of distinct lines among those of the same problem (int[N]), from actions [T, N]."""
    lines = np.vstack([problem, np.where(valid, actions, -1)])
    return float(len(np.unique(lines, axis=1).T) / len(problem))


def measure(
    agent: Agent, said: dict[str, Any], world: str, settings: dict[str, Any], seed: int
) -> dict[str, float]:
    """Reward, score and share of legal lines; KL to the prior; log p of what is written; entropy; held-out likelihood.

    `per_line` sums over the notes of a line, the rest is a note's, in nats; `said` is what `prior_in` gave.
    """
    task, starts = measured_on(world, settings)
    problem = np.repeat(np.arange(size(starts)), settings["lines_played"] // size(starts))
    found = play(agent, load_prior(said), task, take_rows(starts, problem), np.random.default_rng([seed, 7]))
    returns = found.rewards.sum(axis=0)
    chance, best = (np.array(end)[problem] for end in said["anchors"][world])
    valid = found.valid
    return {
        "reward": float(returns.mean()),
        "score": float(((returns - chance) / (best - chance)).mean()),
        "legal": float(found.legal.mean()),
        "kl_per_line": float((found.kl * valid).sum(axis=0).mean()),
        "kl": float(found.kl[valid].mean()),
        "prior_log_prob": float(found.log_prior[valid].mean()),
        "entropy": float(found.entropy[valid].mean()),
        "heldout_nll": measured_lines(world, settings).nll(agent),
        "distinct": distinct(found.actions, valid, problem),
    }
