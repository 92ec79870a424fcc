"""Collect experience from a vector environment: one collector, whichever way it resets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

from descant.errors import DescantError
from descant.tasks import Bools, Floats, Ints

# (observations, masks bool[N, A] or None, starts bool[N]) -> actions int[N]
Act = Callable[[Any, Bools | None, Bools], Ints]


@dataclass
class Rollout:
    """Steps of N rows over T steps. What is not `valid` did not happen and must not be learned from.

    A NEXT_STEP environment answers the action after an episode's end with a reset: that row of that step is not
    valid. In rollouts of whole episodes, what follows a row's first episode isn't either.
    """

    observations: Any  # [T, N, ...], the one acted on; a dict of arrays for Dict spaces
    actions: Ints  # [T, N]
    rewards: Floats  # [T, N]
    terminated: Bools  # [T, N]
    truncated: Bools  # [T, N]
    starts: Bools  # [T, N], where an episode begins
    valid: Bools  # [T, N]
    masks: Bools | None  # [T, N, A]
    last_observation: Any  # [N, ...], to bootstrap from
    cut: NDArray[np.int64] = field(
        default_factory=lambda: np.zeros((0, 2), np.int64)
    )  # [K, 2] (step, row) truncated
    cut_observations: list[Any] = field(default_factory=list)  # what was seen last in each of them
    metrics: dict[str, Floats] = field(default_factory=dict)  # of episodes that ended, float[E] each
    terms: dict[str, float] = field(default_factory=dict)  # reward by term, summed over all valid steps
    last_masks: Bools | None = None  # [N, A], of the last observation
    resets_at_once: bool = False  # SAME_STEP: what is seen after an episode's end belongs to the next one

    @property
    def steps(self) -> int:
        """How many environment steps really happened."""
        return int(self.valid.sum())

    def finished_returns(self) -> Floats:
        """Sum of rewards of every episode that both begins and ends within the rollout, float[E]."""
        found = []
        ended = (self.terminated | self.truncated) & self.valid
        total, whole = np.zeros(self.rewards.shape[1]), np.zeros(self.rewards.shape[1], bool)
        for t in range(len(self.rewards)):
            whole |= self.starts[t]
            total = np.where(self.starts[t], 0.0, total) + np.where(self.valid[t], self.rewards[t], 0.0)
            found.append(total[ended[t] & whole])
        return np.concatenate(found)

    def returns(self, gamma: float = 1.0) -> Floats:
        """Reward-to-go of each step, float[T, N]; a rollout's or an episode's end adds nothing."""
        total = np.zeros(self.rewards.shape[1])
        out = np.empty_like(self.rewards)
        for t in reversed(range(len(out))):
            total = np.where(self.terminated[t] | self.truncated[t], 0.0, total)
            total = np.where(self.valid[t], self.rewards[t] + gamma * total, 0.0)
            out[t] = total
        return out


class Collector:
    """Steps a vector environment with `act` and records what happened."""

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        mode = env.metadata.get("autoreset_mode")
        if mode not in (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP):
            raise DescantError(
                f"The vector environment resets by {mode!r}: make it with autoreset_mode NEXT_STEP or SAME_STEP."
            )
        self.env = env
        self.same_step = mode is AutoresetMode.SAME_STEP
        self._native = hasattr(env, "action_masks")
        self._native_terms = hasattr(env, "terms")
        self._observation: Any = None
        self._info: dict[str, Any] = {}
        self.begun_at = 0  # environment steps before the rollout, for messages; a learner sets it
        self._done = np.zeros(env.num_envs, bool)
        self._starts = np.ones(env.num_envs, bool)

    def reset(self, seed: int | list[int] | None = None, options: dict[str, Any] | None = None) -> None:
        """Begin anew in every row; a list has a seed for each, where the environment takes one."""
        self._observation, self._info = self.env.reset(seed=seed, options=options)  # type: ignore[arg-type]
        self._done = np.zeros(self.env.num_envs, bool)
        self._starts = np.ones(self.env.num_envs, bool)

    def get_state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Where the collector stands within its episodes, arrays and JSON; empty where it begins anew.

        Only descant's environments can say where they stand: on others, a collector begins anew after a resume.
        """
        if self._observation is None or not hasattr(self.env, "get_state"):
            return {}, {}
        arrays, plain = self.env.get_state()
        own = {"_done": self._done.astype(np.uint8), "_starts": self._starts.astype(np.uint8)}
        return {**{f"env.{k}": v for k, v in arrays.items()}, **own}, {"env": plain}

    def set_state(self, arrays: dict[str, Any], plain: dict[str, Any]) -> None:
        """Go on from what `get_state` gave, on an environment made with the same options."""
        inner = {k.removeprefix("env."): v for k, v in arrays.items() if k.startswith("env.")}
        self.env.set_state(inner, plain["env"])  # type: ignore[attr-defined]
        self._observation, self._info = self.env.observe(), {}  # type: ignore[attr-defined]
        self._done = np.array(arrays["_done"]).astype(bool)
        self._starts = np.array(arrays["_starts"]).astype(bool)

    def watch_terms(self, on: bool) -> None:
        """Whether rollouts say what each term of the reward came to; only descant's environments can."""
        if self._native_terms:
            self.env.watch_terms(on)  # type: ignore[attr-defined]

    def steps(self, n_steps: int, act: Act) -> Rollout:
        """The next `n_steps` steps of every row, going on where the last call stopped."""
        if self._observation is None:
            self.reset()
        return self._collect(act, n_steps, once=False)

    def episodes(
        self, act: Act, seed: int | list[int] | None = None, options: dict[str, Any] | None = None
    ) -> Rollout:
        """Exactly one whole episode of every row, so that short ones count no more than long ones."""
        self.reset(seed, options)
        rollout = self._collect(act, None, once=True)
        self._observation = None
        return rollout

    def _collect(self, act: Act, n_steps: int | None, once: bool) -> Rollout:
        record: dict[str, list[Any]] = {name: [] for name in RECORDED}
        cut: list[tuple[int, int]] = []
        cut_observations: list[Any] = []
        metrics: dict[str, list[Floats]] = {}
        terms: dict[str, float] = {}
        ended = np.zeros(self.env.num_envs, bool)
        shown, held = (
            None,
            ended,
        )  # what was acted on, and rows that are over since: they are shown no more than that
        while not ended.all() if once else len(record["actions"]) < (n_steps or 0):
            fake = self._done if not self.same_step else np.zeros_like(self._done)
            observation, masks, starts = self._observation, self._masks(), self._starts
            shown = _held(shown, held, observation) if held.any() else observation
            held = ended if once and not self.same_step else held
            actions = act(shown, masks, starts)
            following, reward, terminated, truncated, info = self.env.step(actions)
            valid = ~(fake | ended) if once else ~fake
            done = terminated | truncated
            for row in np.flatnonzero(truncated & ~terminated & valid):
                cut.append((len(record["actions"]), int(row)))
                cut_observations.append(_last_seen(following, info, int(row), self.same_step))
            for name, values in self._ended_metrics(info, valid & done).items():
                metrics.setdefault(name, []).append(values)
            named = self.env.terms() if self._native_terms else {}  # type: ignore[attr-defined]
            for name, value in named.items():
                terms[name] = terms.get(name, 0.0) + float(value[valid].sum())
            row_of_step = (observation, actions, reward, terminated, truncated, starts, valid, masks)
            for name, value in zip(RECORDED, row_of_step, strict=True):
                record[name].append(value)
            self._starts = done if self.same_step else fake
            self._observation, self._info, self._done = following, info, done
            ended = ended | (done & valid) if once else ended
        columns: dict[str, Any] = {name: np.stack(record[name]) for name in RECORDED[1:-1]}
        self._refuse_no_numbers(columns["rewards"], columns["valid"])
        return Rollout(
            observations=_stack(record["observations"]),
            **columns,
            masks=None if record["masks"][0] is None else np.stack(record["masks"]),
            last_observation=self._observation,
            cut=np.array(cut, np.int64).reshape(-1, 2),
            cut_observations=cut_observations,
            metrics={name: np.concatenate(values) for name, values in metrics.items()},
            terms=terms,
            last_masks=self._masks(),
            resets_at_once=self.same_step,
        )

    def _refuse_no_numbers(self, rewards: Floats, valid: Bools) -> None:
        """DescantError where a reward is infinite or not a number: nothing can be learned from it."""
        wrong = valid & ~np.isfinite(rewards)
        if wrong.any():
            t, row = np.argwhere(wrong)[0]
            step = self.begun_at + int(valid[:t].sum())
            raise DescantError(
                f"The environment's reward is not finite at step {step}: in row {row} it is {rewards[t, row]}; mend "
                "the environment. The last checkpoint is as it was."
            )

    def _masks(self) -> Bools | None:
        """bool[N, A] from the environment's method, else from its infos; None where it has none."""
        if self._native:
            native: Bools = self.env.action_masks()  # type: ignore[attr-defined]
            return native
        masks = self._info.get("action_mask")
        return None if masks is None else np.asarray(masks).astype(bool)

    def _ended_metrics(self, info: dict[str, Any], rows: Bools) -> dict[str, Floats]:
        """Metrics of the episodes that just ended, float[k] each."""
        if not rows.any():
            return {}
        if hasattr(self.env, "metrics"):
            which, values = self.env.metrics()
            return {name: value[rows[which]] for name, value in values.items()}
        source = info.get("final_info", info) if self.same_step else info
        named = source.get("metrics", {})
        return {name: np.asarray(v)[rows] for name, v in named.items() if not name.startswith("_")}


RECORDED = ("observations", "actions", "rewards", "terminated", "truncated", "starts", "valid", "masks")


def _stack(observations: list[Any]) -> Any:
    if isinstance(observations[0], dict):
        return {key: _stack([o[key] for o in observations]) for key in observations[0]}
    return np.stack(observations)


def _held(before: Any, rows: Bools, now: Any) -> Any:
    """Observations now, but for these rows bool[N], which are as before."""
    if isinstance(now, dict):
        return {key: _held(before[key], rows, value) for key, value in now.items()}
    return np.where(rows.reshape(-1, *[1] * (now.ndim - 1)), before, now)


def _last_seen(following: Any, info: dict[str, Any], row: int, same_step: bool) -> Any:
    """The last observation of an episode that ended in this row."""
    if same_step:
        return info["final_obs"][row]
    if isinstance(following, dict):
        return {key: _last_seen(value, info, row, same_step) for key, value in following.items()}
    return following[row]
