"""How long programs take that a person waits for: the exact optimum, a check, the import."""

from __future__ import annotations

import subprocess
import sys
import time

from descant.registry import tasks

from .speed_rows import Row


def measure() -> list[Row]:
    """Every row. Takes a few seconds."""
    return [slowest_solve(), check_work(), import_time()]


def slowest_solve() -> Row:
    """Seconds for the exact optimum and the count, the slowest of the twelve Fux problems."""
    from descant.music.cantus_firmi import FUX
    from descant.planning import count_episodes, enumerate_task, optimum

    times = {}
    for name in FUX:
        for position in ("above", "below"):
            begin = time.perf_counter()
            task = tasks.get("descant/Counterpoint-v0")(cantus=name, position=position, mask="rules")
            optimum(enumerate_task(task))
            count_episodes(enumerate_task(task, allowed=task.strict))
            times[f"{name} {position}"] = time.perf_counter() - begin
    worst = max(times, key=lambda key: times[key])
    return Row("solve, the slowest of twelve", times[worst], "s", bar=2.0, at_most=True, detail=worst)


def check_work() -> Row:
    """Seconds of work of `descant check`, imports of the program left out."""
    from descant.music.counterpoint import actions_of
    from descant.music.pitches import parse_line
    from descant.tasks import replay

    begin = time.perf_counter()
    task = tasks.get("descant/Counterpoint-v0")(cantus="D4 F4 E4 D4 G4 F4 A4 G4 F4 E4 D4", position="above")
    line = parse_line("A4 A4 G4 A4 B4 C5 C5 B4 D5 C#5 D5")
    task.rules.explain(replay(task, task.starts(), actions_of(line)))
    return Row("check", time.perf_counter() - begin, "s", bar=0.3, at_most=True)


def import_time() -> Row:
    """Seconds of `import descant` in a fresh interpreter, the best of five."""
    code = "import time; t = time.perf_counter(); import descant; print(time.perf_counter() - t)"
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        for _ in range(5)
    ]
    return Row("import descant", min(float(r.stdout) for r in runs), "s", bar=0.3, at_most=True)
