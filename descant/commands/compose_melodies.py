"""Composing melodies with a trained run: transposed to the key asked for, beside what is measured of each."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from descant.agent import Agent
from descant.commands.melodies import melody_task, own_key, prior_beside
from descant.commands.output import print_json
from descant.compositions import Compositions, Temperature, write_compositions
from descant.errors import DescantError
from descant.files import write_together
from descant.music.keys import Key
from descant.music.melodies import FIRST_NOTE
from descant.music.melody_statistics import measure
from descant.music.primers import parse_primer, primer_text
from descant.music.transpositions import moved, shift_between

FLUTE = 73  # General MIDI, from 0
KINDS = ("mid", "svg", "wav", "abc")
SUMMARY = "melodies.json"
MOST = 1000  # melodies at once; each is four files


@dataclass(frozen=True)
class Wanted:
    """What is asked for; the run's own key where none is."""

    n: int
    key: str | None
    mode: str | None
    temperature: Temperature
    primer: str | None
    prior: str | None
    seed: int


@dataclass(frozen=True)
class Written:
    """Melodies, the key asked for, the semitones they are to be moved by, and what is measured of each."""

    found: Compositions
    key: Key
    shift: int
    measured: list[dict[str, Any]]
    notes: list[str]


def compose_melodies(agent: Agent, options: dict[str, Any], wanted: Wanted) -> Written:
    """Write melodies; what is measured holds for the key asked for, wherever the model's own is."""
    if not 1 <= wanted.n <= MOST:
        raise DescantError(f"--n must be 1 to {MOST:,}, not {wanted.n}.")
    own = own_key(options)
    key = Key(wanted.key or own.tonic, wanted.mode or own.mode)
    shift = shift_between(own, key)
    # Where the model writes, the key asked for is this one.
    inside = moved(key, -shift)
    task = melody_task(agent, options, inside)
    primer = None if wanted.primer is None else {"primer": parse_primer(wanted.primer, -shift)}
    prior, said = prior_beside(agent, wanted.prior, task)
    found = write_compositions(
        agent, task, wanted.n, prior=prior, temperature=wanted.temperature, seed=wanted.seed, options=primer
    )
    notes = [f"no log p: {said}"] if said else []
    if agent.name != "bc" and inside.pitch_class != own.pitch_class:
        notes.append(
            f"this run was trained for {own}: its notes are those of {key}, but it begins and ends as {own} does; "
            f"for {key}, train one with --set key={inside.tonic} mode={key.mode}"
        )
    return Written(found, key, shift, _measured(found, inside, key, shift), notes)


def _measured(found: Compositions, inside: Key, key: Key, shift: int) -> list[dict[str, Any]]:
    """Notes, scores and statistics of each melody."""
    numbers = found.scores | measure(found.actions, inside)
    numbers["in_key"] = _in_key(found.actions, inside)
    numbers["begins_on_tonic"], numbers["ends_on_tonic"] = _begins_and_ends_on(
        found.actions, inside.pitch_class
    )
    return [
        {
            "notes": primer_text(actions, key, shift),
            **{name: _plain(values[row]) for name, values in numbers.items()},
        }
        for row, actions in enumerate(found.actions)
    ]


def _in_key(actions: Any, key: Key) -> Any:
    """Share of the notes begun that are in the key, float[n]; NaN without a note."""
    begun = actions >= FIRST_NOTE
    inside = np.isin((actions.astype(int) - FIRST_NOTE) % 12, list(key.pitch_classes)) & begun
    count = begun.sum(axis=1)
    return np.divide(inside.sum(axis=1), count, out=np.full(len(actions), math.nan), where=count > 0)


def _begins_and_ends_on(actions: Any, pitch_class: int) -> Any:
    """Whether the first and the last note are of a pitch class, in any octave: float[2, n]; 0 without a note."""
    begun = actions >= FIRST_NOTE
    first, last = begun.argmax(axis=1), actions.shape[1] - 1 - begun[:, ::-1].argmax(axis=1)
    notes = actions[np.arange(len(actions)), np.stack([first, last])].astype(int)
    return ((notes >= FIRST_NOTE) & ((notes - FIRST_NOTE) % 12 == pitch_class)).astype(float)


