"""Melodies on a grid of sixteenths, one action each step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from gymnasium import spaces

from descant.errors import DescantError, did_you_mean
from descant.makers import make_reward
from descant.music.keys import Key
from descant.music.melodies import ACTIONS
from descant.music.melody_states import State, primed, start, write
from descant.music.melody_statistics import measures
from descant.music.primers import primer_actions
from descant.tasks import Bools, Episode, Floats, Ints, Reward, Task

from .melody_views import render

Observe = Literal["state", "last"]
OBSERVE: tuple[Observe, ...] = ("state", "last")
FAULTS = ("out_of_key", "repeated", "leaps_doubled")  # none of which a legal melody has


class Melody(Task[State]):
    """A melody of one voice, written a sixteenth at a time, after Jaques et al. 2017.

    ## Description
    A melody in 4/4 of exactly `steps` sixteenths: two bars by default. A model that was trained on tunes is the
    prior; the reward asks for rules of melody on top. What a step is worth depends on all that was written before
    (motifs, repetitions), so the task is deterministic, but not enumerable.

    ## Action space
    `Discrete(38)`: 0 ends the note that sounds, 1 changes nothing, 2 to 37 begin C3 to B5 (MIDI 48 to 83). All are
    allowed, but for the steps of a primer, where the mask leaves the primer's action alone.

    ## Observation space
    `MultiDiscrete([39, steps + 1])` of int64: the last action + 1 (0 before the first), and the steps written. An
    agent with memory sees in them all that was written. `observe="last"` leaves the steps out, as the published code
    does, though its reward depends on them: `MultiDiscrete([39])`.

    ## Reward
    `rl-tuner` unless another is named: key, tonic, repetition, autocorrelation, motifs, intervals, leaps, unique
    extremes. `reward` takes a name, or name and options, or a reward object.

    ## Metrics
    Of finished melodies: shares of steps `out_of_key`, `repeated` (too often), `in_motif`, `in_repeated_motif`;
    `starts_on_tonic`, `unique_highest`, `unique_lowest` (0 or 1); numbers of `leaps_resolved` and `leaps_doubled`;
    `autocorrelation_1` to `_3` (0 where all actions are equal); `legal`: 1 where nothing is out of key or repeated too
    often and no leap is doubled.

    ## Starting state
    Always the empty melody. `reset(options={"primer": "D4 E4:2 R:2"})` says how this episode has to begin: pitches, or
    R for a rest, with lengths in sixteenths (4 where none is said); or actions, [t] for all rows or [n, t] with -1
    behind the shorter ones. The agent still takes these steps, so that one with memory sees them: the action mask
    allows the primer's action alone, and any other is replaced by it. A vector environment's rows begin freely again
    after that episode.

    ## Episode end
    Terminates when `steps` actions are written; never truncates.

    ## Arguments
    `steps=32` (4 to 1024); `key="C"`, `mode="major"`: the tonic (`"Bb"`, `"F#"`) and the mode (major, minor, or a
    church mode) that the reward asks for; `observe="state"`; `reward="rl-tuner"`.

    ## Example
    >>> import gymnasium, descant
    >>> env = gymnasium.make("descant/Melody-v0", key="D", mode="dorian", render_mode="ansi")
    >>> observation, info = env.reset(seed=0)
    """

    name = "descant/Melody-v0"
    render_modes: ClassVar[tuple[str, ...]] = ("ansi", "rgb_array", "svg")

    def __init__(
        self,
        steps: int = 32,
        key: str = "C",
        mode: str = "major",
        observe: Observe = "state",
        reward: Any = "rl-tuner",
    ) -> None:
        if observe not in OBSERVE:
            raise DescantError(f"Unknown observe {observe!r}.{did_you_mean(str(observe), OBSERVE)}")
        self.steps, self.music_key, self.columns = steps, Key(key, mode), 2 if observe == "state" else 1
        start(1, self.music_key, steps)  # refuses steps that can't be
        self.reward: Reward = make_reward(reward)
        self.observation_space = spaces.MultiDiscrete([ACTIONS + 1, steps + 1][: self.columns])
        self.action_space = spaces.Discrete(ACTIONS)

    def reset(self, rng: np.random.Generator, n: int, options: Mapping[str, Any] | None = None) -> State:
        """`n` empty melodies; the option `primer` says how they have to begin."""
        for option in options or {}:
            if option != "primer":
                raise DescantError(f"Unknown reset option {option!r}.{did_you_mean(option, ('primer',))}")
        primer = (options or {}).get("primer")
        wanted = None if primer is None else primer_actions(primer, n, self.steps)
        return start(n, self.music_key, self.steps, wanted)

    def starts(self) -> State:
        """The empty melody."""
        return start(1, self.music_key, self.steps)

    def step(self, state: State, action: Ints, rng: np.random.Generator) -> tuple[State, Floats, Bools]:
        """Write an action, or the primer's. Uses no randomness; a melody that is complete stays as it is."""
        wanted = primed(state)
        action = np.where(wanted < 0, action, wanted)
        after = write(state, action)
        return after, self.reward(state, action, after), after.step == self.steps

    def observe(self, state: State) -> Ints:
        """int64[n, 2]: last action + 1, steps written; the first column alone with `observe="last"`."""
        last = state.written[np.arange(len(state.step)), state.step - 1]
        seen = np.where(state.step > 0, last + 1, 0).astype(np.int64)
        return np.stack([seen, state.step][: self.columns], axis=1)

    def action_mask(self, state: State) -> Bools:
        """bool[n, 38]: all True, but the primer's action alone where there is one."""
        mask, wanted = np.ones((len(state.step), ACTIONS), bool), primed(state)
        rows = wanted >= 0
        if rows.any():
            mask[rows] = np.arange(ACTIONS) == wanted[rows, None]
        return mask

    def metrics(self, state: State) -> dict[str, Floats]:
        """What the class says under Metrics."""
        found = {name: np.nan_to_num(values) for name, values in measures(state).items()}
        faulty = np.any([found[name] > 0 for name in FAULTS], axis=0)
        return {"legal": (~faulty).astype(float)} | found

    def render(self, episode: Episode[State], mode: str) -> Any:
        """`ansi`: names on the grid, findings below; `rgb_array`: a piano roll; `svg`: the engraved score."""
        last = episode.states[-1]
        written = last.written[0, : int(last.step[0])]  # not what was asked for where a primer was written
        return render(Episode(episode.states, tuple(int(a) for a in written)), mode, self.reward)
