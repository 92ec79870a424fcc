"""Loudness as people hear it, so that neither of two clips wins by being louder: ITU-R BS.1770-4, one channel."""

from __future__ import annotations

import math

import numpy as np

from descant.tasks import Floats

TARGET = -23.0  # LUFS, that of EBU R 128: leaves peaks room
CEILING = 0.97  # of full scale
BLOCK, OVERLAP = 0.4, 0.75  # seconds, share
ABSOLUTE_GATE, RELATIVE_GATE = -70.0, -10.0  # LUFS, LU
OFFSET = -0.691  # dB


def k_weighted(samples: Floats, rate: int) -> Floats:
    """Samples as the ear weighs them: a high shelf for the head, then a high pass. float[n] in and out."""
    from scipy.signal import lfilter

    for b, a in (_shelf(rate), _high_pass(rate)):
        samples = lfilter(b, a, samples)
    return np.asarray(samples)


def _shelf(rate: int) -> tuple[list[float], list[float]]:
    # The analogue filter behind the standard's table of 48 kHz, for any rate.
    gain, q, k = (
        10 ** (3.999843853973347 / 20),
        0.7071752369554196,
        math.tan(math.pi * 1681.974450955533 / rate),
    )
    low = gain**0.4996667741545416
    a0 = 1 + k / q + k * k
    b = [(gain + low * k / q + k * k) / a0, 2 * (k * k - gain) / a0, (gain - low * k / q + k * k) / a0]
    return b, [1.0, 2 * (k * k - 1) / a0, (1 - k / q + k * k) / a0]


def _high_pass(rate: int) -> tuple[list[float], list[float]]:
    q, k = 0.5003270373238773, math.tan(math.pi * 38.13547087602444 / rate)
    a0 = 1 + k / q + k * k
    return [1.0, -2.0, 1.0], [1.0, 2 * (k * k - 1) / a0, (1 - k / q + k * k) / a0]


def loudness(samples: Floats, rate: int) -> float:
    """Integrated loudness of samples in [-1, 1], in LUFS; -inf for silence."""
    weighted = k_weighted(samples, rate)
    size, hop = round(BLOCK * rate), round(BLOCK * (1 - OVERLAP) * rate)
    if len(weighted) < size:
        weighted = np.pad(weighted, (0, size - len(weighted)))
    powers = np.array([np.mean(weighted[i : i + size] ** 2) for i in range(0, len(weighted) - size + 1, hop)])
    kept = powers[powers > _power(ABSOLUTE_GATE)]
    if not len(kept):
        return -math.inf
    kept = kept[kept > _power(_level(kept.mean()) + RELATIVE_GATE)]
    return _level(float(kept.mean()))


def _power(level: float) -> float:
    return float(10 ** ((level - OFFSET) / 10))


def _level(power: float) -> float:
    return OFFSET + 10 * math.log10(power)


def matched(samples: Floats, rate: int, target: float = TARGET) -> Floats:
    """The samples at a loudness of `target` LUFS, lower where they would clip; silence stays silence."""
    level = loudness(samples, rate)
    if math.isinf(level):
        return samples
    gain = 10 ** ((target - level) / 20)
    return samples * min(gain, CEILING / float(np.abs(samples).max()))
