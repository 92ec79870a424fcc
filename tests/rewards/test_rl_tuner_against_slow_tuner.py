"""The fast `rl-tuner` against the rules written a second time, slowly, term by term."""

from __future__ import annotations

import numpy as np
import pytest

from ..melodies import melodies, score
from .slow_tuner import KEYS, TERMS, terms


def compare(of: tuple[str, str], seed: int, n: int, steps: int) -> None:
    """Equal at every step, and every term seen to be something."""
    compositions = melodies(seed, n, steps)
    fast, rewards, _ = score(compositions, key=of[0], mode=of[1])
    slow = [terms(melody, of) for melody in compositions.tolist()]
    assert list(fast) == list(TERMS)
    for name, values in fast.items():
        expected = np.array([found[name] for found in slow])
        np.testing.assert_allclose(values, expected, rtol=0, atol=1e-9, err_msg=name)
        assert expected.any(), name
    np.testing.assert_allclose(rewards, sum(fast.values()), rtol=0, atol=1e-9)


def test_fast_and_slow_agree_on_two_thousand_melodies() -> None:
    compare(("C", "major"), 0, 2000, 32)


@pytest.mark.parametrize("of", [of for of in KEYS if of != ("C", "major")])
def test_they_agree_in_other_keys(of: tuple[str, str]) -> None:
    compare(of, 1, 120, 32)


@pytest.mark.parametrize("steps", [16, 19, 50])
def test_they_agree_at_other_lengths(steps: int) -> None:
    compare(("C", "major"), 2, 120, steps)
