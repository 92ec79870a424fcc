"""`descant compose`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from descant.agent import Agent
from descant.commands.bounds import at_least
from descant.commands.compose_melodies import Wanted, compose_melodies, leave
from descant.commands.evaluate import bound, find_policy, outcome_json, place_of, problem_name
from descant.commands.melodies import ID as MELODY
from descant.commands.output import print_json
from descant.commands.problems import ID, counterpoint_task, with_optimum
from descant.errors import DescantError
from descant.evaluation import Outcome, evaluate
from descant.files import write_together
from descant.music.cantus_firmi import find


@dataclasses.dataclass
class Compose:
    """Write music with a trained run, and leave it as MIDI, score, sound and text.

    A run on descant/Melody-v0 writes --n melodies in any key; one on descant/Counterpoint-v0 (or the agents exact and
    random, which need no training) a counterpoint to a cantus firmus.

    Example: descant compose runs/note-rnn --n 10 --key D --mode dorian --temperature 0.9 --primer "D4 E4:2"

    Example: descant compose runs/tuned --annotator maria

    Example: descant compose runs/tuned --annotator zoe --store taste.db

    Example: descant compose runs/counterpoint-reinforce-0 --cantus "D4 F4 E4 D4" --position above --out composed
    """

    run_or_agent: Annotated[str, tyro.conf.Positional]
    """A run folder, a checkpoint, or exact (the best counterpoint there is) or random."""
    n: int | None = None
    """Melodies: how many (10)."""
    key: str | None = None
    """Melodies: the tonic, such as C, F# or Bb; the run's own where none is given."""
    mode: str | None = None
    """Melodies: major, minor, dorian, phrygian, lydian, mixolydian, aeolian, ionian, locrian; the run's own."""
    primer: str | None = None
    """Melodies: how each begins: pitches, R for a rest, lengths in sixteenths (4 where none is said): "D4 E4:2 R:2"."""
    temperature: float | None = None
    """Melodies: above 1 is wilder, below 1 safer, 0 the likeliest (1)."""
    temperature_final: float | None = None
    """Melodies: the temperature of the last step, to which it goes in a line."""
    greedy: bool = False
    """Take the likeliest action always, as --temperature 0 does: one melody."""
    prior: str | None = None
    """Melodies: a run to say log p by, in place of the one it was trained with."""
    annotator: str | None = None
    """Compose for an annotator: with the run that was tuned for them, or that reads whom it is for, this one or one in
    this folder of runs."""
    store: str | None = None
    """A store with the annotator's judgements, where the run reads whom it is for and has not met this one."""
    cantus: str | None = None
    """Counterpoint: a name (dorian, phrygian, lydian, mixolydian, aeolian, ionian), notes ("D4 F4 E4 D4"), or a MIDI
    file."""
    position: str | None = None
    """Counterpoint: where it lies: above (the default) or below."""
    deterministic: bool = True
    """Counterpoint: take the likeliest note; --no-deterministic draws."""
    out: Path = Path("composed")
    """The folder to write to."""
    seed: int = 0
    """Seed of what is drawn."""
    device: Literal["cpu", "cuda"] | None = None
    """Where its networks are; by default where they were trained, if this machine has that."""
    json: bool = False
    """Print JSON: the notes, what is measured, the files written."""

    def run(self) -> int:
        """Write the files; say where they are."""
        at_least(0, seed=self.seed)
        self.run_or_agent = place_of(self.run_or_agent, self.annotator, self.store)
        agent, env_id, options = find_policy(self.run_or_agent, self.annotator, self.store, self.device)
        if env_id == MELODY:
            self._refuse("counterpoint", "cantus", "position")
            return self._melodies(agent, options)
        if env_id != ID:
            raise DescantError(
                f"{self.run_or_agent} was trained on {env_id}, not on {MELODY} or {ID}: it writes no music."
            )
        self._refuse("melodies", "n", "key", "mode", "primer", "temperature", "temperature_final", "prior")
        return self._counterpoint(agent, options)

    def _refuse(self, what: str, *names: str) -> None:
        """DescantError for an option that goes with other runs."""
        for name in names:
            if getattr(self, name) is not None:
                raise DescantError(
                    f"--{name.replace('_', '-')} is for {what}, which {self.run_or_agent} does not write: leave it out."
                )

    def _melodies(self, agent: Agent, options: dict[str, Any]) -> int:
        temperature = 1.0 if self.temperature is None else self.temperature
        if self.greedy and (self.temperature or self.temperature_final):
            raise DescantError("--greedy is --temperature 0: give one of them.")
        last = temperature if self.temperature_final is None else self.temperature_final
        if greedy := self.greedy or temperature == last == 0:
            temperature = last = 0.0
        if greedy and (self.n or 1) > 1:
            raise DescantError("The likeliest melody is one: leave out --n, or give a --temperature above 0.")
        n = (1 if greedy else 10) if self.n is None else self.n
        wanted = Wanted(n, self.key, self.mode, (temperature, last), self.primer, self.prior, self.seed)
        leave(compose_melodies(agent, options, wanted), self.out, self.json)
        return 0

    def _counterpoint(self, agent: Agent, options: dict[str, Any]) -> int:
        if self.cantus is None:
            raise DescantError(
                "A counterpoint needs a cantus firmus: pass --cantus dorian, or notes such as 'D4 F4 E4 D4'."
            )
        options, said = with_optimum(options)
        own = {k: v for k, v in options.items() if k in ("mask", "reward", "max_notes")}
        if agent.trains:
            own["max_notes"] = len(agent.observation_space.nvec) - _columns_before_cantus()
            if (notes := len(find(self.cantus))) > own["max_notes"]:
                raise DescantError(
                    f"The cantus has {notes} notes, {self.run_or_agent} was trained on up to "
                    f"{own['max_notes']}: cut it into phrases, or train with --set max_notes={notes}."
                )
        position = "above" if self.position is None else self.position
        task = counterpoint_task(self.cantus, position, **own)
        likeliest = self.deterministic or self.greedy
        outcome = evaluate(bound(agent, task), task, likeliest, self.seed)[0]
        files = write_outcome(task, outcome, self.out, f"counterpoint-{position}")
        note = {"said": said} if said else {}
        if self.json:
            print_json(outcome_json(outcome) | {"files": [str(f) for f in files]} | note)
        else:
            print(task.render(outcome.episode, "ansi"))
            print(f"score {outcome.score:.4f} (0 chance, 1 the exact optimum)")
            print(f"note: {said}\nwrote:" if said else "wrote:")
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
    files = {
        "mid": midi.to_midi(score),
        "svg": task.render(outcome.episode, "svg").encode(),
        "wav": audio.to_wav(score),
        "png": pianoroll.to_png(score),
        "abc": abc.to_abc(score).encode(),
        "musicxml": musicxml.to_musicxml(score).encode(),
        "json": (json.dumps(outcome_json(outcome), indent=2) + "\n").encode(),
    }
    return write_together(folder, {f"{stem}.{kind}": content for kind, content in files.items()})
