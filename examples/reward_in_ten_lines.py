"""A reward of one's own in ten lines: high notes, and the best line under it."""

import descant
from descant.planning import enumerate_task, follow, optimum
from descant.shells import make_task
from descant.tasks import replay

descant.register_reward("high", lambda: lambda state, action, next_state: action / 51)
task = make_task("descant/Counterpoint-v0", cantus="dorian", position="above", reward="high", mask="rules")
best = replay(task, task.starts(), follow(optimum(enumerate_task(task)), start=0))
print(task.render(best, "ansi"))
