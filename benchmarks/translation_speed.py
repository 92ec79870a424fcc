"""How fast networks that translate are trained and write, beside Hugging Face's Marian of the same size.

All on sentences of random words, as long as captions of photographs; the network is that of a small translator (three
layers of 256, 8,000 words a side). Ours is trained by `bc`, Marian by a plain loop; both write 64 translations of 30
words each, drawn word by word with a cache. Sides go in turns, in one process; seconds are the processor's, of one
thread. Where the package transformers is missing, its rows say so.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from descant.policies.categorical import MASKED, sample
from descant.policies.translators import TranslationNetwork
from descant.registry import agents
from descant.text.decoding import Writer
from descant.text.examples import Examples
from descant.text.vocabularies import BOS, EOS, PAD

from .speed_rows import Row

WORDS = 8000
LENGTHS = (6, 30)
COLUMNS = 31
SENTENCES = 256
BATCH = 64
WIDTH, LAYERS = 256, 3
HIDDEN = {"transformer": (WIDTH,) * (LAYERS + 1), "gru": (WIDTH, 2 * WIDTH)}
ROUNDS = 3
MISSING = "transformers is not installed: pip install transformers"


def measure() -> list[Row]:
    """Every row. Takes about a minute."""
    torch.set_num_threads(1)
    data = sentences()
    sides: dict[str, tuple[Callable[[], int], Callable[[], int]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in HIDDEN:
            agent = learner(name, data, Path(folder))
            sides[name] = (partial(teach, agent, data), partial(write, agent, data))
        if find_spec("transformers") is not None:
            sides["marian"] = marian(data)
        rates = [[[rate(work) for work in pair] for pair in sides.values()] for _ in range(ROUNDS)]
    speeds = {name: [median(r[i][k] for r in rates) for k in range(2)] for i, name in enumerate(sides)}
    return rows(speeds)


def rows(speeds: dict[str, list[float]]) -> list[Row]:
    """Rows of tokens a second in training and in writing, by name, and ratios to Marian's."""
    found = []
    for k, doing in enumerate(("trained", "written")):
        for name in HIDDEN:
            found.append(Row(f"translation, {name}, {doing}", speeds[name][k], "tokens/s"))
    for k, (doing, bar) in enumerate((("trained", 1.0), ("written", 2.0))):
        title = f"translation, transformer / Marian, {doing}"
        if "marian" not in speeds:
            found.append(Row(title, None, "x", bar=bar, detail=MISSING))
            continue
        ours, theirs = speeds["transformer"][k], speeds["marian"][k]
        detail = f"{ours:,.0f} against {theirs:,.0f} tokens/s"
        found.append(Row(title, ours / theirs, "x", bar=bar, detail=detail, sides=(ours, theirs)))
    return found


def sentences(seed: int = 0) -> Examples:
    """Random words on both sides."""
    rng = np.random.default_rng(seed)
    sides = np.full((2, SENTENCES, COLUMNS), PAD, np.int32)
    for row in sides.reshape(-1, COLUMNS):
        length = int(rng.integers(*LENGTHS))
        row[:length] = rng.integers(4, WORDS, length)
        row[length] = EOS
    return Examples(sides[0], sides[1])


def learner(name: str, data: Examples, folder: Path) -> Any:
    """`bc` with a network of the size, on spaces of the sentences."""
    data.save(folder / "data.safetensors")
    tokens = spaces.MultiDiscrete(np.full(COLUMNS, WORDS), dtype=np.int32)
    space = spaces.Dict({"source": tokens, "target": tokens, "position": spaces.Discrete(COLUMNS + 1)})
    kind = agents.get("bc")
    config = kind.Config(recurrent=True, trunk=name, hidden=HIDDEN[name], dropout=0.1, batch_size=BATCH)
    return kind(None, config, spaces=(space, spaces.Discrete(WORDS)))


def teach(agent: Any, data: Examples) -> int:
    """One pass over the sentences; how many tokens there were."""
    with agent._dropping():
        agent._epoch(data, agent.drawn(data, np.arange(SENTENCES)), 1e-3, 0.0)
    return data.steps


def write(agent: Any, data: Examples) -> int:
    """64 translations of 30 words drawn; how many tokens they have."""
    network: TranslationNetwork = agent.networks["policy"]
    with torch.inference_mode():
        writer = Writer(network, torch.as_tensor(data.sources[:BATCH]), COLUMNS)
        token = torch.full((BATCH,), BOS)
        for _ in range(COLUMNS - 1):
            log_probs = writer.step(token)
            log_probs[:, EOS] = MASKED  # none ends before the others
            token = sample(log_probs)
    return BATCH * (COLUMNS - 1)


def marian(data: Examples) -> tuple[Callable[[], int], Callable[[], int]]:
    """The same by Hugging Face's Marian of the same size."""
    from transformers import MarianConfig, MarianMTModel  # type: ignore[import-not-found, unused-ignore]

    size = {"d_model": WIDTH, "encoder_layers": LAYERS, "decoder_layers": LAYERS}
    size |= {f"{side}_attention_heads": 4 for side in ("encoder", "decoder")}
    size |= {f"{side}_ffn_dim": 4 * WIDTH for side in ("encoder", "decoder")}
    ids = {"pad_token_id": PAD, "eos_token_id": EOS, "bos_token_id": BOS, "decoder_start_token_id": BOS}
    model: Any = MarianMTModel(MarianConfig(vocab_size=WORDS, max_position_embeddings=64, **size, **ids))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    sources, targets = (torch.as_tensor(side.astype(np.int64)) for side in (data.sources, data.targets))
    order = np.argsort(data.lengths, kind="stable")  # as ours: those of a length together

    def train() -> int:
        model.train()
        for first in range(0, SENTENCES, BATCH):
            some = torch.as_tensor(order[first : first + BATCH])
            source, target = _cut(sources[some]), _cut(targets[some])
            labels = target.masked_fill(target == PAD, -100)
            begun = torch.cat([torch.full((len(some), 1), BOS), target[:, :-1]], dim=1)
            optimizer.zero_grad()
            out = model(
                input_ids=source, attention_mask=source != PAD, decoder_input_ids=begun, labels=labels
            )
            out.loss.backward()
            optimizer.step()
        return data.steps

    def generate() -> int:
        model.eval()
        source, n = _cut(sources[:BATCH]), COLUMNS - 1
        with torch.inference_mode():
            lengths = {"min_new_tokens": n, "max_new_tokens": n}
            model.generate(
                source, attention_mask=source != PAD, do_sample=True, top_k=0, num_beams=1, **lengths
            )
        return BATCH * n

    return train, generate


def _cut(tokens: torch.Tensor) -> torch.Tensor:
    return tokens[:, : int((tokens != PAD).sum(dim=1).max())]


def rate(work: Callable[[], int]) -> float:
    """Tokens a second of the processor."""
    begin = time.process_time()
    return work() / (time.process_time() - begin)
