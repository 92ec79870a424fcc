"""`descant solve`."""

from __future__ import annotations

import dataclasses
import time

from descant.commands.output import print_json
from descant.commands.problems import counterpoint_task
from descant.music.counterpoint import GAMUT
from descant.planning import count_episodes, enumerate_task, follow, optimum
from descant.tasks import replay


@dataclasses.dataclass
class Solve:
    """Compute the best counterpoint to a cantus firmus exactly, and count the legal ones.

    Exit status 1 where every counterpoint breaks a hard rule.

    Example: descant solve --cantus "D4 F4 E4 D4 G4 F4 A4 G4 F4 E4 D4" --position above --count
    """

    cantus: str
    """A name (dorian, phrygian, lydian, mixolydian, aeolian, ionian), notes ("D4 F4 E4 D4"), or a MIDI file."""
    position: str = "above"
    """Where the counterpoint lies: above or below."""
    count: bool = False
    """Count the legal counterpoints of the strict set: no crossing, at most a tenth apart, naturals."""
    json: bool = False
    """Print JSON: {"best": [...], "score", "optimal_count", "legal_count", "seconds"}; score is minus the cost."""

    def run(self) -> int:
        """Print the best line; 1 where even it breaks a hard rule."""
        begin = time.perf_counter()
        task = counterpoint_task(self.cantus, self.position, mask="rules")
        graph = enumerate_task(task)
        plan = optimum(graph)
        actions = follow(plan, 0)
        legal = count_episodes(enumerate_task(task, allowed=task.strict))[0] if self.count else None  # type: ignore[attr-defined]
        seconds = time.perf_counter() - begin
        episode = replay(task, task.starts(), actions)
        if self.json:
            print_json(
                {
                    "best": [str(GAMUT[a]) for a in actions],
                    "score": float(plan.values[0][0]),
                    "optimal_count": plan.count_best(),
                    "legal_count": legal,
                    "seconds": round(seconds, 4),
                }
            )
        else:
            print(task.render(episode, "ansi"))
            print(f"cost {-plan.values[0][0]:g}, shared by {plan.count_best():,} lines; {seconds:.2f} s")
            if legal is not None:
                print(f"{legal:,} legal counterpoints in the strict set")
        return 0 if episode.states[-1].errors[0] == 0 else 1
