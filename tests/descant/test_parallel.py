"""Several ranks that train one policy: the same as one rank, to the tolerance of sums in another order."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from descant import parallel
from descant.cli import main
from descant.commands.train import Train
from descant.errors import DescantError
from descant.registry import agents
from descant.runs import load_checkpoint, read_metrics

from ..ranks import CASES, DIED, UPDATES, free_port, going_on, launch, pretraining, show, trained

PPO = ["train", "descant/Tokens-v0", "--agent", "ppo", "--set", "tokens=4", "steps=4", "--no-progress"]
PPO += [
    "--config.num-envs",
    "8",
    "--config.n-steps",
    "6",
    "--config.hidden",
    "8",
    "--config.critic-hidden",
    "8",
]
PPO += ["--config.minibatch-size", "20", "--config.lr-schedule", "constant", "--config.ent-coef", "0"]
PPO += ["--total-timesteps", "100", "--out"]


@dataclass
class Ranks:
    """What two ranks said, and the folder in which they have written."""

    folder: Path
    first: subprocess.CompletedProcess[str]
    other: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Ranks:
    """Two ranks that have run `tests/ranks.py`."""
    folder = tmp_path_factory.mktemp("ranks")
    show(folder)
    assert main([*PPO, str(folder / "one")]) == 0
    script = Path(__file__).parent.parent / "ranks.py"
    ranks = Ranks(folder, *launch(["-P", str(script), str(folder)]))
    assert (folder / "records 0").exists(), ranks.first.stderr
    return ranks


@pytest.mark.parametrize("case", CASES)
def test_two_ranks_learn_what_one_does(case: str, two: Ranks) -> None:
    weights, records = trained(case, two.folder)
    for rank in (0, 1):
        found = load_file(two.folder / f"{case} {rank}")
        assert found.keys() == weights.keys()
        for name, value in weights.items():
            torch.testing.assert_close(
                found[name], value, rtol=1e-3, atol=2e-5, msg=lambda m, n=name: f"{n}: {m}"
            )
        told = json.loads((two.folder / f"records {rank}").read_text())[case]
        assert len(told) == len(records) == UPDATES
        for mine, theirs in zip(records, told, strict=True):
            assert mine.keys() == theirs.keys()
            values = np.array([[mine[name], theirs[name]] for name in mine])
            np.testing.assert_allclose(*values.T, rtol=2e-3, atol=1e-5, err_msg=" ".join(mine))


def test_what_the_first_rank_finds_is_told_to_all(two: Ranks) -> None:
    assert [json.loads((two.folder / f"records {rank}").read_text())["told"] for rank in (0, 1)] == [
        "rank 0 says ä"
    ] * 2


def test_where_the_first_rank_finds_nothing_it_says_so_and_the_others_leave(two: Ranks) -> None:
    said = [json.loads((two.folder / f"records {rank}").read_text())["not told"] for rank in (0, 1)]
    assert said == ["DescantError('nothing there')", "SystemExit(2)"]


def test_minibatches_of_fewer_rows_than_ranks_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel, "dealt", lambda things: things[:0])
    with pytest.raises(DescantError, match="no row for every rank: raise minibatch_size or num_envs"):
        trained("ppo, lstm", tmp_path)


def test_torchrun_trains_one_run_that_any_number_of_ranks_goes_on_with(two: Ranks, tmp_path: Path) -> None:
    """One run is two ranks' and then one's, the other one's and then two ranks'."""
    run = tmp_path / "two"
    torchrun = ["torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(free_port())]
    command = [sys.executable, "-m", *torchrun, "-m", "descant", *PPO, str(run)]
    begun = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert begun.returncode == 0, begun.stderr
    assert begun.stdout == f"done: {run}/checkpoints/last\nnow: descant evaluate {run}\n"
    assert main(going_on(run)) == 0
    runs = (two.folder / "one", run)
    found = [load_checkpoint(run / "checkpoints/last") for run in runs]
    assert found[0].state == found[1].state
    assert found[0].weights.keys() == found[1].weights.keys()
    for name, value in found[0].weights.items():
        torch.testing.assert_close(value, found[1].weights[name], rtol=1e-3, atol=2e-5)
    records = [read_metrics(run / "metrics.jsonl") for run in runs]
    steps = [[record["step"] for record in of_run] for of_run in records]
    assert steps[0] == steps[1] == sorted(set(steps[0]))
    for mine, theirs in zip(*records, strict=True):
        assert all(np.isclose(mine[n], theirs[n], rtol=2e-3, atol=1e-5) for n in mine if n != "time")


def test_ranks_pretrain_what_one_does(two: Ranks, tmp_path: Path) -> None:
    assert "validation sentences" in two.first.stdout
    assert main(pretraining(tmp_path / "one")) == 0
    folders = (tmp_path / "one", two.folder / "words two")
    reports = [json.loads((folder / "pretrain.json").read_text()) for folder in folders]
    assert reports[0] == pytest.approx(reports[1], rel=1e-3)


def test_all_but_the_first_are_silent(two: Ranks) -> None:
    assert (two.other.stdout, two.other.stderr) == ("", "")
    assert two.first.stdout.count("done:") == 1


def test_a_rank_that_dies_ends_the_others(two: Ranks) -> None:
    assert two.other.returncode == DIED
    assert two.first.returncode == 1
    assert two.first.stderr.splitlines()[-1].startswith("Rank 0 lost the others (")


@pytest.fixture
def as_one_of(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    return lambda rank, world: monkeypatch.setattr(parallel, "_now", parallel.Ranks(rank, world, rank))


def test_rows_that_can_not_be_dealt_out_and_other_agents_are_refused_once(
    as_one_of: Callable[..., None],
) -> None:
    ppo, dqn = agents.get("ppo"), agents.get("dqn")
    parallel.refuse(dqn, 7)
    as_one_of(0, 4)
    parallel.refuse(ppo, 8)
    parallel.refuse(agents.get("bc"), 1)
    with pytest.raises(DescantError, match=r"num_envs \(6\) .* ranks \(4\): pass --config.num-envs 8, or"):
        parallel.refuse(ppo, 6)
    with pytest.raises(
        DescantError, match="'dqn' can't be trained by 4 ranks together: start it without torchrun"
    ):
        parallel.refuse(dqn, 8)
    as_one_of(1, 4)
    with pytest.raises(SystemExit):
        parallel.refuse(dqn, 8)


def test_no_folder_is_made_for_what_is_refused(tmp_path: Path, as_one_of: Callable[..., None]) -> None:
    as_one_of(0, 3)
    with pytest.raises(DescantError, match="must be a multiple of the number of ranks"):
        Train(agent="ppo", env="descant/Tokens-v0", out=tmp_path / "run")._new_run()
    assert not (tmp_path / "run").exists()


def test_shares_are_everything_once(as_one_of: Callable[..., None]) -> None:
    rows = np.arange(14).reshape(2, 7)
    shares, dealt = [], []
    for rank in range(3):
        as_one_of(rank, 3)
        shares.append(parallel.own({"x": rows}, 1)["x"])
        dealt.extend(parallel.dealt(rows[0]))
    assert np.array_equal(np.concatenate(shares, axis=1), rows)
    assert sorted(len(share[0]) for share in shares) == [2, 2, 3]
    assert sorted(dealt) == list(range(7))


def test_ranks_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*parallel.LAUNCHED, "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert parallel.launched() == parallel.Ranks(0, 1, 0)
    with parallel.joined("cuda") as here:
        assert here.world == 1
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert parallel.launched().world == 1
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert parallel.launched() == parallel.Ranks(3, 4, 1)
    monkeypatch.setenv("RANK", "4")
    with pytest.raises(DescantError, match="not 4 of 4: use torchrun"):
        parallel.launched()
    monkeypatch.setenv("RANK", "one")
    with pytest.raises(DescantError, match="must be numbers"):
        parallel.launched()


def test_every_rank_needs_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("RANK", "2"), ("WORLD_SIZE", "3"), ("LOCAL_RANK", "2")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with (
        pytest.raises(DescantError, match="no CUDA on this machine: pass device cpu"),
        parallel.joined("cuda"),
    ):
        pass
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with (
        pytest.raises(DescantError, match="has 2 GPUs and rank 2 would be its number 3"),
        parallel.joined("cuda"),
    ):
        pass


def test_ranks_that_drift_apart_are_found(
    monkeypatch: pytest.MonkeyPatch, as_one_of: Callable[..., None]
) -> None:
    as_one_of(0, 2)
    net, other = torch.nn.Linear(2, 2), 1.0
    monkeypatch.setattr(parallel, "gather", lambda mine: torch.cat([mine, mine * other]))
    parallel.check_alike([net], 7)
    other = 1 + 1e-12
    with pytest.raises(DescantError, match="not alike at step 7"):
        parallel.check_alike([net], 7)
