"""`descant prefs new`."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from descant.agent import Agent
from descant.commands.bounds import at_least
from descant.commands.evaluate import bound, find_agent
from descant.commands.melodies import melody_task, own_key
from descant.commands.output import print_json
from descant.commands.prefs_translations import translation_clips
from descant.commands.translation import ID as TRANSLATION
from descant.errors import DescantError
from descant.preferences.clips import COUNTERPOINT, MELODY, counterpoint_clip, melody_clip, read_compositions
from descant.preferences.records import Clip
from descant.preferences.store import Store
from descant.registry import build, tasks


@dataclasses.dataclass
class New:
    """Make a store of clips, from runs, folders of descant compose, or agents that need no training.

    A run composes --n clips: melodies, or counterpoints to Fux's six cantus firmi, above and below in turn. A run that
    translates writes two translations of each of --n / 2 sentences held out.

    Example: descant prefs new taste.db runs/first rules=runs/second --n 24
    """

    store: Annotated[Path, tyro.conf.Positional]
    """The file to make."""
    sources: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Runs, checkpoints, folders of compositions, or exact or random; NAME=PLACE gives a name to rate it by."""
    n: int = 24
    """Clips of each run."""
    temperature: float = 1.0
    """Melodies, translations: above 1 is wilder, below 1 safer."""
    add: bool = False
    """Add to a store that is there."""
    seed: int = 0
    """Seed of what is drawn."""
    json: bool = False
    """Print JSON."""

    def run(self) -> int:
        """Make the store, whole or not at all; say what is in it."""
        at_least(0, seed=self.seed)
        at_least(1, n=self.n)
        if not self.add and self.store.exists():
            raise DescantError(
                f"{self.store} is there already: pass --add to add to it, or give another name."
            )
        clips = [clip for source in self.sources for clip in self._clips(source)]
        with Store(self.store) if self.add else Store.create(self.store) as store:
            with store.transaction():
                added = Counter(clip.source for clip in clips if store.add_clip(clip))
            counts = store.counts()
        if self.json:
            print_json({"store": str(self.store), "added": dict(added), "clips": counts["clips"]})
            return 0
        for name, number in Counter(clip.source for clip in clips).items():
            left = number - added[name]
            print(
                f"{name:<20} {added[name]} clips"
                + (f" ({left} more were alike, or there already)" if left else "")
            )
        print(f"{self.store} has {counts['clips']} clips. Next: descant prefs pairs {self.store} --n 50")
        return 0

    def _clips(self, source: str) -> list[Clip]:
        """The clips of one source."""
        name, place = _named(source)
        if Path(place).is_dir() and (found := read_compositions(Path(place), name)):
            return found
        agent, env_id, options = find_agent(place)
        if env_id == MELODY:
            return self._melodies(agent, options, name)
        if env_id == COUNTERPOINT:
            return self._counterpoints(agent, options, name)
        if env_id == TRANSLATION:
            return translation_clips(place, name, self.n, self.temperature, self.seed)
        raise DescantError(
            f"{place} was trained on {env_id}: clips are made of {MELODY}, {COUNTERPOINT} and {TRANSLATION}."
        )

    def _melodies(self, agent: Agent, options: dict[str, Any], name: str) -> list[Clip]:
        from descant.compositions import write_compositions

        task = melody_task(agent, options)
        found = write_compositions(
            agent, task, self.n, temperature=self.temperature, seed=self.seed, terms=False
        )
        return [melody_clip(own_key(options), tokens, name, seed=self.seed) for tokens in found.actions]

    def _counterpoints(self, agent: Agent, options: dict[str, Any], name: str) -> list[Clip]:
        from descant.evaluation import play

        own = {k: v for k, v in options.items() if k in ("mask", "max_notes")}
        task = build(COUNTERPOINT, tasks.get(COUNTERPOINT), {"cantus": "fux", **own})
        writer = bound(agent, task)
        problems = task.problems.problems
        clips: list[Clip] = []
        for turn in range(-(-self.n // len(problems))):
            episodes, _ = play(writer, task, task.starts(), deterministic=False, seed=self.seed + turn)
            for problem, episode in zip(problems, episodes, strict=True):
                cantus = " ".join(map(str, problem.cantus))
                clips.append(
                    counterpoint_clip(cantus, problem.position, episode.actions, name, seed=self.seed + turn)
                )
        # Problems in another order each time, so that few clips are not all of the first.
        return [clips[i] for i in np.sort(np.random.default_rng(self.seed).permutation(len(clips))[: self.n])]


def _named(source: str) -> tuple[str, str]:
    """The name to rate a source by, and where it is."""
    name, equals, place = source.partition("=")
    if equals and not Path(source).exists():
        return name, place
    return Path(source).resolve().name if Path(source).exists() else source, source
