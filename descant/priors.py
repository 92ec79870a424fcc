"""Priors: frozen policies that an agent is kept near, p(a | s) with the log-probability of every action."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np

from descant.conditioning import Blind, beneath
from descant.errors import DescantError
from descant.spaces import line_of
from descant.tasks import Bools, Floats


class Prior(Protocol):
    """A frozen policy."""

    def log_probs(self, observation: Any, state: Any = None, action_masks: Bools | None = None) -> Floats:
        """Log-probability of every action: float[n, A], -inf or very small where masked."""
        ...


class Uniform:
    """Every allowed action equally likely: KL to it is log(number of actions) minus entropy."""

    def __init__(self, actions: int) -> None:
        self.actions = actions

    def log_probs(self, observation: Any, state: Any = None, action_masks: Bools | None = None) -> Floats:
        """-log of the number of allowed actions: float[n, A], -inf where masked."""
        n = len(next(iter(observation.values())) if isinstance(observation, dict) else observation)
        allowed = np.ones((n, self.actions), bool) if action_masks is None else action_masks
        return np.where(allowed, -np.log(allowed.sum(axis=1, keepdims=True)), -np.inf)


class TaskPrior:
    """The prior that a task carries itself (`Task.prior_log_probs`), restricted to the mask."""

    def __init__(self, task: Any) -> None:
        self.task = task

    def log_probs(self, observation: Any, state: Any = None, action_masks: Bools | None = None) -> Floats:
        """Log-probability of every action: float[n, A], -inf where masked."""
        log_probs: Floats = self.task.prior_log_probs(observation)
        if action_masks is None:
            return log_probs
        masked = np.where(action_masks, log_probs, -np.inf)
        return masked - np.logaddexp.reduce(masked, axis=1, keepdims=True)


def make_prior(spec: Any, env: Any, device: str | None = None) -> Prior:
    """A prior from "uniform", "task" (the environment's own), a run or checkpoint, or an object that is one.

    The networks of a run are put on `device`; by default where they were trained, if that is there.

    Raises DescantError where the environment has none or the checkpoint was trained on other spaces.
    """
    if not isinstance(spec, str | Path):
        prior: Prior = spec
        return prior
    if spec == "uniform":
        return Uniform(int(env.single_action_space.n))
    if spec == "task":
        task = getattr(env.unwrapped, "task", None)
        if task is None or not hasattr(task, "prior_log_probs"):
            raise DescantError("This environment carries no prior of its own: pass a checkpoint as prior.")
        return TaskPrior(task)
    from descant.makers import load_agent

    agent = load_agent(spec, device=device)
    fits = (agent.observation_space, agent.action_space)
    if fits == (beneath(env.single_observation_space), env.single_action_space):
        return Blind(agent)
    if fits != (env.single_observation_space, env.single_action_space):
        raise DescantError(
            f"The prior {spec} was trained on {line_of(fits[0])} and {fits[1]}, the environment has "
            f"{line_of(env.single_observation_space)} and {env.single_action_space}: train a prior on this environment."
        )
    return agent
