"""`descant pretrain descant/Translation-v0`: a model that translates, from pairs of sentences, by teacher forcing."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from descant.agent import make_config
from descant.commands.train import make_env, parse_options
from descant.commands.translation import ID, exact, open_translator, split_task
from descant.devices import check_device
from descant.errors import DescantError
from descant.files import write_atomically
from descant.pretraining import REPORT, keep_best
from descant.registry import agents
from descant.runs.folders import RunFolder
from descant.text.decoding import greedy
from descant.text.examples import Examples, examples_of
from descant.text.pairs import GRAMMAR, VOCABULARY, Pairs, save_codecs
from descant.text.parallel import ParallelText, read_pairs
from descant.text.reports import corpus_bleu, likelihood

if TYPE_CHECKING:
    from descant.commands.pretrain import Pretrain

HIDDEN = {"gru": (128, 256), "transformer": (128, 128, 128)}
LOOKED_AT = 256  # sentences that are translated at every look
GRAMMAR_SIZE = 16_384  # sentences of the grammar, where nothing else is asked for
VALIDATED = 1024
HELD = 20  # of two plain files every so manieth pair is for validation, the one after it for the test
PASSES, GRAMMAR_PASSES = 20, 6  # over the training text, by default
SIDES = ("source", "target")
FILES = {"data": "train", "heldout": "valid"}


def new_run(asked: Pretrain) -> RunFolder:
    """Read the sentences, refuse what can't work, then make the folder and write all into it."""
    from descant.runs.tracking import check_backends

    options, text = _options(asked)
    settings = _settings(asked)
    out = asked.out or Path("runs") / f"translation-{settings['trunk']}-{asked.seed}"
    check_backends(asked.track)
    with tempfile.TemporaryDirectory() as folder:
        if text is not None:
            _write_text(Path(folder), text)
            options = {**options, "data": folder, "languages": list(_endings(text))}
        read = _Read(options, settings)
    if text is not None:
        options["data"] = str(out.absolute() / "text")
    passes = PASSES if "data" in options else GRAMMAR_PASSES
    total = asked.total_timesteps or passes * read.examples["train"].steps
    run = RunFolder.create(
        out,
        {
            "env": ID,
            "env_options": options,
            "agent": "bc",
            "config": settings,
            "files": {option: f"data/{name}.safetensors" for option, name in FILES.items()},
            "total_timesteps": total,
            "corpus": read.manifest(asked.licence, text),
        },
    )
    if text is not None:
        _write_text(run.path / "text", text)
    for name, shown in read.examples.items():
        shown.save(run.path / f"data/{name}.safetensors")
    save_codecs(run.path / VOCABULARY, read.pairs["train"].codecs)
    return run


class _Read:
    """Pairs of both splits as the environment has them, and what there is to learn of them."""

    def __init__(self, options: dict[str, Any], settings: dict[str, Any]) -> None:
        self.pairs: dict[str, Pairs] = {}
        self.examples: dict[str, Examples] = {}
        kind = agents.get("bc")
        for name in ("train", "valid"):
            with contextlib.closing(
                make_env(ID, 1, {**options, **(held_out(options) if name == "valid" else {})})
            ) as env:
                task = env.unwrapped.task
                if name == "train":
                    kind(env, make_config(kind, {**settings, "data": "to come"}))
            self.pairs[name] = task.pairs
            self.examples[name] = examples_of(task.pairs, task.max_steps)

    def manifest(self, licence: str, text: ParallelText | None) -> dict[str, Any]:
        """Where the text came from: files with hashes and lines, what was left out, how many words there are."""
        own: dict[str, Any] = {} if text is None else {"files": dict(text.manifest)}
        for name, pairs in self.pairs.items():
            found = dict(pairs.text.manifest)
            own[name] = {**found, "licence": licence or found.get("licence", "")}
        words = dict(zip(SIDES, map(len, self.pairs["train"].codecs), strict=True))
        return {**own, "words": words, "pairs": len(self.pairs["train"])}


def _options(asked: Pretrain) -> tuple[dict[str, Any], ParallelText | None]:
    """Options of the environment; and pairs of two plain files, where those were named."""
    options = parse_options(asked.set)
    if (asked.source is None) != (asked.target is None):
        raise DescantError("--source and --target go together: name both files.")
    if asked.source is not None and asked.corpus is not None:
        raise DescantError("Name a folder with --corpus, or two files with --source and --target, not both.")
    if "data" in options:
        raise DescantError("Name the sentences with --corpus, or --source and --target, not with --set data.")
    if asked.languages:
        options["languages"] = list(asked.languages)
    if asked.corpus is not None and asked.corpus != GRAMMAR:
        options["data"] = str(Path(asked.corpus).absolute())
    if asked.source is None or asked.target is None:
        return ({"size": GRAMMAR_SIZE, **options} if "data" not in options else options), None
    most = options.get("max_words", 60)
    return options, read_pairs(asked.source, asked.target, most, options.get("skip", False), asked.licence)


def _endings(text: ParallelText) -> tuple[str, str]:
    one, two = (Path(file).suffix[1:] for file in text.files)
    return (one, two) if one and two and one != two else SIDES


def held_out(options: dict[str, Any]) -> dict[str, Any]:
    """Options of the environment for validation: of the grammar, which has no end, a thousand sentences are enough."""
    own = options.get("data", GRAMMAR) == GRAMMAR
    return {"split": "val", **({"size": min(options.get("size", GRAMMAR_SIZE), VALIDATED)} if own else {})}


