"""Numbers that a command can take."""

from __future__ import annotations

from descant.errors import DescantError


def at_least(minimum: int, **options: int | None) -> None:
    """DescantError for an option, by its Python name, that is below `minimum`; None is left out."""
    for name, value in options.items():
        if value is not None and value < minimum:
            raise DescantError(f"--{name.replace('_', '-')} must be at least {minimum}, not {value}.")
