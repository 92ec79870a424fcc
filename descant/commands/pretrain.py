"""`descant pretrain`."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from descant.commands.bounds import at_least
from descant.commands.output import print_json
from descant.commands.train import make_env, parse_options, train
from descant.errors import DescantError
from descant.registry import agents
from descant.runs.folders import RunFolder

ID = "descant/Melody-v0"
HIDDEN = {"lstm": (64, 100), "transformer": (64, 64, 64)}  # Jaques et al.'s LSTM has 100 units


@dataclasses.dataclass
class Pretrain:
    """Train a model of melodies on tunes: a prior that every agent with KL control takes.

    Tunes are read once and cached, brought to C major or A minor, cut into windows and split by tune. Early stopping
    on tunes held out; at the end the model is measured on others, beside n-grams fitted to the same windows. Ctrl-C
    saves and stops; --resume goes on exactly where it stopped.

    Example: descant pretrain descant/Melody-v0 --corpus essen,airds,oneills,ryans --out runs/note-rnn
    """

    env: Annotated[str, tyro.conf.Positional] = ID
    """The environment: descant/Melody-v0."""
    corpus: str = "essen,airds,oneills,ryans"
    """Collections with commas between (essen, airds, oneills, ryans), or a folder: ABC, MIDI, MusicXML, also .mxl."""
    model: Literal["lstm", "transformer"] = "lstm"
    """The network that remembers."""
    hidden: tuple[int, ...] = ()
    """Widths: the encoder's, then the LSTM's (64 100), or one for each layer of the Transformer (64 64 64)."""
    total_timesteps: int | None = None
    """Steps learned from in all, those before a resume included (40,000,000; with --resume, the run's own)."""
    learning_rate: float = 3e-3
    """Adam's step size at the beginning; it falls to zero in a line."""
    batch_size: int = 128
    """Windows in a gradient step."""
    epoch: int = 20_000
    """Windows between two looks at what is held out."""
    patience: int = 10
    """Stop after so many looks without a better one; 0 never stops."""
    stride: int = 1
    """Bars from the beginning of a window to the next one's."""
    seed: int = 0
    """Everything random follows from it, which tunes are held out too."""
    out: Path | None = None
    """The run folder to make; by default runs/melody-MODEL-SEED."""
    resume: Path | None = None
    """A run folder to go on with; corpus and settings come from it."""
    cache: Path | None = None
    """Where read corpora are kept (XDG_CACHE_HOME/descant)."""
    workers: int | None = None
    """Processes that read the files; one for each core."""
    set: tuple[str, ...] = ()
    """Options of the environment as NAME=VALUE: --set steps=64 observe=last."""
    track: tuple[str, ...] = ()
    """Mirrors of metrics.jsonl: wandb, tensorboard."""
    progress: bool = True
    """Show progress bars."""
    json: bool = False
    """Print JSON."""

    def run(self) -> int:
        """Train to the end, or to the first Ctrl-C; say what the model is worth."""
        from descant.pretraining import conclude

        at_least(1, total_timesteps=self.total_timesteps, stride=self.stride, workers=self.workers)
        run = RunFolder.open(self.resume) if self.resume else self._new_run()
        if "corpus" not in run.config:
            raise DescantError(
                f"{run.path} was not pretrained: go on with descant train --resume {run.path}."
            )
        if not train(run, tuple(self.track), self.progress, self.total_timesteps):
            print(f"stopped; go on with: descant pretrain --resume {run.path}", file=sys.stderr)
            return 130
        report = {**run.config["corpus"], **conclude(run), "run": str(run.path)}
        if self.json:
            print_json(report)
        else:
            _print(report, run.config["config"])
        return 0

    def _new_run(self) -> RunFolder:
        """Read the corpus, refuse what can't work, then make the folder and write the windows into it."""
        from descant.agent import make_config
        from descant.music.corpus_cache import load_corpus
        from descant.music.windows import cut
        from descant.pretraining import data_name, write_data
        from descant.runs.tracking import check_backends

        options, kind = parse_options(self.set), agents.get("bc")
        steps, columns = self._shape(options)
        settings = self._settings()
        made = make_config(kind, settings)
        with contextlib.closing(make_env(self.env, 1, options)) as env:
            kind(env, dataclasses.replace(made, data="to come"))
        check_backends(self.track)
        corpus = load_corpus(self.corpus, self.cache, self.workers, self.progress)
        windows = cut(corpus, steps, self.stride, self.seed)
        _say_skipped(corpus.skipped, corpus.reports)
        out = self.out or Path("runs") / f"melody-{self.model}-{self.seed}"
        splits = {"data": "train", "heldout": "valid"}
        run = RunFolder.create(
            out,
            {
                "env": self.env,
                "env_options": options,
                "agent": "bc",
                "config": settings,
                "files": {option: data_name(split) for option, split in splits.items()},
                "total_timesteps": self.total_timesteps or 40_000_000,
                "corpus": {"corpus": self.corpus, "tunes": len(corpus), "skipped": corpus.skipped},
            },
        )
        write_data(run, windows, columns)
        return run

    def _shape(self, options: dict[str, Any]) -> tuple[int, int]:
        """Steps of a window, and columns of an observation."""
        if self.env != ID:
            raise DescantError(f"Only {ID} is pretrained on a corpus, not {self.env!r}: take descant train.")
        if {"key", "mode"} & options.keys():
            raise DescantError("Tunes are brought to C major and A minor: leave out --set key and mode.")
        with contextlib.closing(make_env(self.env, 1, options)) as env:
            return int(env.unwrapped.task.steps), int(env.single_observation_space.shape[0])

    def _settings(self) -> dict[str, Any]:
        """Those of the agent that learns."""
        return {
            "num_envs": 1,
            "recurrent": True,
            "trunk": self.model,
            "hidden": list(self.hidden or HIDDEN[self.model]),
            "learning_rate": self.learning_rate,
            "lr_schedule": "linear",
            "batch_size": self.batch_size,
            "epoch": self.epoch,
            "patience": self.patience,
            "seed": self.seed,
        }


def _say_skipped(skipped: dict[str, int], reports: tuple[str, ...], shown: int = 5) -> None:
    """What was left out, on stderr: counts by reason, and the first few by name."""
    if not skipped:
        return
    counts = ", ".join(f"{count:,} {reason}" for reason, count in sorted(skipped.items()))
    print(f"left out: {counts}", file=sys.stderr)
    for report in reports[:shown]:
        print(f"  {report}", file=sys.stderr)
    if len(reports) > shown:
        print(f"  and {len(reports) - shown:,} more", file=sys.stderr)


def _print(report: dict[str, Any], settings: dict[str, Any]) -> None:
    windows = report["windows"]
    print(
        f"{report['tunes']:,} tunes; windows: " + ", ".join(f"{n:,} {split}" for split, n in windows.items())
    )
    print(f"{'on test tunes':<16}{'NLL':>8}{'perplexity':>12}{'accuracy':>10}")
    for name, found in (("model", report["model"]), (f"{report['ngrams']['order']}-grams", report["ngrams"])):
        print(f"{name:<16}{found['nll']:>8.4f}{found['perplexity']:>12.3f}{found['accuracy']:>10.1%}")
    nll, accuracy = report["ahead"]["nll"], report["ahead"]["accuracy"]
    print(
        "the model is ahead by {:.4f} nats [{:.4f}, {:.4f}]".format(*nll)
        + " and {:.1%} [{:.1%}, {:.1%}] (95 %, by tune)".format(*accuracy)
    )
    widths = " ".join(map(str, settings["hidden"]))
    form = f"--config.recurrent --config.trunk {settings['trunk']} --config.hidden {widths}"  # to begin as the prior
    print(f"now: descant train {ID} --agent kl-q --config.prior {report['run']} {form}")
