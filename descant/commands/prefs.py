"""`descant prefs` and what follows it: one dataclass a file, `descant/commands/prefs_NAME.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Union

from descant.registry import load

PARTS = {
    "new": "descant.commands.prefs_new:New",
    "pairs": "descant.commands.prefs_pairs:Pairs",
    "label": "descant.commands.prefs_label:Label",
    "export": "descant.commands.prefs_exchange:Export",
    "import": "descant.commands.prefs_exchange:Import",
    "fit": "descant.commands.prefs_fit:Fit",
    "agreement": "descant.commands.prefs_agreement:Agreement",
    "leaderboard": "descant.commands.prefs_leaderboard:Leaderboard",
}


class Prefs:
    """Collect preferences: people listen to two clips and choose, in a page of this machine's browser.

    A store is one file: clips, pairs of them, and judgements. It is only ever added to.

    Example: descant prefs new taste.db runs/first --n 20

    Then: descant prefs pairs taste.db --n 50, and: descant prefs label taste.db
    """

    @staticmethod
    def parser(arguments: Sequence[str]) -> Any:
        """The commands below this one, for tyro."""
        import tyro

        parts = [Annotated[load(target), tyro.conf.subcommand(name)] for name, target in PARTS.items()]
        return Union[tuple(parts)]  # noqa: UP007  made of a list
