"""Loudness against the standard's own reference."""

from __future__ import annotations

import math

import numpy as np
import pytest

from descant.preferences.loudness import CEILING, loudness, matched


def sine(frequency: float, rate: int, level: float = 1.0, seconds: float = 3.0) -> np.ndarray:
    return level * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)


@pytest.mark.parametrize("rate", [22_050, 44_100, 48_000])
def test_the_reference_tone_has_its_loudness(rate: int) -> None:
    # ITU-R BS.1770-4: a full-scale sine of 997 Hz in one channel reads -3.01 LUFS.
    assert loudness(sine(997, rate), rate) == pytest.approx(-3.01, abs=0.04)
    assert loudness(sine(997, rate, 0.1), rate) == pytest.approx(-23.01, abs=0.04)


def test_the_ear_hears_little_of_low_tones() -> None:
    assert loudness(sine(30, 48_000), 48_000) < loudness(sine(200, 48_000), 48_000) - 4


def test_silence_in_between_does_not_count() -> None:
    tone = sine(997, 22_050, 0.1)
    with_silence = np.concatenate([tone, np.zeros(3 * len(tone)), tone])
    assert loudness(with_silence, 22_050) == pytest.approx(loudness(tone, 22_050), abs=0.3)


def test_what_is_far_below_the_rest_does_not_count() -> None:
    loud, soft = sine(997, 22_050, 0.1), sine(997, 22_050, 0.01, seconds=12)
    assert loudness(np.concatenate([loud, soft]), 22_050) == pytest.approx(loudness(loud, 22_050), abs=0.3)


def test_matched_sounds_are_equally_loud_and_never_clip() -> None:
    for sound in (sine(440, 22_050, 0.9), sine(440, 22_050, 0.001), sine(440, 22_050, 0.5, seconds=0.1)):
        assert loudness(matched(sound, 22_050), 22_050) == pytest.approx(-23.0, abs=0.01)
    click = np.zeros(22_050)
    click[::1000] = 0.5
    assert np.abs(matched(click, 22_050, target=0.0)).max() == pytest.approx(CEILING)
    assert matched(np.zeros(22_050), 22_050).max() == 0.0
    assert loudness(np.zeros(100), 22_050) == -math.inf
