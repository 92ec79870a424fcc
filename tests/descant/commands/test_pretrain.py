"""`descant pretrain`: from a folder of tunes to a prior that agents take."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import descant.commands.train
from descant import load_agent, make_agent
from descant.cli import main
from descant.music.windows import SPLITS
from descant.pretraining import interval_of, keep_best, read_tunes_of, read_windows, score
from descant.runs import load_checkpoint, read_metrics
from descant.runs.folders import RunFolder

NOTES = "CDEFGAB"
SMALL = ["--hidden", "8", "8", "--batch-size", "16", "--no-progress", "--workers", "1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty tunes that walk and leap in the scale, and one with a chord."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("tunes")
    texts = ["X:0\nT:Chord\nL:1/8\nK:C\n[CE]8|\n"]
    for number in range(1, 41):
        walk = np.abs(rng.integers(0, 7) + np.cumsum(rng.choice([-2, -1, 1, 1], 48))) % 7
        bars = "|".join("".join(NOTES[i] for i in walk[k : k + 8]) for k in range(0, 48, 8))
        texts.append(f"X:{number}\nT:Walk\nM:4/4\nL:1/8\nK:C\n{bars}|\n")
    (folder / "walks.abc").write_text("\n".join(texts))
    return folder


def pretrain(folder: Path, run: Path, *more: str, code: int = 0) -> Path:
    where = ["--corpus", str(folder), "--cache", str(folder / "cache"), "--out", str(run)]
    assert main(["pretrain", *where, *SMALL, *more]) == code
    return run


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pretrain(
        folder, tmp_path_factory.mktemp("runs") / "a", "--total-timesteps", "60000", "--learning-rate", "0.02"
    )


def test_a_run_learns_and_says_what_its_model_is_worth(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = pretrain(folder, tmp_path / "a", "--total-timesteps", "20000", "--json")
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert report["tunes"] == 40
    assert report["skipped"] == {"polyphonic": 1}
    assert "1 polyphonic" in err
    assert set(report["windows"]) == {"train", "valid", "test"}
    assert report == {**report, **json.loads((run / "pretrain.json").read_text())}
    assert report["model"]["perplexity"] == pytest.approx(np.exp(report["model"]["nll"]))
    records = list(read_metrics(run / "metrics.jsonl"))
    assert all({"heldout_nll", "heldout_accuracy", "heldout_perplexity"} <= r.keys() for r in records)
    assert records[-1]["heldout_nll"] < records[0]["heldout_nll"]


def test_the_windows_are_those_of_the_splits(run: Path) -> None:
    opened = RunFolder.open(run)
    parts = [read_windows(opened, split) for split in ("train", "valid", "test")]
    rows = {row.tobytes() for part in parts for row in part}
    assert len(rows) == sum(map(len, parts))  # none twice
    assert all(part.shape[1] == 32 for part in parts)


def test_what_the_model_is_ahead_of_the_ngrams_has_an_interval_by_tune(run: Path) -> None:
    report, opened = json.loads((run / "pretrain.json").read_text()), RunFolder.open(run)
    model, ngrams = report["model"], report["ngrams"]
    for name, sign in (("nll", -1), ("accuracy", 1)):
        mean, low, high = report["ahead"][name]
        assert mean == pytest.approx(sign * (model[name] - ngrams[name]))
        assert low < mean < high
    windows = [read_windows(opened, split) for split in SPLITS]
    tunes = [read_tunes_of(opened, split) for split in SPLITS]
    assert [len(t) for t in tunes] == [len(w) for w in windows]
    assert not set(tunes[0]) & set(tunes[1])  # no tune lies on two sides
    assert not set(tunes[2]) & (set(tunes[0]) | set(tunes[1]))
    known = {w[i : i + 16].tobytes() for w in windows[0] for i in range(17)}
    new = [not any(w[i : i + 16].tobytes() in known for i in range(17)) for w in windows[2]]
    assert report["new"]["windows"] == sum(new)
    assert 0 < sum(new) < len(new)
    agent: Any = load_agent(run)
    found = score(agent, windows[2][new])
    assert found == pytest.approx((report["new"]["model"]["nll"], report["new"]["model"]["accuracy"]))


def test_an_interval_resamples_tunes_and_not_windows() -> None:
    rng = np.random.default_rng(0)
    tunes = np.repeat(np.arange(200), 20)
    effect = rng.normal(size=200)
    mean, low, high = interval_of(effect[tunes], tunes)
    assert mean == pytest.approx(effect.mean())
    assert high - low == pytest.approx(2 * 1.96 * effect.std() / np.sqrt(200), rel=0.1)
    unequal = np.repeat([0, 1, 2], [1, 2, 97])  # every window weighs the same, whatever its tune
    assert interval_of((unequal == 0).astype(float), unequal)[0] == 0.01


def test_the_best_checkpoint_is_scored_and_found(run: Path) -> None:
    report = json.loads((run / "pretrain.json").read_text())
    agent: Any = load_agent(run)
    test = read_windows(RunFolder.open(run), "test")
    assert score(agent, test) == pytest.approx((report["model"]["nll"], report["model"]["accuracy"]))
    valid = score(agent, read_windows(RunFolder.open(run), "valid"))[0]
    assert valid == pytest.approx(
        min(r["heldout_nll"] for r in read_metrics(run / "metrics.jsonl")), abs=1e-5
    )


def test_the_best_weights_are_those_kept_and_not_the_last(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "a")
    opened = RunFolder.open(tmp_path / "a")
    agent: Any = load_agent(opened.checkpoint_path("last"))
    agent.best = {name: torch.zeros_like(w) for name, w in agent.networks["policy"].state_dict().items()}
    agent.save(opened.checkpoint_path("last"))
    kept: Any = keep_best(opened)
    assert score(kept, read_windows(opened, "test"))[0] == pytest.approx(np.log(38))
    assert (
        load_checkpoint(opened.checkpoint_path("best")).weights["policy.heads.policy.bias"].abs().sum() == 0
    )


class Stop(Exception):
    pass


def stopped(folder: Path, run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of 30,000 steps that dies in its fourth epoch, a checkpoint behind it."""
    from descant.agents.bc import BC

    iterate, calls = BC.iterate, []

    def some(self: Any, *arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:
            raise Stop
        return iterate(self, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(descant.commands.train, "CHECKPOINT_SECONDS", 0.0)
        patched.setattr(BC, "iterate", some)
        with pytest.raises(Stop):
            pretrain(folder, run, "--total-timesteps", "30000")
    return run


@pytest.fixture(scope="module")
def whole(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pretrain(folder, tmp_path_factory.mktemp("whole") / "a", "--total-timesteps", "30000")


@pytest.mark.parametrize("moved", [False, True])
def test_what_was_interrupted_goes_on_as_if_it_was_not(
    moved: bool, folder: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = stopped(folder, tmp_path / "b", monkeypatch)
    if moved:
        (tmp_path / "else").mkdir()
        run = Path(shutil.move(run, tmp_path / "else/where"))
    assert main(["pretrain", "--resume", str(run), "--no-progress"]) == 0
    one, two = (load_checkpoint(path / "checkpoints/best").weights for path in (whole, run))
    assert one.keys() == two.keys()
    assert all((one[name] == two[name]).all() for name in one)
    reports = [json.loads((path / "pretrain.json").read_text()) for path in (whole, run)]
    assert reports[0] == reports[1]


def test_the_configuration_of_a_run_says_nothing_of_where_it_lies(run: Path) -> None:
    config = json.loads((run / "config.json").read_text())["config"]
    assert str(run.parent) not in json.dumps(config)
    assert config["files"] == {"data": "data/train.safetensors", "heldout": "data/valid.safetensors"}


@pytest.mark.parametrize("model", ["lstm", "transformer"])
def test_what_is_printed_says_how_to_train_on_from_it(
    model: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command that it names makes an agent that begins as the model."""
    run = pretrain(folder, tmp_path / "a", "--model", model, "--total-timesteps", "3000")
    printed = capsys.readouterr().out.splitlines()
    report = json.loads((run / "pretrain.json").read_text())
    ahead = report["ahead"]["nll"]
    assert f"ahead by {ahead[0]:.4f} nats [{ahead[1]:.4f}, {ahead[2]:.4f}]" in printed[-2]
    words = printed[-1].removeprefix("now: descant ").split()
    assert main([*words, "--out", str(tmp_path / "b"), "--total-timesteps", "100", "--no-progress"]) == 0
    begun: Any = load_agent(tmp_path / "b")
    assert not begun.residual


@pytest.mark.parametrize("model", ["lstm", "transformer"])
def test_a_model_is_a_prior_that_agents_take(model: str, folder: Path, tmp_path: Path) -> None:
    run = pretrain(folder, tmp_path / model, "--model", model, "--total-timesteps", "3000")
    config: dict[str, Any] = {"prior": str(run), "kl_coef": 0.1, "num_envs": 4, "hidden": (8,)}
    agent = make_agent("reinforce", "descant/Melody-v0", **config)
    agent.learn(256)
    assert agent.num_timesteps >= 256


def test_steps_and_what_is_observed_are_the_environments(folder: Path, tmp_path: Path) -> None:
    run = pretrain(folder, tmp_path / "a", "--set", "steps=16", "observe=last", "--total-timesteps", "3000")
    agent: Any = load_agent(run)
    assert agent.observation_space.shape == (1,)
    assert read_windows(RunFolder.open(run), "train").shape[1] == 16


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["descant/Counterpoint-v0"], "Only descant/Melody-v0"),
        (["--corpus", "esen"], "Did you mean 'essen'"),
        (["--set", "key=D"], "leave out --set key"),
        (["--stride", "0"], "--stride must be at least 1"),
        (["--model", "transformer", "--hidden", "8", "16"], "one width"),
        (["--learning-rate", "0"], "must be positive"),
        (["--track", "paper"], "unknown tracker"),
    ],
)
def test_what_can_not_work_is_refused_before_a_folder_is_made(
    arguments: list[str], message: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--corpus", str(folder), "--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "run")]
    assert main(["pretrain", *where, *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_run_of_another_command_is_not_gone_on_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    RunFolder.create(tmp_path / "a", {"agent": "bc"})
    assert main(["pretrain", "--resume", str(tmp_path / "a")]) == 2
    assert "descant train --resume" in capsys.readouterr().err
