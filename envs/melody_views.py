"""How a melody is shown: names on the grid, a piano roll, an engraved score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from descant.music.engraving import to_svg
from descant.music.melodies import FIRST_NOTE, HOLD, STEPS_PER_BEAT, midi_of
from descant.music.melody_scores import melody_score
from descant.music.melody_states import State
from descant.music.pianoroll import to_image
from descant.music.scores import Score
from descant.music.spelling import spell
from descant.tasks import Episode, Finding, Reward

COLOURS = {"error": "#c0392b", "warning": "#b9770e"}
MARKS = {"error": "!", "warning": "."}
SILENT = frozenset({"autocorrelation"})  # of the whole so far, at every step: not marked
LINE = 4 * STEPS_PER_BEAT  # steps in a bar, and in a line of text
HELD, OFF, TO_COME = "-", "x", "."


def render(episode: Episode[State], mode: str, reward: Reward) -> Any:
    """A str for `ansi` and `svg`, uint8[H, W, 3] for `rgb_array`."""
    score = score_of(episode)
    if mode == "rgb_array":
        return to_image(score)
    explain = getattr(reward, "explain", None)
    findings = [f for f in explain(episode) if f.rule not in SILENT] if explain else []
    if mode == "svg":
        return to_svg(score, colours=colours_of(score, findings))
    return ansi(episode, findings)


def score_of(episode: Episode[State]) -> Score:
    """The score so far: steps not written yet are rests."""
    first = episode.states[0]
    return melody_score(episode.actions, first.key, first.steps, title=f"Melody in {first.key}")


def colours_of(score: Score, findings: Sequence[Finding]) -> dict[tuple[int, int], str]:
    """Colour by (voice, note) of each note or rest found fault with while it lasts; errors win over warnings."""
    ends = np.cumsum([note.beats * STEPS_PER_BEAT for note in score.voices[0].notes])
    marked = sorted(findings, key=lambda f: f.severity, reverse=True)
    return {(0, int((ends < f.position).sum())): COLOURS[f.severity] for f in marked}


def ansi(episode: Episode[State], findings: Sequence[Finding]) -> str:
    """A bar a line: names, - for a hold, x for a note-off, . to come; ! or . under faults; then errors in words."""
    first = episode.states[0]
    cells = [_cell(action, first) for action in episode.actions]
    cells += [TO_COME] * (first.steps - len(cells))
    marks = [" "] * len(cells)
    for finding in sorted(findings, key=lambda f: f.severity, reverse=True):
        marks[finding.position - 1] = MARKS[finding.severity]
    lines = []
    for at in range(0, len(cells), LINE):
        for name, row in (("melody", cells), ("", marks)):
            lines.append((f"{name:>6} | " + " ".join(f"{c:<3}" for c in row[at : at + LINE])).rstrip())
    words = [f"{f.position:>4}  {f.rule}: {f.message}" for f in findings if f.severity == "error"]
    return "\n".join(lines + words)


def _cell(action: int, state: State) -> str:
    if action < FIRST_NOTE:
        return HELD if action == HOLD else OFF
    return str(spell(int(midi_of(np.array(action))), state.key))
