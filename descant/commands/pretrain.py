"""`descant pretrain`."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from descant.commands.bounds import at_least
from descant.commands.output import print_json
from descant.commands.train import device_of, make_env, parse_options, train
from descant.errors import DescantError
from descant.registry import agents
from descant.runs.folders import RunFolder

ID = "descant/Melody-v0"
TRANSLATION = "descant/Translation-v0"
COLLECTIONS = "essen,airds,oneills,ryans"
HIDDEN = {"lstm": (64, 100), "transformer": (64, 64, 64)}  # Jaques et al.'s LSTM has 100 units


@dataclasses.dataclass
class Pretrain:
    """Train a model of melodies on tunes, or one that translates on pairs: a prior that agents with KL control take.

    Melodies: tunes are read once and cached, brought to C major or A minor, cut into windows and split by tune. Early
    stopping on tunes held out; at the end the model is measured on others, beside n-grams fitted to the same windows.
    Ctrl-C saves and stops; --resume goes on exactly where it stopped.

    Translation: an encoder and a decoder learn by teacher forcing, from the built-in grammar, from a folder with
    train|val|test.{xx,yy}, or from two files, of which every twentieth pair is held out.

    Example: descant pretrain descant/Melody-v0 --corpus essen,airds,oneills,ryans --out runs/note-rnn

    Example: descant pretrain descant/Translation-v0 --corpus multi30k --languages de en --set min_frequency=2
    """

    env: Annotated[str, tyro.conf.Positional] = ID
    """The environment: descant/Melody-v0 or descant/Translation-v0."""
    corpus: str | None = None
    """Melodies: collections with commas between (essen,airds,oneills,ryans), or a folder: ABC, MIDI, MusicXML, also
    .mxl. Translation: a folder with train|val|test.{xx,yy}, or grammar, the built-in one."""
    source: Path | None = None
    """Translation: a file of sentences, one a line, in place of a folder."""
    target: Path | None = None
    """Translation: the file of their translations."""
    languages: tuple[str, ...] = ()
    """Translation: endings of the folder's files, the source's first: --languages de en."""
    licence: str = ""
    """Translation: a note on the text's licence, to keep with the run."""
    model: Literal["lstm", "transformer", "gru"] | None = None
    """The network: lstm or transformer for melodies (lstm), gru or transformer for translation (transformer)."""
    hidden: tuple[int, ...] = ()
    """Widths: the encoder's, then the LSTM's (64 100), or one for each layer of the Transformer (64 64 64). To
    translate: the embeddings', then the GRU's (128 256) or one for each layer of the Transformer (128 128 128)."""
    total_timesteps: int | None = None
    """Steps learned from in all, those before a resume included (melodies 40,000,000, translation 20 times the training
    text, 6 times the grammar's; with --resume, the run's own)."""
    learning_rate: float | None = None
    """Adam's step size at the beginning (3e-3), where it falls to zero in a line; to translate its largest (2e-3), to
    which it rises and from which it falls with the root of the gradient steps."""
    warmup: int = 200
    """Translation: gradient steps in which the learning rate rises."""
    label_smoothing: float = 0.1
    """Translation: share of the target that all words have alike."""
    dropout: float = 0.1
    """Translation: share of what is dropped in training."""
    scheduled_sampling: float = 0.0
    """Translation: share of the words before that are the model's own at the end of the training."""
    batch_size: int | None = None
    """Windows in a gradient step (128), or sentences (64)."""
    epoch: int | None = None
    """Windows between two looks at what is held out (20,000), or sentences (8,192)."""
    patience: int = 10
    """Stop after so many looks without a better one; 0 never stops."""
    stride: int = 1
    """Bars from the beginning of a window to the next one's."""
    seed: int = 0
    """Everything random follows from it, which tunes are held out too."""
    out: Path | None = None
    """The run folder to make; by default runs/melody-MODEL-SEED or runs/translation-MODEL-SEED."""
    resume: Path | None = None
    """A run folder to go on with; corpus and settings come from it."""
    cache: Path | None = None
    """Where read corpora are kept (XDG_CACHE_HOME/descant)."""
    workers: int | None = None
    """Processes that read the files; one for each core."""
    set: tuple[str, ...] = ()
    """Options of the environment as NAME=VALUE: --set steps=64 observe=last."""
    device: Literal["cpu", "cuda"] | None = None
    """Where to train (cpu); with --resume, where to go on (where the run was)."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Translation: numbers to train with; auto is bfloat16 on CUDA and on processors with AMX, else float32."""
    track: tuple[str, ...] = ()
    """Mirrors of metrics.jsonl: wandb, tensorboard."""
    progress: bool = True
    """Show progress bars."""
    json: bool = False
    """Print JSON."""

    def run(self) -> int:
        """Train to the end, or to the first Ctrl-C; say what the model is worth."""
        from descant import parallel

        at_least(1, total_timesteps=self.total_timesteps, stride=self.stride, workers=self.workers)
        begun = None if self.resume is None else self._begun(self.resume)
        device = self.device or ("cpu" if begun is None else device_of(begun))
        with parallel.joined(device) as here:
            run = begun or RunFolder.open(Path(parallel.told(lambda: str(self._made().path))))
            prepare, conclude, show = _steps(run)
            more = (self.progress, self.total_timesteps, prepare)
            finished = train(run, tuple(self.track), *more, device=self.device)
        if here.rank:
            return 0 if finished else 130
        if not finished:
            print(f"stopped; go on with: descant pretrain --resume {run.path}", file=sys.stderr)
            return 130
        report = {**run.config["corpus"], **conclude(run), "run": str(run.path)}
        if self.json:
            print_json(report)
        else:
            show(report, run.config["config"])
        return 0

    def _begun(self, path: Path) -> RunFolder:
        """The run to go on with."""
        run = RunFolder.open(path)
        if "corpus" not in run.config:
            raise DescantError(
                f"{run.path} was not pretrained: go on with descant train --resume {run.path}."
            )
        return run

    def _made(self) -> RunFolder:
        """A new run."""
        if self.env != TRANSLATION:
            return self._new_run()
        from descant.commands.pretrain_translation import new_run

        return new_run(self)

    def _new_run(self) -> RunFolder:
        """Read the corpus, refuse what can't work, then make the folder and write the windows into it."""
        from descant.agent import make_config
        from descant.music.corpus_cache import load_corpus
        from descant.music.windows import cut
        from descant.pretraining import data_name, write_data
        from descant.runs.tracking import check_backends

        corpus_name, model = self.corpus or COLLECTIONS, self.model or "lstm"
        options, kind = parse_options(self.set), agents.get("bc")
        steps, columns = self._shape(options)
        settings = self._settings()
        made = make_config(kind, settings)
        with contextlib.closing(make_env(self.env, 1, options)) as env:
            kind(env, dataclasses.replace(made, data="to come"))
        check_backends(self.track)
        corpus = load_corpus(corpus_name, self.cache, self.workers, self.progress)
        windows = cut(corpus, steps, self.stride, self.seed)
        _say_skipped(corpus.skipped, corpus.reports)
        out = self.out or Path("runs") / f"melody-{model}-{self.seed}"
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
                "corpus": {"corpus": corpus_name, "tunes": len(corpus), "skipped": corpus.skipped},
            },
        )
        write_data(run, windows, columns)
        return run

    def _shape(self, options: dict[str, Any]) -> tuple[int, int]:
        """Steps of a window, and columns of an observation."""
        if self.env != ID:
            raise DescantError(
                f"Only {ID} and {TRANSLATION} are pretrained on a corpus, not {self.env!r}: take descant train."
            )
        if {"key", "mode"} & options.keys():
            raise DescantError("Tunes are brought to C major and A minor: leave out --set key and mode.")
        with contextlib.closing(make_env(self.env, 1, options)) as env:
            return int(env.unwrapped.task.steps), int(env.single_observation_space.shape[0])

    def _settings(self) -> dict[str, Any]:
        """Those of the agent that learns."""
        model = self.model or "lstm"
        if model not in HIDDEN:
            raise DescantError(f"--model must be lstm or transformer for melodies, not {model}.")
        return {
            "num_envs": 1,
            "recurrent": True,
            "trunk": model,
            "hidden": list(self.hidden or HIDDEN[model]),
            "learning_rate": 3e-3 if self.learning_rate is None else self.learning_rate,
            "lr_schedule": "linear",
            "batch_size": 128 if self.batch_size is None else self.batch_size,
            "epoch": 20_000 if self.epoch is None else self.epoch,
            "patience": self.patience,
            "seed": self.seed,
            "device": self.device or "cpu",
        }


def _steps(run: RunFolder) -> tuple[Any, Callable[[RunFolder], dict[str, Any]], Callable[..., None]]:
    """What prepares the agent (None for nothing), what concludes the run, and what shows its report."""
    if run.config.get("env") == TRANSLATION:
        from descant.commands import pretrain_translation as translation

        return translation.prepare(run), translation.conclude, translation.print_report
    from descant.pretraining import conclude

    return None, conclude, _print


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
