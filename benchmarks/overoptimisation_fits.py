"""The two forms of Gao, Schulman and Hilton 2022 for the gold reward over d = sqrt(KL).

    best of n   d (alpha - beta d)              reinforcement learning   d (alpha - beta log d)

Both are linear in alpha and beta: least squares. R2 is 1 - sum of squared residuals / sum of squares about the mean.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from descant.tasks import Floats

FORMS: dict[str, Callable[[Floats], Floats]] = {
    "d (alpha - beta d)": lambda d: d,
    "d (alpha - beta log d)": np.log,
}
"""By name, what beta goes with in the brackets."""


@dataclass(frozen=True)
class Fit:
    """The coefficients of a form and how well it fits."""

    alpha: float
    beta: float
    r2: float


def fit_form(form: str, kl: Floats, gold: Floats) -> Fit:
    """Least squares of a form to points of KL above 0 and gold, float[K] each."""
    d = np.sqrt(kl)
    columns = np.stack([d, -d * FORMS[form](d)], axis=1)
    (alpha, beta), *_ = np.linalg.lstsq(columns, gold, rcond=None)
    left = gold - columns @ [alpha, beta]
    about = float(((gold - gold.mean()) ** 2).sum())
    return Fit(float(alpha), float(beta), 1 - float((left**2).sum()) / about if about > 0 else float("nan"))


def value_of(form: str, fit: Fit, kl: Floats) -> Floats:
    """The form's gold at KLs above 0: float[K]."""
    d = np.sqrt(kl)
    found: Floats = d * (fit.alpha - fit.beta * FORMS[form](d))
    return found
