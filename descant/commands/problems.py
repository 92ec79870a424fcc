"""What commands share of counterpoint problems: the task of a cantus, notes from text or a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from descant.errors import DescantError, did_you_mean
from descant.makers import make_reward
from descant.music.cantus_firmi import find
from descant.music.pitches import Pitch, parse_line
from descant.registry import tasks
from descant.tasks import Task, needs_line

ID = "descant/Counterpoint-v0"


def counterpoint_task(cantus: str, position: str, **options: Any) -> Task[Any]:
    """The task of one cantus (a name, notes, or a MIDI file) and position."""
    if position not in ("above", "below"):
        raise DescantError(f"Unknown position {position!r}.{did_you_mean(position, ('above', 'below'))}")
    line = find(cantus)
    made: Task[Any] = tasks.get(ID)(
        cantus=line, position=position, **{"max_notes": max(len(line), 3)} | options
    )
    return made


def with_optimum(options: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Options with Fux's rules in place of a reward that looks at whole lines, and what is to be said of that."""
    if not needs_line(make_reward(options.get("reward", "fux"))):
        return dict(options), ""
    said = "measured by Fux's rules: the reward of this run looks at whole lines, so its optimum is not known"
    return {**options, "reward": "fux"}, said


def read_notes(text: str) -> tuple[Pitch, ...]:
    """Notes written out, or the one line of a MIDI file (.mid, .midi)."""
    if text.lower().endswith((".mid", ".midi")):
        from descant.music.midi import read_line

        return read_line(Path(text))
    return parse_line(text)
