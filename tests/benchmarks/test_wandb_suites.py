"""A suite for W&B, from the command line: written offline, and the line that says why it was not uploaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import descant.benchmarks.executors as executors
from descant.benchmarks.specs import Entry, Suite
from descant.benchmarks.wandb_suites import write_suite
from descant.cli import main
from descant.registry import suites
from descant.runs import read_metrics
from descant.runs.wandb_files import offline_runs, wandb_records, wandb_rows

from .tiny_suite import SMALL

SUITE = Suite(
    "mini",
    "descant/Counterpoint-v0",
    (Entry("reinforce", 2_000, SMALL), Entry("exact")),
    train_options={"pool": 16},
    test_options={"cantus": "dorian"},
)


@pytest.mark.slow
def test_a_suite_is_written_offline_where_there_is_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL", "NETRC", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setitem(suites._entries, "mini", SUITE)
    monkeypatch.setattr(executors, "POLL_SECONDS", 0.02)
    out = tmp_path / "mini"
    assert main(["bench", "mini", "--out", str(out), "--wandb-sync"]) == 2
    said = capsys.readouterr()
    assert said.err.splitlines()[-1].startswith(f"descant bench: 2 offline runs are kept below {out}")
    assert "open " in said.out  # the report is there all the same
    results = json.loads((out / "results.json").read_text())
    assert write_suite(results, out) == 0  # all is there
    trained, exact = (entry["runs"][0] for entry in results["entries"])
    assert [session.parents[1].name for session in offline_runs(out)] == [
        Path(trained["folder"]).name,
        "exact",
    ]
    for session, run in zip(offline_runs(out), (trained, exact), strict=True):
        (file,) = session.glob("*.wandb")
        (told,) = [record.run for record in wandb_records(file) if record.HasField("run")]
        assert (told.run_group, told.job_type) == ("mini", "exact" if run is exact else "reinforce")
        (table,) = session.glob("files/media/table/*.json")
        rows = [dict(zip(json.loads(table.read_text())["columns"], row, strict=True))
                for row in json.loads(table.read_text())["data"]]  # fmt: skip
        assert [row["score"] for row in rows] == [problem["score"] for problem in run["problems"]]
        assert {"problem", "counterpoint", "findings", "sound", "engraved", "piano roll"} <= rows[0].keys()
        if run is trained:
            metrics = read_metrics(out / trained["folder"] / "metrics.jsonl")
            returns = [row["return"] for row in wandb_rows(file) if "return" in row]
            assert returns == [record["return"] for record in metrics]
        kinds = {r.artifact.type for r in wandb_records(file) if r.HasField("artifact")}
        assert kinds == {"run_table", "midi", *(["model"] if run is trained else [])}
