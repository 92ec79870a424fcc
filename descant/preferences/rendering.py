"""What the page shows and plays of a clip: score, sound at equal loudness, words. Nothing says who wrote it."""

from __future__ import annotations

import functools
import io
import threading
import wave
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from descant.preferences.clips import score_of, words_of
from descant.preferences.loudness import matched
from descant.preferences.records import Clip
from descant.tasks import Floats

RATE = 22_050
WIDTHS = {"wide": 720, "narrow": 520}  # pixels to engrave for, and scale from
KEPT = 64  # renderings in memory


class Renderer:
    """Scores and sounds of clips by hash, a few of them remembered. For several threads."""

    def __init__(self, find: Callable[[str], Clip | None]) -> None:
        self._find = find
        self._engraving = threading.Lock()  # Verovio keeps settings for all
        self.sound = functools.lru_cache(KEPT)(self._sound)
        self.score = functools.lru_cache(KEPT)(self._score)

    def _sound(self, hash: str) -> bytes | None:
        """A WAV file; None where there is nothing to hear."""
        from descant.music.audio import synthesize

        clip = self._find(hash)
        score = score_of(clip) if clip else None
        return None if score is None else to_wav(matched(synthesize(score, RATE), RATE))

    def _score(self, hash: str, width: str) -> bytes | None:
        """An SVG; None where there is nothing to see."""
        from descant.music.engraving import to_svg

        clip = self._find(hash)
        score = score_of(clip) if clip else None
        if score is None:
            return None
        with self._engraving:
            return to_svg(score, width=WIDTHS[width]).encode()


def to_wav(samples: Floats, rate: int = RATE) -> bytes:
    """Samples in [-1, 1] as 16-bit mono WAV."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.round(samples * 32767).astype("<i2").tobytes())
    return buffer.getvalue()


@dataclass(frozen=True)
class View:
    """What the page is told of a clip, neither its source nor its metadata; and a sentence to be read above it."""

    told: dict[str, Any]
    prompt: str | None

    @property
    def seconds(self) -> float | None:
        """How long it sounds; None for text."""
        found: float | None = self.told["seconds"]
        return found


def view(clip: Clip) -> View:
    """A clip as the page shows it."""
    score = None if clip.text is not None else score_of(clip)
    words, source = words_of(clip), clip.arguments.get("source")
    told = {
        "id": clip.hash,
        "seconds": None if score is None else round(score.seconds, 3),
        "text": words if score is None else None,
        "words": words,
    }
    return View(told, source if score is None and isinstance(source, str) else None)
