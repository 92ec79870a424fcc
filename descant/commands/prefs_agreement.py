"""`descant prefs agreement`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import tyro

from descant.commands.output import print_json
from descant.preferences.agreement import agreement
from descant.preferences.store import Store


@dataclasses.dataclass
class Agreement:
    """How far judgements can be trusted: on repeated pairs, between annotators, and whether the left is favoured.

    Shares with Wilson's intervals, Fleiss' and Cohen's kappa with bootstrap intervals over pairs, all of 95 %. Skips
    are left out.

    Example: descant prefs agreement taste.db
    """

    store: Annotated[Path, tyro.conf.Positional]
    """A store with judgements."""
    json: bool = False
    """Print JSON."""

    def run(self) -> int:
        """Print the measures."""
        with Store(self.store) as store:
            found = agreement(store)
        if self.json:
            print_json(found)
            return 0
        print(
            f"{found['judgements']} judgements of {len(found['annotators'])} annotators, {found['skipped']} skips"
        )
        for title, key in (("answers alike when repeated", "consistency"), ("preferred the left", "left")):
            print(f"\n{title}")
            print(f"  {'all':<20} {_told(found[key]['all'])}")
            for name, estimate in found[key]["by_annotator"].items():
                print(f"  {name:<20} {_told(estimate)}")
        print(f"\nbetween annotators\n  {'Fleiss kappa':<20} {_told(found['between']['fleiss'])}")
        for row in found["between"]["cohen"]:
            print(f"  {'Cohen kappa':<20} {_told(row)}  {' and '.join(row['annotators'])}")
        return 0


def _told(e: dict[str, Any]) -> str:
    if e["value"] is None:
        return f"not known (n = {e['n']})"
    if e["low"] is None:
        return f"{e['value']:.3f}  (no interval: all answers agree)  n = {e['n']}"
    return f"{e['value']:.3f}  [{e['low']:.3f}, {e['high']:.3f}]  n = {e['n']}"
