"""Run by test_wandb_results.py in its own process: a finished run is written for W&B, twice."""

from __future__ import annotations

import sys
from pathlib import Path

from descant.music.pitches import parse_line
from descant.music.scores import counterpoint_score
from descant.runs import read_metrics
from descant.runs.wandb_results import Finished, Sample, write_finished


def sample(folder: Path, name: str, score: float) -> Sample:
    from descant.music import audio, midi, pianoroll
    from descant.music.engraving import to_svg

    notes = counterpoint_score(parse_line("D4 E4 D4"), parse_line("D5 C#5 D5"), "above")
    contents = {
        "mid": midi.to_midi(notes),
        "wav": audio.to_wav(notes),
        "png": pianoroll.to_png(notes),
        "svg": to_svg(notes).encode(),
    }
    files = [folder / f"{name}.{kind}" for kind in contents]
    for file, content in zip(files, contents.values(), strict=True):
        file.write_bytes(content)
    return Sample({"problem": name, "score": score}, tuple(files))


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    run = Finished(
        folder / "run",
        name="dqn-3",
        group="quick",
        job_type="dqn",
        config={"agent": "dqn", "config": {"seed": 3}},
        records=read_metrics(folder / "run/metrics.jsonl"),
        samples=[sample(folder, "first", 0.5), sample(folder, "second", 1.0)],
        summary={"test/score": 0.75},
        checkpoint=folder / "run/checkpoints/last",
    )
    (folder / "run/wandb/offline-run-that-was-cut-off").mkdir(parents=True)
    print(write_finished(run), write_finished(run))
