"""A reward of one's own: Fux's rules, and every leap costs ten times what it does there.

Run it: python examples/own_reward.py
"""

from __future__ import annotations

import descant
from descant.planning import enumerate_task, follow, optimum
from descant.shells import make_task
from descant.tasks import replay


class Calm:
    """`fux`, and `price` more for every leap: a reward is a function of batches, and says why."""

    def __init__(self, price: float = 0.005) -> None:
        self.fux, self.price = descant.make_reward("fux"), price

    def terms(self, state, action, next_state):
        """The parts by name, float[n] each."""
        return {**self.fux.terms(state, action, next_state), "calm": -self.price * (next_state.leap > 0)}

    def __call__(self, state, action, next_state):
        """Their sum, float[n]."""
        return self.fux(state, action, next_state) - self.price * (next_state.leap > 0)

    def explain(self, episode):
        """What Fux would say."""
        return self.fux.explain(episode)


def main() -> None:
    """Show the best counterpoint under `fux` and under the new reward."""
    descant.register_reward("calm", Calm)
    for reward in ("fux", "calm"):
        task = make_task("descant/Counterpoint-v0", cantus="dorian", position="above", reward=reward)
        best = replay(task, task.starts(), follow(optimum(enumerate_task(task)), start=0))
        leaps = sum(int(state.leap[0] > 0) for state in best.states)
        print(f"The best line under {reward!r} has {leaps} leaps:\n{task.render(best, 'ansi')}\n")


if __name__ == "__main__":
    main()
