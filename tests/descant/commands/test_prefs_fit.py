"""`descant prefs fit`: from a store to a reward."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

import descant
from descant.cli import main
from descant.commands.prefs_fit import Fit
from descant.errors import DescantError
from descant.preferences.records import Judgement
from descant.preferences.store import Store
from descant.reward_models.models import CONFIGS, config_of

QUICK = ["--no-progress", "--epochs", "4", "--hidden", "8", "8"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with judgements of a perfect teacher and of one who is mistaken."""
    path = tmp_path_factory.mktemp("made") / "taste.db"
    assert main(["prefs", "new", str(path), "exact", "chance=random", "--n", "48"]) == 0
    assert main(["prefs", "pairs", str(path), "--n", "60", "--repeat", "0.25", "--between", "any"]) == 0
    assert main(["prefs", "label", str(path), "--teacher", "perfect"]) == 0
    assert main(["prefs", "label", str(path), "--teacher", "mistaken", "--mistake", "0.5"]) == 0
    return path


def fitted(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    capsys.readouterr()
    assert main(["prefs", "fit", *arguments]) == code
    out, err = capsys.readouterr()
    return json.loads(out) if "--json" in arguments else (out, err)


def test_a_model_is_fitted_reported_and_saved(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, scores = tmp_path / "model", tmp_path / "scores.json"
    report = fitted(capsys, str(store), "--out", str(out), "--scores", str(scores), "--json", *QUICK)
    assert report["kind"] == "btl"
    assert sum(report["comparisons"].values()) == 2 * 75  # 60 pairs and 15 repetitions, two annotators
    assert len(report["accuracy_of_each"]) == 5
    assert report["bounds"]["repeated"]["n"] > 20
    assert 0.5 <= report["bounds"]["one_taste"]["value"] < 0.95
    descant.make_reward(f"preference:{out}")
    found = json.loads(scores.read_text())
    with Store(store) as kept:
        assert set(found["scores"]) == {clip.hash for clip in kept.clips()}
    asked = tmp_path / "asked.db"
    shutil.copy(store, asked)
    chosen = ["--n", "5", "--between", "any", "--strategy", "information", "--scores", str(scores)]
    assert main(["prefs", "pairs", str(asked), *chosen]) == 0
    with Store(asked) as kept:
        assert found["model_hash"] == list(kept.pairs())[-1].model_hash


def test_the_report_is_printed(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = [
        "--models",
        "2",
        "--per-step",
        "--trunk",
        "lstm",
        "--ties",
        "davidson",
        "--noise",
        "0.1",
        "--bootstrap",
    ]
    out, _ = fitted(capsys, str(store), "--out", str(tmp_path / "m"), *options, *QUICK)
    for words in ("comparisons learned from", "accuracy", "bound", f"preference:{tmp_path / 'm'}"):
        assert words in out


@pytest.mark.parametrize("kind", ["dpl", "vpl", "per-user"])
def test_every_kind_becomes_a_reward(
    kind: str, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "model")
    report = fitted(capsys, str(store), "--out", out, "--kind", kind, "--models", "2", "--json", *QUICK)
    assert report["kind"] == kind
    env = gymnasium.make("descant/Counterpoint-v0", cantus="dorian", reward=f"preference:{out}")
    env.reset(seed=0)
    assert [env.step(20)[1] for _ in range(11)][-1] != 0
    options = {"name": "preference", "path": out, "annotator": "perfect"}
    if kind == "dpl":
        with pytest.raises(DescantError, match="does not tell annotators apart"):
            descant.make_reward(options)
        _, err = fitted(capsys, str(store), "--out", out, "--kind", kind, "--beta", "2", code=2)
        assert "--beta" in err
    else:
        descant.make_reward(options)
    assert ("code" in report) == (kind == "vpl")


def test_every_choice_of_a_kind_but_a_few_is_an_option() -> None:
    options = {field.name for field in dataclasses.fields(Fit)}
    inner = {
        "annealed",
        "warmup",
        "width",
        "predicted",
        "pull",
        "atoms",
    }  # as they are, they did for all that was measured
    for kind in CONFIGS:
        assert {field.name for field in dataclasses.fields(config_of(kind))} - options <= inner


def test_a_place_that_is_taken_is_told_before_the_work(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("descant.reward_models.fitting.fit", lambda *_: pytest.fail("it was fitted"))
    (tmp_path / "taken").write_text("la")
    _, err = fitted(capsys, str(store), "--out", str(tmp_path / "taken"), *QUICK, code=2)
    assert "is a file" in err
    _, err = fitted(capsys, str(store), "--out", str(tmp_path / "m"), "--beta", "1", code=2)
    assert "has no --beta. Known: batch-size, bootstrap, " in err
    assert "annealed" not in err  # no option of the command


def test_bad_input_is_one_line(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / "empty.db"
    Store.create(empty).close()
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "song.txt").write_text("la")
    for wrong, words in (
        ([str(empty)], "no judgement"),
        ([str(tmp_path / "none.db")], "none.db"),
        ([str(store), "--kind", "btll"], "Did you mean 'btl'"),
        ([str(store), "--models", "0"], "1 or more"),
        ([str(store), "--ties", "some"], "davidson"),
        ([str(store), "--out", str(tmp_path / "taken"), *QUICK], "song.txt"),
    ):
        _, err = fitted(capsys, *wrong, code=2)
        assert words in err
        assert len(err.strip().splitlines()) == 1


def test_translations_are_fitted_with_the_run_that_has_their_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, store, out = (str(tmp_path / name) for name in ("run", "wording.db", "wording"))
    words = ["--set", "size=64", "--config.recurrent", "--config.trunk", "gru", "--config.hidden", "8", "8"]
    small = ["--total-timesteps", "200", "--config.num-envs", "4", "--no-progress", "--out", run]
    assert main(["train", "descant/Translation-v0", "--agent", "reinforce", *words, *small]) == 0
    assert main(["prefs", "new", store, run, "--n", "60"]) == 0
    assert main(["prefs", "pairs", store, "--n", "24", "--between", "any", "--repeat", "0"]) == 0
    with Store(store) as opened:
        clips = {clip.hash: clip for clip in opened.clips()}
        for pair in opened.pairs():  # the shorter one is better
            a, b = (len(clips[side].tokens) for side in (pair.a, pair.b))
            choice = "tie" if a == b else "a" if a < b else "b"
            opened.add_judgement(Judgement(pair.uuid, "ann", choice))
    _, err = fitted(capsys, store, "--out", out, *QUICK, code=2)
    assert "pass --run, the run that wrote them" in err
    scores = tmp_path / "scores.json"
    report = fitted(capsys, store, "--out", out, "--run", run, "--scores", str(scores), "--json", *QUICK)
    told = json.loads(scores.read_text())["scores"]
    assert set(told) == set(clips)
    env: Any = gymnasium.make_vec(
        "descant/Translation-v0", num_envs=1, size=64, split="val", reward=f"preference:{out}"
    )
    task = env.unwrapped.task
    for clip in list(clips.values())[:5]:  # the environment gives what the store was told
        rng, total = np.random.default_rng(0), 0.0
        state = task.reset(rng, 1, clip.arguments)
        for token in clip.tokens:
            state, reward, _ = task.step(state, np.array([token]), rng)
            total += float(reward[0])
        assert total == pytest.approx(np.mean(told[clip.hash]), abs=1e-4)
    assert report["kind"] == "btl"
    words.insert(2, f"reward=preference:{out}")
    train = ["train", "descant/Translation-v0", "--agent", "reinforce", *words, *small[:-1]]
    assert main([*train, str(tmp_path / "tuned")]) == 0


def test_what_can_be_said_of_a_model_of_people_is_said(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, _ = fitted(capsys, str(store), "--out", str(tmp_path / "m"), "--kind", "per-user", *QUICK)
    assert '"annotators": "all"}' in out
    _, err = fitted(
        capsys, str(store), "--out", str(tmp_path / "m"), "--no-progress", "--hidden", "0", code=2
    )
    assert "hidden must be widths of 1 or more" in err
    with pytest.raises(DescantError, match="needs a reward model: preference:models/taste"):
        descant.make_reward("preference")
