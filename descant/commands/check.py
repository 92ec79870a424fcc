"""`descant check`."""

from __future__ import annotations

import dataclasses

from descant.commands.output import findings_json, print_json, print_verdict
from descant.commands.problems import counterpoint_task, read_notes
from descant.errors import DescantError
from descant.music.counterpoint import actions_of
from descant.tasks import replay


@dataclasses.dataclass
class Check:
    """Check a counterpoint against the rules of first species.

    Exit status 1 where a hard rule is broken.

    Example: descant check --cantus dorian --counterpoint "A4 A4 G4 A4 B4 C5 C5 B4 D5 C#5 D5" --position above
    """

    cantus: str
    """A name (dorian, phrygian, lydian, mixolydian, aeolian, ionian), notes ("D4 F4 E4 D4"), or a MIDI file."""
    counterpoint: str
    """Notes, as many as the cantus has, or a MIDI file."""
    position: str = "above"
    """Where the counterpoint lies: above or below."""
    json: bool = False
    """Print JSON: {"legal": bool, "findings": [{"rule", "severity", "position", "cost", "message"}]}."""

    def run(self) -> int:
        """Print the findings; 1 where there is an error."""
        task = counterpoint_task(self.cantus, self.position)
        line = read_notes(self.counterpoint)
        cantus = task.problems.problems[0].cantus  # type: ignore[attr-defined]
        if len(line) != len(cantus):
            raise DescantError(
                f"The cantus has {len(cantus)} notes, the counterpoint {len(line)}: write one note against each."
            )
        episode = replay(task, task.starts(), actions_of(line))
        findings = task.rules.explain(episode)  # type: ignore[attr-defined]
        legal = not any(f.severity == "error" for f in findings)
        if self.json:
            print_json({"legal": legal, "findings": findings_json(findings)})
        else:
            print(task.render(episode, "ansi"))  # names the errors itself
            print_verdict(findings)
        return 0 if legal else 1
