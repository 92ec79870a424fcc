"""Clips of what agents compose: the task that a clip belongs to, its lines of notes, and clips of written music."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from descant.errors import DescantError
from descant.music.keys import Key
from descant.music.scores import Score
from descant.preferences.records import Clip
from descant.registry import tasks
from descant.tasks import Floats, Ints, Task

COUNTERPOINT, MELODY = "descant/Counterpoint-v0", "descant/Melody-v0"
SUMMARY = "melodies.json"
COUNTERPOINT_TEMPO = 240.0  # whole notes of a second: at the usual two, fifty pairs would take an hour


def counterpoint_clip(
    cantus: str, position: str, tokens: Sequence[int], source: str, **metadata: Any
) -> Clip:
    """A counterpoint to a cantus firmus given as notes ("D4 F4 E4 D4"), above or below."""
    arguments = {"cantus": cantus, "position": position}
    return Clip(COUNTERPOINT, arguments, tuple(int(t) for t in tokens), source, metadata=metadata)


def melody_clip(key: Key, tokens: Sequence[int] | Ints, source: str, **metadata: Any) -> Clip:
    """A melody in a key; `shift` in the metadata moves what sounds by so many semitones."""
    arguments = {"key": key.tonic, "mode": key.mode, "steps": len(tokens)}
    return Clip(MELODY, arguments, tuple(int(t) for t in tokens), source, metadata=metadata)


def task_of(clip: Clip, reward: Any = None) -> Task[Any]:
    """The task that a clip was written in, with another reward where one is given."""
    from descant.music.cantus_firmi import find

    own = dict(clip.arguments)
    if clip.environment == COUNTERPOINT:
        own["max_notes"] = len(find(str(own.get("cantus"))))
    try:
        made: Task[Any] = tasks.get(clip.environment)(**own, **({} if reward is None else {"reward": reward}))
    except TypeError as error:
        raise DescantError(f"No {clip.environment} can be made with {own}: {error}.") from error
    return made


@dataclass(frozen=True)
class Played:
    """Clips played side by side in their task: T + 1 states, actions int[T, n], rewards float[T, n]."""

    states: list[Any]
    actions: Ints
    rewards: Floats


def play_clips(clips: Sequence[Clip], task: Task[Any], options: Mapping[str, Any] | None = None) -> Played:
    """Take the tokens of clips of one problem and length as actions; DescantError where that is no whole episode.

    `options` are the task's at reset.
    """
    tokens = np.array([clip.tokens for clip in clips], np.int64).T
    source = clips[0].source
    if not tokens.size or tokens.max() >= task.action_space.n:
        raise DescantError(f"A clip of {source} is no episode of {task.name}: its tokens are no actions.")
    rng = np.random.default_rng(0)
    states, rewards, ended = [task.reset(rng, len(clips), options)], [], np.zeros(len(clips), bool)
    for action in tokens:
        if ended.any():
            break
        state, reward, ended = task.step(states[-1], action, rng)
        states.append(state)
        rewards.append(reward)
    if not ended.all() or len(rewards) != len(tokens):
        raise DescantError(
            f"A clip of {source} is no whole episode of {task.name}: it has too few tokens or too many."
        )
    return Played(states, tokens, np.array(rewards))


def score_of(clip: Clip) -> Score | None:
    """The clip as a score, without a title that would say who wrote it; None where it is no music that we know."""
    from descant.music.cantus_firmi import find
    from descant.music.counterpoint import GAMUT
    from descant.music.melody_scores import melody_score
    from descant.music.scores import counterpoint_score

    try:
        if clip.environment == MELODY and clip.tokens:
            key = Key(clip.arguments.get("key", "C"), clip.arguments.get("mode", "major"))
            return melody_score(clip.tokens, key, shift=int(clip.metadata.get("shift", 0)))
        if clip.environment == COUNTERPOINT:
            line = [GAMUT[token] for token in clip.tokens]
            cantus = find(str(clip.arguments["cantus"]))
            return counterpoint_score(cantus, line, clip.arguments["position"], tempo=COUNTERPOINT_TEMPO)
    except (DescantError, LookupError, TypeError, ValueError):
        return None  # a clip from elsewhere may say anything: it is shown as text
    return None


def words_of(clip: Clip) -> str:
    """The clip as text: what is read, its notes by name for those who can't see the score, or its tokens."""
    if clip.text is not None:
        return clip.text
    score = score_of(clip)
    if score is None:
        return " ".join(map(str, clip.tokens)) or "(nothing)"
    return ". ".join(
        f"{voice.name}: {' '.join('rest' if note.pitch is None else str(note.pitch) for note in voice.notes)}"
        for voice in score.voices
    )


# Folders that `descant compose` wrote.


def read_compositions(folder: Path, source: str) -> list[Clip]:
    """The clips of a folder of `descant compose`: its melodies, or its counterpoints; [] where it has neither."""
    if (folder / SUMMARY).is_file():
        return _melodies(folder / SUMMARY, source)
    return [_counterpoint(path, source) for path in sorted(folder.glob("counterpoint-*.json"))]


def _melodies(path: Path, source: str) -> list[Clip]:
    from descant.music.primers import parse_primer
    from descant.music.transpositions import moved

    data = _read(path)
    try:
        asked, shift = Key(data["key"], data["mode"]), int(data["transposed"])
        inside = moved(asked, -shift)
        return [
            melody_clip(inside, parse_primer(m["notes"], -shift), source, shift=shift, title=str(m["melody"]))
            for m in data["melodies"]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise DescantError(
            f"{path} is not what descant compose writes ({error}): compose it again."
        ) from error


def _counterpoint(path: Path, source: str) -> Clip:
    from descant.music.counterpoint import actions_of
    from descant.music.pitches import Pitch

    data = _read(path)
    try:
        line = [Pitch.parse(str(note)) for note in data["counterpoint"]]
        cantus = " ".join(map(str, data["cantus"]))
        return counterpoint_clip(cantus, str(data["position"]), actions_of(line), source, title=path.stem)
    except (KeyError, TypeError, ValueError) as error:
        raise DescantError(
            f"{path} is not what descant compose writes ({error}): compose it again."
        ) from error


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DescantError(f"Cannot read {path}: {error}. Compose it again.") from error
