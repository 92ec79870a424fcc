"""The worlds of `bench translation`: sentences, the models that are trained on them, and what each run is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from descant.runs.digests import content_hash, sha256
from descant.text.parallel import folder_files

ENV = "descant/Translation-v0"
CONSTANT, UNCLIPPED = (f"{__package__}.translation_rewards:{name}" for name in ("Constant", "Unclipped"))
LONGEST = 50  # tokens of a sentence of the pairs; longer ones are left out and counted

Settings = dict[str, Any]

KL = 0.05  # reward a nat, where a run is kept near its prior
ALONE: Settings = {
    "baseline": "none", "gamma": 1.0, "ent_coef": 0.0, "ent_coef_final": 0.0, "normalize_advantage": False,
}  # fmt: skip
MIXED, VINE, AGAIN = "rloo, bleu and chrf", "vine, bleu and chrf", "mixer, references of vine alone"
# BLEU of drawn translations is got most easily by shorter ones; chrF, which wants recall, holds the length.
LONG_ENOUGH: Settings = {"name": "sum", "rewards": ["bleu", {"name": "chrf", "weight": 0.12}]}
LONGER: Settings = {"name": "sum", "rewards": ["bleu", {"name": "chrf", "weight": 0.5}]}
OF_VINE: Settings = {
    "num_envs": 64, "points": 6, "actions": 3, "xent_coef": 0.05, "learning_rate": 8e-5, "steps": 3_400_000,
}  # fmt: skip
# As many references as VINE mixes in, by steps as long, and nothing else.
OF_REFERENCES: Settings = {
    "xent": 1.0,
    "anneal": 0.0,
    "num_envs": 64,
    "learning_rate": 8e-5,
    "steps": 440_000,
}
# What is tuned, and how: agent, its own options (and `steps`, if not the world's), reward. Steps of vine are many and
# cheap: a translation, and what is played on from some of its words. Agents are compared by
# tests/agents/test_translation_learning.py, on a prior that BLEU can teach; these are ways to go wrong, and controls.
METHODS: dict[str, tuple[str, Settings, Any]] = {
    "rloo": ("rloo", {}, "bleu"),
    MIXED: ("rloo", {"xent_coef": 0.3}, LONG_ENOUGH),
    "mixer": ("mixer", {}, "bleu"),
    "vine": ("vine", {"num_envs": 64, "steps": 600_000}, "bleu"),
    VINE: ("vine", OF_VINE, LONGER),
    AGAIN: ("mixer", OF_REFERENCES, "bleu"),
    "mixer, cross-entropy alone": ("mixer", {"xent": 1.0, "anneal": 0.0}, "bleu"),
    "mixer, constant reward": ("mixer", {}, CONSTANT),
    "reinforce, no baseline, constant reward": ("reinforce", ALONE, CONSTANT),
    "rloo, constant reward": ("rloo", {}, CONSTANT),
    "rloo, bleu add-k 10": ("rloo", {}, {"name": "bleu", "smoothing": "add-k", "value": 10.0}),
    "rloo, length": ("rloo", {}, "length"),
    "rloo, words not clipped": ("rloo", {}, UNCLIPPED),
}
CONTROLS = ("reinforce, no baseline, constant reward", "rloo, constant reward")
# Ways in which a prior is learned, and the options of each.
PRIORS: dict[str, Settings] = {"cross-entropy": {}, "scheduled sampling": {"scheduled_sampling": 0.25}}

GRAMMAR: Settings = {
    "name": "grammar",
    "env": {"size": 4096},
    "tested": {"size": 500},
    "models": {
        "transformer": {
            "network": {"trunk": "transformer", "hidden": [64, 64, 64]},
            "pretrain": {
                "learning_rate": 2e-3, "warmup": 100, "dropout": 0.1, "label_smoothing": 0.1, "batch_size": 64,
                "lr_schedule": "inverse-sqrt", "epoch": 4096, "precision": "float32",
            },
            "passes": 6.0,
            "priors": ["cross-entropy"],
            "methods": [name for name in METHODS if name not in (MIXED, VINE, AGAIN)],
            # With a cost of leaving the prior too: where that may hold back what goes wrong without it. Of a constant
            # reward `rloo` learns nothing anyway.
            "kept": [
                "rloo", "rloo, length", "rloo, words not clipped", "rloo, bleu add-k 10",
                "reinforce, no baseline, constant reward",
            ],
        }
    },
    "tune": {"steps": 300_000, "config": {"num_envs": 256, "learning_rate": 1e-3, "group_size": 8}},
}  # fmt: skip

PAIRS: Settings = {
    "name": "pairs",
    "env": {"skip": True, "max_words": LONGEST, "subwords": 5000},
    "tested": {},
    "models": {
        "transformer": {
            "network": {"trunk": "transformer", "hidden": [256, 256, 256]},
            "pretrain": {
                "learning_rate": 1.5e-3, "warmup": 400, "dropout": 0.1, "label_smoothing": 0.1, "batch_size": 64,
                "lr_schedule": "linear", "epoch": 2900, "precision": "bfloat16",
            },
            "passes": 6.0,
            "priors": ["cross-entropy"],
            "methods": [VINE, AGAIN, MIXED, "rloo", "mixer"],
            "kept": [MIXED],
        },
        "gru": {
            "network": {"trunk": "gru", "hidden": [128, 256]},
            "pretrain": {
                "learning_rate": 2e-3, "warmup": 100, "dropout": 0.1, "label_smoothing": 0.1, "batch_size": 64,
                "lr_schedule": "linear", "epoch": 2900, "precision": "bfloat16",
            },
            "passes": 1.0,
            "priors": list(PRIORS),
            "methods": ["mixer", "mixer, cross-entropy alone"],
            "kept": [],
            "tune": {"steps": 150_000, "config": {"num_envs": 128, "learning_rate": 1e-3, "tokens": 12}},
        },
    },
    "seeds": 3,  # at most: one takes half an hour of a core and more
    "tune": {
        "steps": 300_000,
        "config": {"num_envs": 256, "learning_rate": 2e-4, "group_size": 8, "precision": "bfloat16"},
    },
}  # fmt: skip


def pairs_world(folder: Path) -> Settings:
    """The world of a folder with train|val|test.{xx,yy}, and digests of its files, so that other text is another job.

    DescantError where files are missing.
    """
    files = {split: folder_files(str(folder), split, None) for split in ("train", "val", "test")}
    digests = {file.name: sha256(file) for pair in files.values() for file in pair}
    env = {**PAIRS["env"], "data": str(folder.absolute())}
    return {**PAIRS, "env": env, "text": content_hash(digests)[:12]}
