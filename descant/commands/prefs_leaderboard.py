"""`descant prefs leaderboard`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from descant.commands.output import print_json
from descant.preferences.leaderboard import chosen_judgements, leaderboard
from descant.preferences.store import Store


@dataclasses.dataclass
class Leaderboard:
    """Rate the sources of clips by what annotators preferred: Bradley-Terry, with 95 % intervals.

    A rating is in logits: one that is higher by 1 is preferred in 73 % of pairs. Ties and both bad are half a win each
    way; skips, and pairs of one source's clips, are left out. So are pairs that a reward model chose (--strategy
    uncertainty and others): they are not what the sources usually write.

    Example: descant prefs leaderboard taste.db
    """

    store: Annotated[Path, tyro.conf.Positional]
    """A store with judgements."""
    chosen: bool = False
    """Count pairs that a reward model chose, too."""
    seed: int = 0
    """Seed of the intervals."""
    json: bool = False
    """Print JSON."""

    def run(self) -> int:
        """Print a table, or JSON."""
        with Store(self.store) as store:
            rows = leaderboard(store, self.seed, self.chosen)
            left_out = 0 if self.chosen else chosen_judgements(store)
        if self.json:
            print_json([row.as_json() for row in rows])
            return 0
        if left_out:
            print(
                f"Left out: {left_out} judgements of pairs that a reward model chose; --chosen counts them."
            )
        if not rows:
            print("No judgement compares clips of different sources yet.")
            return 0
        from rich.console import Console
        from rich.table import Table

        table = Table(title="Sources by preference")
        for column, side in (("source", "left"), *((c, "right") for c in COLUMNS)):
            table.add_column(column, justify=side)  # type: ignore[arg-type]
        for row in rows:
            interval = f"{row.low:+.2f} to {row.high:+.2f}"
            table.add_row(
                row.source,
                f"{row.rating:+.2f}",
                interval,
                *map(str, (row.wins, row.losses, row.ties)),
                str(row.group),
            )
        Console().print(table)
        if len({row.group for row in rows}) > 1:
            print("Sources of different groups were never compared: their ratings say nothing of each other.")
        return 0


COLUMNS = ("rating", "95 %", "wins", "losses", "ties", "group")
