"""What commands share of translation: a run's network, words and sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from descant.agent import Agent
from descant.errors import DescantError
from descant.makers import load_agent
from descant.policies.translators import TranslationNetwork
from descant.registry import build, tasks
from descant.text.grammar import vocabularies
from descant.text.pairs import GRAMMAR, VOCABULARY, load_codecs
from descant.text.vocabularies import Codec

ID = "descant/Translation-v0"


@dataclass(frozen=True)
class Translator:
    """An agent that translates: its network, the words of both sides, and the options of its environment."""

    name: str
    agent: Agent
    network: TranslationNetwork
    codecs: tuple[Codec, Codec]
    options: dict[str, Any]

    @property
    def columns(self) -> int:
        """Tokens that a source may have, EOS included."""
        return self.network.shape.source_columns

    @property
    def limit(self) -> int:
        """Tokens that a translation may have, EOS included."""
        return self.network.shape.target_columns


def vocabulary_folder(run: str | Path) -> Path | None:
    """Where the words of a run or of one of its checkpoints are saved; None where they are not."""
    path = Path(run).resolve()
    for folder in (path, *path.parents[:2]):
        if (folder / VOCABULARY).is_dir():
            return folder / VOCABULARY
    return None


def open_translator(run: str, device: str | None = None) -> Translator:
    """The translator of a run or checkpoint, on a device as of `load_agent`; DescantError where there is none."""
    if not Path(run).exists():
        raise DescantError(f"{run!r} is no run or checkpoint: make one with descant pretrain {ID}.")
    agent = load_agent(run, device=device)
    record = agent.manifest()["env"] or {}
    network = getattr(agent, "networks", {}).get("policy")
    if record.get("id") != ID:
        raise DescantError(f"{run} was trained on {record.get('id')}, not on {ID}: it does not translate.")
    if not isinstance(network, TranslationNetwork):
        raise DescantError(
            f"{run} has no encoder and decoder: train with --config.recurrent --config.trunk gru or transformer."
        )
    codecs = _codecs(run, record["kwargs"])
    sizes, shape = tuple(map(len, codecs)), network.shape
    if sizes != (shape.source, shape.target):
        raise DescantError(
            f"The vocabularies of {run} have {sizes[0]} and {sizes[1]} words, its network {shape.source} and "
            f"{shape.target}: they are of another run, or the training text has changed."
        )
    return Translator(run, agent, network, codecs, record["kwargs"])


def _codecs(run: str, options: dict[str, Any]) -> tuple[Codec, Codec]:
    folder = vocabulary_folder(run)
    if folder is not None:
        return load_codecs(folder)
    if options.get("data", GRAMMAR) == GRAMMAR:
        return vocabularies()
    codecs: tuple[Codec, Codec] = build(ID, tasks.get(ID), options).pairs.codecs
    return codecs


def split_task(translator: Translator, split: str, more: dict[str, Any]) -> Any:
    """The environment's task on a split of a run's own data, or of what `more` says; DescantError where it is other
    than what the run was trained on."""
    own, options = translator.options, {**translator.options, **more, "split": split}
    known, asked = own.get("languages"), more.get("languages")
    if known and asked and list(known) != list(asked):
        raise DescantError(
            f"{translator.name} translates {known[0]} to {known[1]}, not {' to '.join(asked)}: give a run that was "
            "trained on these languages."
        )
    folder = vocabulary_folder(translator.name)
    if options.get("data", GRAMMAR) != GRAMMAR and folder is not None:
        options["vocabularies"] = str(folder)
    task = build(ID, tasks.get(ID), options)
    if task.observation_space != translator.agent.observation_space:
        raise DescantError(
            f"{translator.name} was trained on other sentences: these have other words, or another max_words or "
            "max_length."
        )
    return task


def exact(pairs: Any, tokens: Sequence[Sequence[int]]) -> Any:
    """Whether each translation of all pairs, in order, is right: bool[n]."""
    return pairs.exact(np.arange(len(tokens)), tokens)
