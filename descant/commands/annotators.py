"""Runs that were tuned for an annotator: those whose reward is `preference` with the annotator's name."""

from __future__ import annotations

from pathlib import Path

from descant.errors import DescantError, did_you_mean
from descant.runs.folders import CONFIG, RunFolder


def run_for(place: str, annotator: str) -> str:
    """The run tuned for an annotator: `place` itself, or one of the runs in it; DescantError names those there are."""
    folder = Path(place)
    places = [folder] if (folder / CONFIG).is_file() else sorted(p.parent for p in folder.glob(f"*/{CONFIG}"))
    found: dict[str, list[Path]] = {}
    for path in places:
        if (name := annotator_of(path)) is not None:
            found.setdefault(name, []).append(path)
    if not found:
        raise DescantError(
            f"{place} holds no run that was tuned for an annotator: descant train descant/Melody-v0 --set "
            f'\'reward={{"name": "preference", "path": "models/taste", "annotator": "{annotator}"}}\' makes one.'
        )
    if annotator not in found:
        raise DescantError(
            f"{place} has no run for the annotator {annotator!r}.{did_you_mean(annotator, found)}"
        )
    if len(found[annotator]) > 1:
        runs = ", ".join(map(str, found[annotator]))
        raise DescantError(f"Several runs were tuned for {annotator}: name one of {runs}.")
    return str(found[annotator][0])


def annotator_of(run: Path) -> str | None:
    """Whose taste a run was tuned for; None where it was nobody's."""
    reward = RunFolder.open(run).config.get("env_options", {}).get("reward")
    if not isinstance(reward, dict) or reward.get("name") != "preference":
        return None
    return reward.get("annotator")
