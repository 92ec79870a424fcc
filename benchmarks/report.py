"""The report: one self-contained HTML file with tables, pictures, scores, findings and sound; the same in Markdown."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from descant.errors import DescantError
from descant.files import write_atomically
from descant.music.audio import to_wav
from descant.music.cantus_firmi import find
from descant.music.pitches import Pitch
from descant.music.scores import counterpoint_score

from .pages import write_page
from .results import write_raw
from .studies import Table, markdown
from .suite_pictures import write_pictures
from .summaries import (
    aggregates_table,
    failures,
    finished,
    limits,
    pairs_table,
    problems_table,
    summary_table,
)

TEMPO = 240.0  # quarter notes a minute: a bar a second
SAMPLE_RATE = 11_025  # enough for the highest note's third partial, and a quarter of the size
WITHOUT_SOUND = ("random",)


def write_report(results: dict[str, Any], out: Path) -> Path:
    """Write report.html, report.md, pictures and raw.jsonl.gz into a results folder; the path of the first.

    DescantError where the folder lacks its files.
    """
    problems = [_problem(results, out, i) for i in range(len(_first(results)["problems"]))]
    pictures = write_pictures(results, out)
    raw = write_raw(results, out)
    path = write_page(
        "report.html",
        out / "report.html",
        results=results,
        introduction=INTRODUCTION,
        tables=tables_of(results),
        pictures=pictures,
        captions=CAPTIONS,
        problems=problems,
        failed=failures(results),
        limits=limits(results),
        settings=settings_table(results),
        raw=raw.name,
    )
    write_atomically(out / "report.md", as_markdown(results, list(pictures)).encode())
    return path


INTRODUCTION = (
    "Agents are trained on problems drawn for them and tested, greedily, on others that none of them has seen. "
    "A score of 0 is what chance gets (uniform over the pitches in range), 1 is the exact optimum, found by "
    "backward induction. An error is a broken hard rule and costs 1; all warnings of a line together cost less "
    "than that, so that a score near 1 with few warnings is a good line and a score near 1 without errors a "
    "legal one."
)
CAPTIONS = {
    "curves": (
        "Learning",
        "Mean return of the episodes an agent learned from, as it explored: training, not the test. Where "
        "there are several seeds, their mean and its 95 % interval. The scale is linear between -0.1 and 0 and "
        "logarithmic below.",
    ),
    "profiles": (
        "Performance profiles",
        "The share of tested lines that are nearer to the optimum than a distance; the higher a line, the "
        "better. Where there are several seeds, with pointwise 95 % bands.",
    ),
}


def tables_of(results: dict[str, Any]) -> list[Table]:
    """The tables of a report, in order."""
    tables = [
        summary_table(results),
        aggregates_table(results),
        pairs_table(results),
        problems_table(results),
    ]
    return [table for table in tables if table is not None and table.rows]


def settings_table(results: dict[str, Any]) -> Table:
    """What each agent was given that differs from its defaults."""
    rows = tuple(
        (e["agent"], ", ".join(f"{k} {v}" for k, v in e["config"].items()) or "defaults", e["note"])
        for e in results["entries"]
    )
    return Table("Settings", ("agent", "settings that differ from its defaults", "note"), rows, None)


def as_markdown(results: dict[str, Any], pictures: Sequence[str]) -> str:
    """The report as Markdown, with its pictures as files beside it."""
    parts = [
        f"# descant: {results['suite']}",
        f"{results['env']}, {results['created']}",
        INTRODUCTION,
        limits(results)[0],
    ]
    parts += [markdown(table) for table in tables_of(results)]
    for name in pictures:
        title, caption = CAPTIONS[name]
        parts += [f"### {title}", caption, f"![{title}]({name}.svg)"]
    if failed := failures(results):
        parts.append("### Failed runs")
        parts += [f"{f['agent']}, seed {f['seed']}:\n\n```text\n{f['error'].strip()}\n```" for f in failed]
    parts += ["### What this does not show", "\n".join(f"- {line}" for line in limits(results))]
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    made = {
        "Command": f"`{results['command']}`",
        "Commit": results["commit"] or "none: not run from a checkout",
        "Hardware": results["hardware"],
        "Versions": versions,
        "Every number": "[raw.jsonl.gz](raw.jsonl.gz)",
    }
    parts += ["### How it was made", "\n".join(f"- {name}: {what}" for name, what in made.items())]
    return "\n\n".join([*parts, markdown(settings_table(results))]) + "\n"


def _first(results: dict[str, Any]) -> dict[str, Any]:
    """The first run that was evaluated (all have the same problems); one of none where every run failed."""
    for entry in results["entries"]:
        for run in entry["runs"]:
            if run["problems"]:
                found: dict[str, Any] = run
                return found
    return {"problems": []}


def _problem(results: dict[str, Any], out: Path, index: int) -> dict[str, Any]:
    """One problem with the line of each agent (of its first seed): score, engraving, findings, sound."""
    lines = []
    for entry in results["entries"]:
        for run in finished(entry)[:1]:
            lines.append(_line(entry["agent"], run["problems"][index], out))
    return {"name": lines[0]["problem"], "lines": lines}


def _line(agent: str, found: dict[str, Any], out: Path) -> dict[str, Any]:
    svg = next(out / f for f in found["files"] if f.endswith(".svg"))
    try:
        drawing = svg.read_text()
    except OSError as error:
        raise DescantError(f"{svg} is missing ({error.strerror}): run the benchmark again.") from error
    sound = "" if agent in WITHOUT_SOUND else _sound(found)
    return {**found, "agent": agent, "svg": drawing[drawing.index("<svg") :], "sound": sound}


def _sound(found: dict[str, Any]) -> str:
    """The line with its cantus as a WAV in a data URI."""
    name, position = found["problem"].rsplit(" ", 1)
    line = [Pitch.parse(p) for p in found["counterpoint"]]
    score = counterpoint_score(find(name), line, position, tempo=TEMPO)
    return "data:audio/wav;base64," + base64.b64encode(to_wav(score, SAMPLE_RATE)).decode()