def _split(text: ParallelText) -> dict[str, list[int]]:
    """Which pairs are for what; the same source always for the same."""
    found: dict[str, list[int]] = {"train": [], "val": [], "test": []}
    order = {source: i for i, source in enumerate(dict.fromkeys(text.source))}
    for i, source in enumerate(text.source):
        place = order[source] % HELD
        found["val" if place == 0 else "test" if place == 1 else "train"].append(i)
    if not found["train"] or not found["test"]:
        raise DescantError(
            f"{text.files[0]} has {len(order)} different lines, too few to hold some out: give 3 or more."
        )
    return found


def _write_text(folder: Path, text: ParallelText) -> None:
    """Write the splits as plain files."""
    endings = _endings(text)
    for split, rows in _split(text).items():
        for ending, side in zip(endings, (text.source, text.target), strict=True):
            lines = "".join(side[i] + "\n" for i in rows)
            write_atomically(folder / f"{split}.{ending}", lines.encode())


def _settings(asked: Pretrain) -> dict[str, Any]:
    """Those of the agent that learns."""
    model = asked.model or "transformer"
    if model not in HIDDEN:
        raise DescantError(f"--model must be gru or transformer to translate, not {model}.")
    device = asked.device or "cpu"
    check_device(device)
    return {
        "num_envs": 1,
        "recurrent": True,
        "trunk": model,
        "hidden": list(asked.hidden or HIDDEN[model]),
        "learning_rate": 2e-3 if asked.learning_rate is None else asked.learning_rate,
        "lr_schedule": "inverse-sqrt",
        "warmup": asked.warmup,
        "label_smoothing": asked.label_smoothing,
        "dropout": asked.dropout,
        "scheduled_sampling": asked.scheduled_sampling,
        "batch_size": 64 if asked.batch_size is None else asked.batch_size,
        "epoch": 8192 if asked.epoch is None else asked.epoch,
        "patience": asked.patience,
        "seed": asked.seed,
        "device": device,
        "precision": precision_for(device) if asked.precision == "auto" else asked.precision,
    }


def precision_for(device: str) -> str:
    """bfloat16 where it pays: on CUDA, and on processors with AMX."""
    amx = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    return "bfloat16" if device == "cuda" or amx() else "float32"


def prepare(run: RunFolder) -> Any:
    """What makes an agent translate some validation sentences after each epoch."""

    def with_look(agent: Any) -> None:
        options = run.config["env_options"]
        with contextlib.closing(make_env(ID, 1, {**options, **held_out(options)})) as env:
            task = env.unwrapped.task
        agent.look = lambda: looked(agent.networks["policy"], task.pairs, task.max_steps)

    return with_look


def looked(network: Any, pairs: Any, limit: int) -> dict[str, float]:
    """BLEU and exact match of greedy translations of the first sentences."""
    rows = np.arange(min(LOOKED_AT, len(pairs)))
    tokens = greedy(network, pairs.sources[rows], limit).tokens
    texts = [pairs.codecs[1].decode(ids) for ids in tokens]
    some = dataclasses.replace(pairs, answers=pairs.answers[: len(rows)])
    return {
        "heldout_bleu": corpus_bleu(some, texts),
        "heldout_exact": float(pairs.exact(rows, tokens).mean()),
    }


def conclude(run: RunFolder) -> dict[str, Any]:
    """Keep the best weights; what they are worth on validation sentences, also as `pretrain.json`."""
    agent: Any = keep_best(run)
    translator = open_translator(str(run.path))
    task = split_task(translator, "val", held_out(run.config["env_options"]))
    tokens = greedy(translator.network, task.pairs.sources, task.max_steps).tokens
    texts = [task.pairs.codecs[1].decode(ids) for ids in tokens]
    report = {
        "sentences": len(task.pairs),
        **likelihood(translator.network, task.pairs, task.max_steps),
        "bleu": corpus_bleu(task.pairs, texts),
        "exact": float(exact(task.pairs, tokens).mean()),
        "parameters": sum(p.numel() for p in agent.networks["policy"].parameters()),
        "num_timesteps": agent.num_timesteps,
    }
    write_atomically(run.path / REPORT, (json.dumps(report, indent=1) + "\n").encode())
    return report


def print_report(report: dict[str, Any], settings: dict[str, Any]) -> None:
    """For a person: a table, and what comes next."""
    words = report["words"]
    print(
        f"{report['pairs']:,} pairs, {words['source']:,} and {words['target']:,} words, "
        f"{report['parameters']:,} parameters"
    )
    print(f"on {report['sentences']:,} validation sentences, greedy:")
    print(f"{'NLL':>8}{'perplexity':>12}{'accuracy':>10}{'BLEU':>8}{'exact':>8}")
    print(
        f"{report['nll']:>8.4f}{report['perplexity']:>12.3f}{report['accuracy']:>10.1%}{report['bleu']:>8.2f}"
        f"{report['exact']:>8.1%}"
    )
    widths = " ".join(map(str, settings["hidden"]))
    form = f"--config.recurrent --config.trunk {settings['trunk']} --config.hidden {widths}"
    run = report["run"]
    print(f"now: descant evaluate {run}\nor:  descant train {ID} --agent rloo --config.init {run} {form}")
