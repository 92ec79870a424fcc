"""A finished run for W&B, read back: its numbers are those of metrics.jsonl, and what it wrote is there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from descant.runs import read_metrics
from descant.runs.wandb_files import offline_runs, wandb_records, wandb_rows

RECORDS = [{"step": 5 * i, "time": i / 7, "loss": i / 3, "odd": None if i % 2 else i} for i in range(300)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run that was written for W&B by another process, without a key."""
    folder = tmp_path_factory.mktemp("finished")
    checkpoint = folder / "run/checkpoints/last"
    checkpoint.mkdir(parents=True)
    (checkpoint / "weights.safetensors").write_bytes(bytes(1000))
    (checkpoint / "manifest.json").write_text("{}")
    lines = "".join(json.dumps(record) + "\n" for record in RECORDS)
    (folder / "run/metrics.jsonl").write_text(lines)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    script = Path(__file__).with_name("finish_session.py")
    done = subprocess.run(
        [sys.executable, str(script), str(folder)],
        capture_output=True, text=True, timeout=120, env=kept | {"HOME": str(folder / "home")}, cwd=folder,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "True False\n", "")
    return folder


@pytest.fixture(scope="module")
def records(folder: Path) -> list[Any]:
    """What W&B's file of the one session holds."""
    (session,) = offline_runs(folder)
    (file,) = session.glob("*.wandb")
    return list(wandb_records(file))


def test_the_numbers_are_those_of_metrics_jsonl(folder: Path) -> None:
    (session,) = offline_runs(folder)
    (file,) = session.glob("*.wandb")
    *rows, last = wandb_rows(file)
    assert [row["_step"] for row in rows] == list(range(len(RECORDS)))
    for record, row in zip(read_metrics(folder / "run/metrics.jsonl"), rows, strict=True):
        del record["time"]
        shown = {name: value for name, value in row.items() if not name.startswith("_")}
        assert {name: None if value != value else value for name, value in shown.items()} == record
    assert last["step"] == RECORDS[-1]["step"]
    assert (last["samples/_type"], last["samples/nrows"]) == ("table-file", 2)


def test_groups_job_types_and_settings(records: list[Any]) -> None:
    (run,) = [record.run for record in records if record.HasField("run")]
    assert (run.run_group, run.job_type, run.display_name) == ("quick", "dqn", "dqn-3")
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert (config["agent"], config["config"]) == ("dqn", {"seed": 3})
    metrics = {(r.metric.glob_name, r.metric.step_metric) for r in records if r.HasField("metric")}
    assert ("*", "step") in metrics


def test_the_final_summary(records: list[Any]) -> None:
    updates = [item for record in records if record.HasField("summary") for item in record.summary.update]
    found = {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in updates}
    assert found["test/score"] == 0.75
    assert found["loss"] == RECORDS[-1]["loss"]


def test_the_table_has_what_can_be_read_heard_and_seen(folder: Path, records: list[Any]) -> None:
    (artifact,) = [r.artifact for r in records if r.HasField("artifact") and r.artifact.type == "run_table"]
    files = {entry.path: Path(entry.local_path) for entry in artifact.manifest.contents}
    table = json.loads(files["samples.table.json"].read_text())
    assert table["columns"] == ["problem", "score", "sound", "engraved", "piano roll"]
    assert [row[:2] for row in table["data"]] == [["first", 0.5], ["second", 1.0]]
    kinds = {"audio-file": "wav", "html-file": "svg", "image-file": "png"}
    for row in table["data"]:
        assert [cell["_type"] for cell in row[2:]] == list(kinds)
        for cell in row[2:]:
            original = folder / f"{row[0]}.{kinds[cell['_type']]}"
            assert original.read_bytes() in files[cell["path"]].read_bytes()


def test_artefacts(folder: Path, records: list[Any]) -> None:
    found = {r.artifact.name: r.artifact for r in records if r.HasField("artifact")}
    midi, model = found["midi-dqn-3"], found["checkpoint-dqn-3"]
    assert (midi.type, model.type) == ("midi", "model")
    assert {entry.path for entry in midi.manifest.contents} == {"first.mid", "second.mid"}
    assert {entry.path for entry in model.manifest.contents} == {"weights.safetensors", "manifest.json"}
    for artifact in found.values():
        for entry in artifact.manifest.contents:  # all that is uploaded later lies below the folder
            assert Path(entry.local_path).is_file()
            assert Path(entry.local_path).is_relative_to(folder / "run") or entry.path.endswith(".mid")


def test_a_session_that_was_cut_off_is_gone(folder: Path) -> None:
    assert len(list((folder / "run/wandb").glob("offline-run-*"))) == 1
