"""Sound: pitch, length, level, no clicks."""

from __future__ import annotations

import io
import wave
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray

from descant.errors import DescantError
from descant.music.audio import synthesize, to_wav, write_wav
from descant.music.pitches import Pitch
from descant.music.scores import Note, Score, Voice

from .strategies import scores


def heard(content: bytes) -> tuple[int, NDArray[np.float64]]:
    """Sample rate, and samples in [-1, 1]."""
    with wave.open(io.BytesIO(content)) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32767
        return file.getframerate(), samples


def tone(*names: str, beats: float = 8) -> Score:
    return Score("", tuple(Voice("", (Note(Pitch.parse(name), beats),)) for name in names))


def spectrum(score: Score) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Frequencies in Hz and amplitudes."""
    rate, samples = heard(to_wav(score))
    return np.fft.rfftfreq(len(samples), 1 / rate), np.abs(np.fft.rfft(samples * np.hanning(len(samples))))


@pytest.mark.parametrize(
    ("name", "frequency"), [("A4", 440.0), ("A3", 220.0), ("C4", 261.63), ("C#5", 554.37)]
)
def test_the_loudest_frequency_is_the_pitch(name: str, frequency: float) -> None:
    frequencies, amplitudes = spectrum(tone(name))
    assert frequencies[amplitudes.argmax()] == pytest.approx(frequency, abs=1)


def test_both_voices_sound() -> None:
    frequencies, amplitudes = spectrum(tone("D3", "F4"))
    for pitch in (146.83, 349.23):
        assert amplitudes[np.abs(frequencies - pitch) < 1].max() > 0.5 * amplitudes.max()


def test_no_partial_is_folded_back() -> None:
    """G9 is above half the sample rate at its second partial: all else must be silent."""
    frequencies, amplitudes = spectrum(tone("G8"))
    fundamental = Pitch.parse("G8").frequency
    near = np.abs(frequencies - fundamental) < 20
    assert amplitudes[~near].max() < 0.001 * amplitudes.max()


@given(scores())
@settings(deadline=None, max_examples=25)
def test_length_and_level(score: Score) -> None:
    rate, samples = heard(to_wav(score, 8000))
    assert rate == 8000
    assert len(samples) / rate == pytest.approx(score.seconds, abs=0.001)
    silent = not any(voice.pitches for voice in score.voices)
    assert np.abs(samples).max() == pytest.approx(0 if silent else 10 ** (-3 / 20), abs=1e-4)


def test_notes_start_and_end_in_silence(duet: Score) -> None:
    samples = synthesize(duet, 22050)
    borders = np.arange(1, 11) * 2 * 22050
    assert np.abs(samples[borders]).max() < 0.02
    assert np.abs(samples[borders - 1]).max() < 0.02
    assert np.abs(samples[[0, -1]]).max() < 0.02


def test_rests_are_silent() -> None:
    note = Note(Pitch.parse("A4"), 1)
    samples = synthesize(Score("", (Voice("", (note, Note(None, 1), note)),)), 22050)
    assert not samples[11025:22050].any()
    assert samples[:11025].any()
    assert samples[22050:].any()


@pytest.mark.parametrize("rate", [0, -1, 7999, 192_001])
def test_sample_rates_out_of_range(rate: int) -> None:
    with pytest.raises(DescantError, match=f"{rate} times a second"):
        to_wav(tone("A4"), rate)


def test_write(tmp_path: Path) -> None:
    write_wav(tone("A4"), tmp_path / "a.wav")
    assert (tmp_path / "a.wav").read_bytes() == to_wav(tone("A4"))
