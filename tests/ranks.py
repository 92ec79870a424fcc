"""What several ranks train in the tests, and how they are started: also the script that each of them runs."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import torch
from safetensors.torch import save_file

from descant import cli, parallel
from descant.errors import DescantError
from descant.makers import make_agent

TOKENS = ("descant/Tokens-v0", {"tokens": 4, "steps": 4, "seed": 3})
WORDS = ("descant/Translation-v0", {"size": 40, "max_words": 8})
GRU = {"recurrent": True, "trunk": "gru", "hidden": (8, 16)}
FLAT = {"hidden": (8,), "critic_hidden": (8,)}
LSTM = {"hidden": (8, 8), "critic_hidden": (8, 8), "recurrent": True}
NEAR = {"prior": "uniform", "kl_coef": 0.1, "kl_target": 0.05}
WITH = {"xent_coef": 0.5}
CASES: dict[str, tuple[Any, str, dict[str, Any], int]] = {
    "reinforce": (TOKENS, "reinforce", FLAT | NEAR | {"updates": 2}, 16),
    "reinforce, self-critical": (WORDS, "reinforce", GRU | WITH | {"baseline": "self-critical"}, 6),
    "reinforce, learned": (WORDS, "reinforce", GRU | NEAR | {"critic_hidden": (8, 16)}, 6),
    "rloo": (WORDS, "rloo", GRU | NEAR | {"group_size": 3}, 6),
    "grpo": (WORDS, "grpo", GRU | {"group_size": 2, "drop_equal": True, "learning_rate": 0.03}, 6),
    "grpo, minibatches": (TOKENS, "grpo", {"hidden": (8,), "group_size": 4, "minibatches": 3}, 16),
    "mrt": (WORDS, "mrt", GRU | {"group_size": 3, "reference": True}, 6),
    "mixer": (WORDS, "mixer", GRU | {"anneal": 0.0, "tokens": 3, "normalize_advantage": True}, 6),
    "ppo": (TOKENS, "ppo", FLAT | NEAR | {"n_steps": 6, "minibatch_size": 37, "target_kl": 0.01}, 16),
    "ppo, shared": (TOKENS, "ppo", {"hidden": (8,), "shared": True, "n_steps": 6, "minibatch_size": 50}, 16),
    "ppo, lstm": (TOKENS, "ppo", LSTM | {"n_steps": 6, "minibatch_size": 40}, 16),
    "ppo, gru": (
        WORDS,
        "ppo",
        GRU | {"critic_hidden": (8, 16), "n_steps": 5, "minibatch_size": 20, "n_epochs": 2},
        6,
    ),
    "actor-critic": (TOKENS, "actor-critic", FLAT | NEAR | {"n_steps": 6}, 16),
    "actor-critic, lstm": (TOKENS, "actor-critic", LSTM | {"n_steps": 3}, 16),
    "actor-critic, references": (
        WORDS,
        "actor-critic",
        GRU | NEAR | {"critic_hidden": (8, 16), "collect": "episodes", "critic_sees": "reference"},
        6,
    ),
    "bc": (TOKENS, "bc", {"hidden": (8,), "episodes": 30, "batch_size": 7}, 16),
    "bc, gru": (WORDS, "bc", GRU | {"batch_size": 5, "label_smoothing": 0.1, "data": "shown"}, 1),
}
UPDATES = 3
DIED = 3


class Records(list[dict[str, float]]):
    def log(self, step: int, values: Any) -> None:
        self.append({"step": step, **values})


def trained(case: str, folder: Path) -> tuple[dict[str, torch.Tensor], list[dict[str, float]]]:
    """What is in the checkpoint after some updates, and what was logged."""
    (name, options), agent, settings, rows = CASES[case]
    env = gymnasium.make_vec(name, num_envs=rows, **options)
    if settings.get("data"):
        settings = settings | {"data": str(folder / "shown.safetensors")}
    made: Any = make_agent(agent, env, seed=101, num_envs=rows, **settings)
    records: Any = Records()
    made.learn(10**6, callback=lambda agent: len(records) < UPDATES, tracker=records)
    return {k: torch.as_tensor(v).clone() for k, v in made.parts().weights.items()}, records


def show(folder: Path) -> None:
    """Write translations to learn from."""
    from descant.text.examples import examples_of

    task: Any = gymnasium.make_vec(WORDS[0], num_envs=1, **WORDS[1]).unwrapped.task  # type: ignore[attr-defined]
    examples_of(task.pairs, task.max_steps).save(folder / "shown.safetensors")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def launch(code: list[str], world: int = 2) -> list[subprocess.CompletedProcess[str]]:
    """Run Python with these arguments in every rank, almost as torchrun does; what came of each."""
    ports = [str(free_port()) for _ in range(3)]
    shared = os.environ | {"WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "PORTS": " ".join(ports)}
    ranks = [
        subprocess.Popen(
            [sys.executable, *code],
            env=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world)
    ]
    told = [rank.communicate(timeout=120) for rank in ranks]
    return [
        subprocess.CompletedProcess(code, rank.returncode, *said)
        for rank, said in zip(ranks, told, strict=True)
    ]


def pretraining(out: Path) -> list[str]:
    """The command that pretrains a small model."""
    data = [
        "--set",
        "size=64",
        "max_words=8",
        "--total-timesteps",
        "900",
        "--batch-size",
        "10",
        "--no-progress",
    ]
    form = ["--model", "gru", "--hidden", "8", "16", "--dropout", "0", "--precision", "float32"]
    return ["pretrain", WORDS[0], *data, *form, "--scheduled-sampling", "0.3", "--out", str(out)]


def going_on(run: Path) -> list[str]:
    """The command that goes on with a run."""
    return ["train", "--no-progress", "--total-timesteps", "300", "--resume", str(run)]


def nothing() -> str:
    """What can't be found."""
    raise DescantError("nothing there")


def main(folder: Path) -> None:
    """One rank: runs two commands, trains all cases one after another and writes what came of each; the second dies."""
    ports = iter(os.environ["PORTS"].split())  # each time that ranks meet wants its own
    os.environ["MASTER_PORT"] = next(ports)
    assert cli.main(going_on(folder / "one")) == 0
    os.environ["MASTER_PORT"] = next(ports)
    assert cli.main(pretraining(folder / "words two")) == 0
    os.environ["MASTER_PORT"] = next(ports)
    with parallel.joined() as found:
        said: dict[str, Any] = {"told": parallel.told(lambda: f"rank {found.rank} says ä")}
        try:
            parallel.told(nothing)
        except (DescantError, SystemExit) as error:
            said["not told"] = repr(error)
        for case in CASES:
            weights, said[case] = trained(case, folder)
            save_file({k: v.contiguous() for k, v in weights.items()}, folder / f"{case} {found.rank}")
        (folder / f"records {found.rank}").write_text(json.dumps(said))
        parallel.any_of(False)
        if found.rank:
            os._exit(DIED)
        try:
            parallel.any_of(False)
        except DescantError as error:
            sys.exit(str(error))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
