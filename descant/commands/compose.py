"""`descant compose`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import tyro

from descant.commands.bounds import at_least
from descant.commands.evaluate import bound, find_agent, outcome_json, problem_name
from descant.commands.problems import ID, counterpoint_task
from descant.errors import DescantError
from descant.evaluation import Outcome, evaluate
from descant.files import write_atomically
from descant.music.cantus_firmi import find


@dataclasses.dataclass
class Compose:
    """Write a counterpoint to a cantus firmus and leave it as MIDI, score, sound and picture.

    Example: descant compose runs/counterpoint-reinforce-0 --cantus "D4 F4 E4 D4" --position above --out composed
    """

    run_or_agent: Annotated[str, tyro.conf.Positional]
    """A run folder, a checkpoint, or exact (the best counterpoint there is) or random."""
    cantus: str
    """A name (dorian, phrygian, lydian, mixolydian, aeolian, ionian), notes ("D4 F4 E4 D4"), or a MIDI file."""
    position: str = "above"
    """Where the counterpoint lies: above or below."""
    out: Path = Path("composed")
    """The folder to write to."""
    deterministic: bool = True
    """Take the likeliest note; --no-deterministic draws."""
    seed: int = 0
    """Seed of what is drawn."""
    json: bool = False
    """Print JSON: the notes, the findings, the files written."""

    def run(self) -> int:
        """Write the files; say where they are."""
        at_least(0, seed=self.seed)
        agent, env_id, options = find_agent(self.run_or_agent)
        if env_id != ID:
            raise DescantError(
                f"{self.run_or_agent} was trained on {env_id}, not on {ID}: it writes no counterpoint."
            )
        own = {k: v for k, v in options.items() if k in ("mask", "reward", "max_notes")}
        if agent.trains:
            own["max_notes"] = len(agent.observation_space.nvec) - _columns_before_cantus()
            if (notes := len(find(self.cantus))) > own["max_notes"]:
                raise DescantError(
                    f"The cantus has {notes} notes, {self.run_or_agent} was trained on up to "
                    f"{own['max_notes']}: cut it into phrases, or train with --set max_notes={notes}."
                )
        task = counterpoint_task(self.cantus, self.position, **own)
        outcome = evaluate(bound(agent, task), task, self.deterministic, self.seed)[0]
        files = write_outcome(task, outcome, self.out, f"counterpoint-{self.position}")
        if self.json:
            print(json.dumps(outcome_json(outcome) | {"files": [str(f) for f in files]}, indent=2))
        else:
            print(task.render(outcome.episode, "ansi"))
            print(f"score {outcome.score:.4f} (0 chance, 1 the exact optimum)\nwrote:")
            print("\n".join(f"  {f}" for f in files))
        return 0


def _columns_before_cantus() -> int:
    from descant.music.counterpoint import HEAD

    return len(HEAD)


def write_outcome(task: Any, outcome: Outcome, folder: Path, stem: str) -> list[Path]:
    """MIDI, SVG, WAV, PNG piano roll, ABC, MusicXML and findings (JSON) of a counterpoint; the paths."""
    from descant.music import abc, audio, midi, musicxml, pianoroll
    from descant.music.counterpoint import GAMUT
    from descant.music.scores import counterpoint_score

    problem = task.problems.problems[int(task.problems.problem_of(outcome.episode.states[0])[0])]
    line = [GAMUT[a] for a in outcome.episode.actions]
    title = f"{problem_name(problem.cantus)}, counterpoint {problem.position}"
    score = counterpoint_score(problem.cantus, line, problem.position, title=title)
    paths = {
        kind: folder / f"{stem}.{kind}" for kind in ("mid", "svg", "wav", "png", "abc", "musicxml", "json")
    }
    midi.write_midi(score, paths["mid"])
    write_atomically(paths["svg"], task.render(outcome.episode, "svg").encode())
    audio.write_wav(score, paths["wav"])
    pianoroll.write_png(score, paths["png"])
    abc.write_abc(score, paths["abc"])
    musicxml.write_musicxml(score, paths["musicxml"])
    write_atomically(paths["json"], (json.dumps(outcome_json(outcome), indent=2) + "\n").encode())
    return list(paths.values())