def _plain(value: Any) -> float | None:
    return None if math.isnan(value) else round(float(value), 6)


def files_of(written: Written) -> dict[str, bytes]:
    """MIDI, SVG, WAV and ABC of each melody by name, and what is measured as JSON."""
    from descant.music.abc import to_abc
    from descant.music.audio import to_wav
    from descant.music.engraving import to_svg
    from descant.music.melody_scores import melody_score
    from descant.music.midi import to_midi

    files: dict[str, bytes] = {}
    for number, actions in enumerate(written.found.actions, start=1):
        title = f"Melody {number} in {written.key}"
        score = melody_score(actions, written.key, title=title, shift=written.shift)
        made = (to_midi(score, FLUTE), to_svg(score).encode(), to_wav(score), to_abc(score).encode())
        files |= {f"{stem(number, written)}.{kind}": data for kind, data in zip(KINDS, made, strict=True)}
    files[SUMMARY] = (json.dumps(summary_of(written), indent=2) + "\n").encode()
    return files


def stem(number: int, written: Written) -> str:
    """What a melody's files are called, numbers from 1, as wide as the last one's and two digits at least."""
    return f"melody-{number:0{max(2, len(str(len(written.found))))}d}"


def summary_of(written: Written) -> dict[str, Any]:
    """What is measured, as JSON."""
    melodies = [
        {"melody": stem(number, written), **measured}
        for number, measured in enumerate(written.measured, start=1)
    ]
    return {
        "key": written.key.tonic,
        "mode": written.key.mode,
        "transposed": written.shift,
        "said": written.notes,
        "melodies": melodies,
    }


def leave(written: Written, out: Path, as_json: bool) -> None:
    """Write the files; print JSON, or a table and where the files are."""
    paths = write_together(out, files_of(written))
    if as_json:
        print_json(summary_of(written) | {"files": [str(path) for path in paths]})
        return
    print_table(written)
    for said in written.notes:
        print(f"note: {said}")
    print(f"wrote {len(paths)} files to {out}: melody-*.{{{','.join(KINDS)}}} and {SUMMARY}")


COLUMNS = {
    "reward": ("reward", "{:.1f}"),
    "log p": ("log_prior", "{:.3f}"),
    "in key": ("in_key", "{:.0%}"),
    "begins": ("begins_on_tonic", ""),
    "ends": ("ends_on_tonic", ""),
    "motif": ("in_motif", "{:.0%}"),
    "repeats": ("repeated", "{:.0%}"),
    "range": ("pitch_range", "{:.0f}"),
}
LEGEND = (
    "log p in nats a step; begins, ends: on the tonic; motif, repeats: share of steps; range in semitones"
)


def print_table(written: Written) -> None:
    """A row a melody, and their means."""
    print(f"{len(written.found)} melodies in {written.key}\n")
    print(f"{'melody':<8}" + "".join(f"{column:>9}" for column in COLUMNS))
    for number, measured in enumerate(written.measured, start=1):
        print(f"{stem(number, written).removeprefix('melody-'):<8}" + _cells(measured))
    if len(written.found) > 1:
        print(f"{'mean':<8}" + _cells(_means(written.measured), whole=False))
    print(f"\n{LEGEND}")


def _cells(measured: dict[str, Any], whole: bool = True) -> str:
    """Numbers as text; of one melody yes or no in place of 1 or 0."""
    cells = []
    for name, form in COLUMNS.values():
        value = measured.get(name)
        yes = ("yes" if value else "no") if whole else f"{value or 0:.0%}"
        cells.append("-" if value is None else form.format(value) if form else yes)
    return "".join(f"{cell:>9}" for cell in cells)


def _means(measured: list[dict[str, Any]]) -> dict[str, float]:
    """Of each number, over the melodies that have it."""
    found = {}
    for name, _ in COLUMNS.values():
        known = [m[name] for m in measured if m.get(name) is not None]
        if known:
            found[name] = float(np.mean(known))
    return found
