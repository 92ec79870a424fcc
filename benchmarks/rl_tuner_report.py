"""The report of `bench rl-tuner`: one self-contained HTML file with tables, the frontier, scores and sound."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from descant.music.audio import to_wav
from descant.music.keys import Key
from descant.music.melody_scores import melody_score
from descant.shells import make_task
from descant.tasks import replay

from .pages import drawings, inline, write_page
from .report import SAMPLE_RATE
from .rl_tuner_prior import ENV
from .rl_tuner_tables import Model
from .studies import Table

KEY = Key("C", "major")  # what the prior's environment asks for


def write_report(
    tables: Sequence[Table],
    models: Sequence[Model],
    pictures: Sequence[Path],
    failed: Sequence[str],
    out: Path,
) -> Path:
    """Write out/report.html; its path. Scores are of each model's first seed, as they were drawn."""
    return write_page(
        "rl_tuner.html",
        out / "report.html",
        tables=tables,
        pictures=drawings(pictures),
        curves=learning_curves(models),
        models=[{"name": m.name, "samples": samples(m)} for m in models if m.seeds],
        failed=failed,
    )


def samples(model: Model) -> list[dict[str, Any]]:
    """Engraving, sound and findings of the first compositions of a model's first seed."""
    _, first = min(model.seeds.items())
    return [_sample(written) for written in first.get("samples", [])]


def _sample(written: list[int]) -> dict[str, Any]:
    task: Any = make_task(ENV, steps=len(written))
    episode = replay(task, task.starts(), written)
    findings = task.reward.explain(episode)
    sound = base64.b64encode(to_wav(melody_score(written, KEY), SAMPLE_RATE)).decode()
    return {
        "svg": inline(task.render(episode, "svg")),
        "sound": f"data:audio/wav;base64,{sound}",
        "findings": [f"step {f.position}, {f.rule}: {f.message}" for f in findings],
        "errors": sum(f.severity == "error" for f in findings),
    }


def learning_curves(models: Sequence[Model]) -> str:
    """Return while tuning against environment steps, of the first seeds, as SVG; empty where nothing was tuned."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    found = [(m.name, min(m.seeds.items())[1].get("curve")) for m in models if m.seeds]
    curves = [(name, curve) for name, curve in found if curve]
    if not curves:
        return ""
    figure = Figure(figsize=(8.4, 3.6), layout="constrained")
    axis = figure.subplots()
    for name, curve in curves:
        axis.plot(*zip(*curve, strict=True), label=name)
    axis.set_xlabel("environment steps")
    axis.set_ylabel("return while tuning")
    axis.set_yscale("symlog", linthresh=100)
    axis.grid(alpha=0.3)
    axis.legend(frameon=False, fontsize=8, ncols=2)
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "descant"}):  # the same results give the same file
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return inline(buffer.getvalue())
