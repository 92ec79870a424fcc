"""`descant compose --annotator`: with the run that was tuned for them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from descant.cli import main
from descant.commands.annotators import annotators_of, for_annotator, listed, run_for
from descant.compositions import write_compositions
from descant.errors import DescantError
from descant.makers import load_agent, make_agent, make_reward
from descant.preferences.clips import melody_clip
from descant.preferences.store import Store
from descant.reward_models.comparisons import KeepsLine, make_comparisons, read_comparisons
from descant.reward_models.fitting import Fitted, fit
from descant.reward_models.models import make_model
from descant.reward_models.per_user import PerUserConfig
from descant.reward_models.saving import load_reward_model, save_reward_model
from descant.reward_models.views import view_of
from descant.reward_models.vpl import VPLConfig
from descant.runs.folders import RunFolder
from descant.shells import make_task

COUNTERPOINT, MELODY = "descant/Counterpoint-v0", "descant/Melody-v0"


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


SMALL = ["--total-timesteps", "256", "--config.num-envs", "8", "--config.hidden", "8", "--no-progress"]


def stored(path: Path, names: list[str]) -> str:
    """A store of melodies drawn by chance, in which each of the names judged ten pairs."""
    task, rng = make_task(MELODY), np.random.default_rng(1)
    with Store.create(path) as store:
        for tokens in rng.integers(0, 38, (20, 32)):
            store.add_clip(melody_clip(task.music_key, tokens, "chance"))  # type: ignore[attr-defined]
    for command in (["pairs", str(path), "--n", "10", "--between", "any", "--repeat", "0"],):
        assert main(["prefs", *command]) == 0
    for seed, name in enumerate(names):
        label = ["prefs", "label", str(path), "--teacher", "noisy", "--taste", "high=1", "--annotator", name]
        assert main([*label, "--seed", str(seed)]) == 0
    return str(path)


def test_one_run_composes_for_whoever_is_named(
    taste: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reward = json.dumps({"name": "preference", "path": str(taste), "annotators": "all"})
    run = str(tmp_path / "runs" / "all")
    train = ["train", MELODY, "--agent", "reinforce", "--set", f"reward={reward}", *SMALL, "--out", run]
    assert main(train) == 0
    assert f"now: descant evaluate {run} --annotator ann\n" in capsys.readouterr().out
    assert annotators_of(Path(run)) == (True, ["ann", "bob"])
    out = ["--n", "2", "--out", str(tmp_path / "composed"), "--json"]
    told = {}
    for place, name in ((run, "ann"), (str(tmp_path / "runs"), "bob")):
        capsys.readouterr()
        assert main(["compose", place, "--annotator", name, *out]) == 0
        told[name] = json.loads(capsys.readouterr().out)["melodies"]
    assert told["ann"] != told["bob"]
    options = {"reward": json.loads(reward)}
    agent, own = for_annotator(load_agent(run), options, "bob")
    assert agent.code.tolist() == np.float32(own["reward"]["code"]).tolist()
    alone = make_reward({"name": "preference", "path": str(taste), "annotator": "bob"})
    found = write_compositions(agent, make_task(MELODY, **own), 2)
    assert np.allclose(alone.score(found.last), found.rewards, atol=1e-5)  # type: ignore[attr-defined]
    assert main(["evaluate", run, "--annotator", "ann", "--n", "16", "--json"]) == 0
    for command, words in (
        (["compose", run], "pass --annotator, one of ann, bob"),
        (["evaluate", run], "pass --annotator, one of ann, bob"),
        (["compose", run, "--annotator", "carl"], "no run for the annotator 'carl'"),
    ):
        assert main(command) == 2
        assert words in capsys.readouterr().err


def test_it_composes_for_somebody_new_whose_judgements_are_in_a_store(
    taste: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = stored(tmp_path / "new.db", ["zoe"])
    reward = json.dumps({"name": "preference", "path": str(taste), "annotators": ["ann"]})
    run, one = str(tmp_path / "all"), str(tmp_path / "one")
    for path, spec in ((run, reward), (one, reward.replace('"annotators": ["ann"]', '"annotator": "ann"'))):
        assert (
            main(["train", MELODY, "--agent", "reinforce", "--set", f"reward={spec}", *SMALL, "--out", path])
            == 0
        )
    assert annotators_of(Path(run)) == (True, ["ann"])
    command = ["compose", run, "--n", "1", "--out", str(tmp_path / "composed"), "--json"]
    capsys.readouterr()
    assert main([*command, "--annotator", "zoe", "--store", store]) == 0
    melody = json.loads(capsys.readouterr().out)["melodies"][0]
    agent, options = for_annotator(load_agent(run), {"reward": json.loads(reward)}, "zoe", store)
    with Store(store) as opened:
        data, _, _ = read_comparisons(opened)
    saved = load_reward_model(taste)
    assert np.allclose(options["reward"]["code"], saved.model.read_code(data).numpy())
    found = write_compositions(agent, make_task(MELODY, **options), 1)
    assert melody["reward"] == pytest.approx(found.rewards[0], abs=1e-5)
    for wrong, words in (
        (["--annotator", "zo", "--store", store], "no judgement of 'zo'"),
        (["--annotator", "zoe"], "no run for the annotator 'zoe'"),
        (["--annotator", "zoe", "--store", str(tmp_path / "none.db")], "none.db"),
    ):
        assert main([*command, *wrong]) == 2
        assert words in capsys.readouterr().err
    assert main(["compose", one, "--annotator", "ann", "--store", store]) == 2
    assert "this one has one taste" in capsys.readouterr().err


def test_of_many_names_the_first_are_told() -> None:
    assert listed(["ann", "bob"]) == "ann, bob"
    assert listed([str(i) for i in range(40)]) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 28 more"


def test_the_taste_is_found_inside_a_sum_and_put_in_its_place(taste: Path, tmp_path: Path) -> None:
    part = {"name": "preference", "path": str(taste), "annotators": ["bob", "ann"], "weight": 2.0}
    reward = {"name": "sum", "rewards": ["rl-tuner", part]}
    run = run_with(tmp_path / "sum", reward)
    assert annotators_of(Path(run)) == (True, ["bob", "ann"])
    env = gymnasium.make_vec(MELODY, num_envs=2, reward=reward)
    _, options = for_annotator(make_agent("random", env), {"steps": 32, "reward": reward}, "ann")
    first, second = options["reward"]["rewards"]
    assert (first, options["steps"]) == ("rl-tuner", 32)
    code = load_reward_model(taste).model.codes_of_annotators()[0].tolist()
    assert second == {"name": "preference", "path": str(taste), "weight": 2.0, "code": code}


def test_a_counterpoint_tuned_for_a_taste_is_measured_by_the_rules(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = make_task(COUNTERPOINT, cantus="fux", reward=KeepsLine())
    view = view_of(COUNTERPOINT, task.reset(np.random.default_rng(0), 1))
    model: Any = make_model("per-user", view.space, PerUserConfig(models=1, hidden=(8,)), ("ann", "bob"))
    save_reward_model(tmp_path / "taste", Fitted(model, {}), view)
    out = ["--cantus", "dorian", "--out", str(tmp_path / "composed"), "--json"]
    for whose, named in (({"annotator": "ann"}, []), ({"annotators": "all"}, ["--annotator", "bob"])):
        run = str(tmp_path / "-".join(whose))
        reward = json.dumps({"name": "preference", "path": str(tmp_path / "taste"), **whose})
        train = ["train", COUNTERPOINT, "--agent", "reinforce", "--set", "cantus=fux", f"reward={reward}"]
        assert main([*train, *SMALL, "--out", run]) == 0
        capsys.readouterr()
        assert main(["compose", run, *named, *out]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["score"] <= 1
        assert "measured by Fux's rules" in found["said"]
        assert main(["evaluate", run, *named, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert len(found["problems"]) == 12
        assert "measured by Fux's rules" in found["said"]
        assert main(["evaluate", run, *named]) == 0
        assert "note: measured by Fux's rules" in capsys.readouterr().out
