"""Errors that a user can mend. The CLI prints them as one line and exits with status 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DescantError(ValueError):
    """Bad input: the message says what is wrong and what to do next."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A sentence that lists `known` and, where one is near to `name`, asks for it."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    guess = f" Did you mean {near[0]!r}?" if near else ""
    return f"{guess} Known: {', '.join(names) or 'none'}."
