"""`descant compose --annotator`: with the run that was tuned for them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from descant.cli import main
from descant.commands.annotators import run_for
from descant.errors import DescantError
from descant.reward_models.comparisons import make_comparisons
from descant.reward_models.fitting import fit
from descant.reward_models.saving import save_reward_model
from descant.reward_models.views import view_of
from descant.reward_models.vpl import VPLConfig
from descant.runs.folders import RunFolder
from descant.shells import make_task

MELODY = "descant/Melody-v0"


def run_with(path: Path, reward: Any) -> str:
    RunFolder.create(path, {"env": MELODY, "env_options": {"steps": 32, "reward": reward}})
    return str(path)


def of(annotator: str | None) -> dict[str, Any]:
    return {"name": "preference", "path": "models/taste", "annotator": annotator}


@pytest.fixture(scope="module")
def taste(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of two annotators of opposite tastes, fitted to melodies drawn by chance."""
    task, rng = make_task(MELODY), np.random.default_rng(0)
    state = task.reset(rng, 40)
    for _ in range(32):
        state, _, _ = task.step(state, rng.integers(0, 38, 40), rng)
    view = view_of(MELODY, state)
    pairs, who = rng.permuted(np.tile(np.arange(40), (60, 1)), axis=1)[:, :2], np.arange(60) % 2
    data = make_comparisons(view.items(state), pairs, (pairs[:, 0] > pairs[:, 1]) ^ who, who)
    data = dataclasses.replace(data, names=("ann", "bob"))
    path = tmp_path_factory.mktemp("models") / "taste"
    save_reward_model(path, fit("vpl", view.space, data, VPLConfig(hidden=(8, 8), width=8, epochs=2)), view)
    return path


def test_a_run_is_trained_for_an_annotator_and_composes(
    taste: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("ann", "bob"):
        reward = json.dumps({"name": "preference", "path": str(taste), "annotator": name})
        small = [
            "--total-timesteps",
            "256",
            "--config.num-envs",
            "8",
            "--config.hidden",
            "8",
            "--no-progress",
        ]
        command = ["train", MELODY, "--agent", "reinforce", "--set", f"reward={reward}", *small]
        assert main([*command, "--out", str(tmp_path / f"for-{name}")]) == 0
    out = tmp_path / "composed"
    command = ["compose", str(tmp_path), "--n", "1", "--out", str(out), "--json"]
    capsys.readouterr()
    assert main([*command, "--annotator", "bob"]) == 0
    for_bob = json.loads(capsys.readouterr().out)["melodies"]
    assert main(["compose", str(tmp_path / "for-bob"), *command[2:]]) == 0
    assert json.loads(capsys.readouterr().out)["melodies"] == for_bob
    assert main([*command, "--annotator", "carl"]) == 2
    assert "no run for the annotator 'carl'" in (said := capsys.readouterr().err)
    assert "ann, bob" in said


def test_the_run_is_found_in_a_folder_or_is_the_one_named(tmp_path: Path) -> None:
    ann, bob = run_with(tmp_path / "x", of("ann")), run_with(tmp_path / "y", of("bob"))
    run_with(tmp_path / "z", of(None))
    run_with(tmp_path / "rules", "rl-tuner")
    (tmp_path / "notes").mkdir()
    assert run_for(str(tmp_path), "ann") == ann
    assert run_for(str(tmp_path), "bob") == bob
    assert run_for(bob, "bob") == bob
    with pytest.raises(DescantError, match=r"'ann'.*Known: bob"):
        run_for(bob, "ann")
    run_with(tmp_path / "again", of("ann"))
    with pytest.raises(DescantError, match="Several runs were tuned for ann"):
        run_for(str(tmp_path), "ann")


@pytest.mark.parametrize("reward", ["rl-tuner", "preference:models/taste", {"name": "rl-tuner"}, of(None)])
def test_where_nothing_was_tuned_for_anybody_it_says_how(reward: Any, tmp_path: Path) -> None:
    run_with(tmp_path / "run", reward)
    for place in (tmp_path / "run", tmp_path, tmp_path / "nowhere"):
        with pytest.raises(
            DescantError, match=r"no run that was tuned for an annotator: .*\"annotator\": \"ann\""
        ):
            run_for(str(place), "ann")
