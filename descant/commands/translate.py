"""`descant translate`."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from descant.commands.bounds import at_least
from descant.commands.output import print_json
from descant.errors import DescantError


@dataclasses.dataclass
class Translate:
    """Translate sentences, one a line, with a run on descant/Translation-v0.

    Greedy; --beam searches wider, --temperature draws, --mbr draws so many and takes the one nearest to all. A line
    that can't be translated is refused with its number, or with --skip left empty and counted.

    Example: descant translate runs/translation-transformer-0 sentences.en --beam 5

    Example: echo "the dog sees the cat." | descant translate runs/translation-transformer-0
    """

    run_folder: Annotated[str, tyro.conf.Positional]
    """A run folder or a checkpoint."""
    file: Annotated[Path | None, tyro.conf.Positional] = None
    """Sentences, UTF-8, one a line; by default what comes in on stdin."""
    beam: int = 1
    """Width of the beam; 1 is greedy."""
    length_penalty: float = 1.0
    """A beam's hypotheses are compared by log-probability over length to this power."""
    temperature: float | None = None
    """Draw words: above 1 wilder, below 1 safer."""
    top_k: int = 0
    """Draw of so many likeliest words; 0 for all."""
    top_p: float = 1.0
    """Draw of the fewest words that have this share of the probability."""
    mbr: int = 0
    """Minimum Bayes risk by so many samples."""
    skip: bool = False
    """Leave lines that can't be translated empty, and count them."""
    seed: int = 0
    """Seed of what is drawn."""
    device: Literal["cpu", "cuda"] | None = None
    """Where its networks are; by default where they were trained, if this machine has that."""
    json: bool = False
    """Print JSON: source, translation and score of each line."""

    def run(self) -> int:
        """Print a translation a line."""
        from descant.commands.translation import open_translator
        from descant.text.decoding import encode_sources

        at_least(1, beam=self.beam)
        at_least(0, mbr=self.mbr, top_k=self.top_k, seed=self.seed)
        self._refuse_both()
        translator = open_translator(self.run_folder, self.device)
        name, lines = self._lines()
        sources, faults = encode_sources(translator.codecs[0], lines, translator.columns)
        wrong = [i for i, fault in enumerate(faults) if fault]
        if wrong and not self.skip:
            raise DescantError(
                f"{name}:{wrong[0] + 1}: {faults[wrong[0]]}. Mend the line, or leave such lines empty with --skip."
            )
        kept = [i for i, fault in enumerate(faults) if not fault]
        found = self._translated(translator, sources[kept]) if kept else None
        texts = [""] * len(lines)
        scores: list[float | None] = [None] * len(lines)
        for place, i in enumerate(kept):
            assert found is not None
            texts[i] = translator.codecs[1].decode(found.tokens[place])
            scores[i] = float(found.scores[place])
        if wrong:
            print(f"left empty: {len(wrong)} of {len(lines)} lines", file=sys.stderr)
        if self.json:
            rows = zip(lines, texts, scores, strict=True)
            print_json([{"source": s, "translation": t, "score": score} for s, t, score in rows])
        else:
            print("\n".join(texts))
        return 0

    def _refuse_both(self) -> None:
        drawing = self.temperature is not None or self.top_k or self.top_p < 1
        if sum(map(bool, (self.beam > 1, drawing, self.mbr))) > 1:
            raise DescantError(
                "Choose one of --beam, --mbr, and drawing by --temperature, --top-k or --top-p."
            )

    def _lines(self) -> tuple[str, list[str]]:
        """What the lines are from, and the lines; DescantError where there are none, or where one is no UTF-8."""
        name = "stdin" if self.file is None else str(self.file)
        try:
            content = sys.stdin.buffer.read() if self.file is None else self.file.read_bytes()
        except OSError as error:
            raise DescantError(f"Cannot read {name}: {error.strerror}. Give a file of sentences.") from error
        lines = []
        for number, line in enumerate(content.removesuffix(b"\n").split(b"\n"), start=1):
            try:
                lines.append(line.decode("utf-8").strip())
            except UnicodeDecodeError as error:
                raise DescantError(f"{name}:{number}: the line is no UTF-8. Give a file in UTF-8.") from error
        if not content.strip():
            raise DescantError(f"{name} has no sentences: give one a line.")
        return name, lines

    def _translated(self, translator: Any, sources: Any) -> Any:
        import torch

        from descant.text.decoding import Drawing, beam, draw, greedy, minimum_bayes_risk

        generator = torch.Generator(translator.network.device).manual_seed(self.seed)
        where = (translator.network, sources, translator.limit)
        if self.mbr:
            return minimum_bayes_risk(*where, self.mbr, generator)
        if self.beam > 1:
            return beam(*where, self.beam, self.length_penalty)
        if self.temperature is not None or self.top_k or self.top_p < 1:
            temperature = 1.0 if self.temperature is None else self.temperature
            return draw(*where, Drawing(temperature, self.top_k, self.top_p), generator)
        return greedy(*where)
