"""Sound: an additive organ tone in NumPy, no sound font and no system library."""

from __future__ import annotations

import io
import os
import wave

import numpy as np
from numpy.typing import NDArray

from descant.errors import DescantError
from descant.files import write_atomically
from descant.music.scores import Score

PARTIALS = (1.0, 0.5, 0.25, 0.18, 0.08, 0.06)  # amplitudes of the harmonics, a soft flute stop
ATTACK, RELEASE = 0.02, 0.08  # seconds, so that notes neither click nor run together
PEAK = 10 ** (-3 / 20)  # -3 dBFS
SAMPLE_RATES = (8_000, 192_000)


def to_wav(score: Score, sample_rate: int = 22050) -> bytes:
    """The score as 16-bit mono WAV, exactly as long as the score, with a peak of -3 dBFS.

    DescantError for a sample rate outside 8,000 to 192,000.
    """
    slowest, fastest = SAMPLE_RATES
    if not slowest <= sample_rate <= fastest:
        raise DescantError(
            f"Cannot sample {sample_rate} times a second. Use {slowest} to {fastest}, such as 22050."
        )
    samples = synthesize(score, sample_rate)
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(np.round(samples * 32767).astype("<i2").tobytes())
    return buffer.getvalue()


def write_wav(score: Score, path: str | os.PathLike[str], sample_rate: int = 22050) -> None:
    """Write the score as WAV; DescantError where `path` can't be written."""
    write_atomically(path, to_wav(score, sample_rate))


def synthesize(score: Score, sample_rate: int) -> NDArray[np.float64]:
    """Samples in [-1, 1], one dimension, `score.seconds * sample_rate` of them."""
    samples = np.zeros(round(score.seconds * sample_rate))
    per_beat = 60.0 / score.tempo * sample_rate
    for voice in score.voices:
        for pitch, start, end in voice.sounding():
            first, last = round(start * per_beat), round(end * per_beat)
            piece = samples[first:last]
            piece += _tone(pitch.frequency, len(piece), sample_rate)
    loudest = np.abs(samples).max(initial=0.0)
    return samples * (PEAK / loudest) if loudest else samples


def _tone(frequency: float, count: int, sample_rate: int) -> NDArray[np.float64]:
    """`count` samples of one note, faded in and out; partials above half the sample rate would alias."""
    phase = 2 * np.pi * frequency / sample_rate * np.arange(count)
    tone = np.zeros(count)
    for harmonic, amplitude in enumerate(PARTIALS, start=1):
        if harmonic * frequency < sample_rate / 2:
            tone += amplitude * np.sin(harmonic * phase)
    for seconds, part in ((ATTACK, tone), (RELEASE, tone[::-1])):
        length = min(int(seconds * sample_rate), count // 2)
        part[:length] *= np.linspace(0.0, 1.0, length, endpoint=False)
    return tone
