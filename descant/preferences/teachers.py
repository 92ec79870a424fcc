"""Teachers: simulated annotators, after B-Pref (Lee et al. 2021), for tests and pipelines.

A teacher compares the returns of two clips: sums over steps of a taste's reward, discounted towards the end where it is
myopic (gamma^(T - t)). Temperature divides the returns: B-Pref's beta is 1 / temperature. As there, a skip needs both
clips to be worth less than a threshold, and a tie a difference of less than another.
"""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from descant.errors import DescantError, did_you_mean
from descant.preferences.records import Clip, Judgement
from descant.preferences.store import Store
from descant.preferences.tastes import POPULATIONS, parse_taste, step_rewards
from descant.tasks import Floats


@dataclass(frozen=True)
class Teacher:
    """How an annotator answers, given what each clip is worth to it.

    `temperature` 0 always prefers the higher return, above 0 with probability sigmoid(difference / temperature);
    `mistake` is the probability of answering the other; returns below `skip_below` are skipped where both are;
    differences of less than `tie_within` are ties; `gamma` below 1 forgets what is long past.
    """

    temperature: float = 0.0
    mistake: float = 0.0
    skip_below: float = -math.inf
    tie_within: float = 0.0
    gamma: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise DescantError(
                f"A teacher's temperature must be 0 (no noise) or more, not {self.temperature}."
            )
        if not 0 <= self.mistake <= 1:
            raise DescantError(f"mistake must be a probability, 0 to 1, not {self.mistake}.")
        if not 0 <= self.tie_within < math.inf or math.isnan(self.skip_below):
            raise DescantError("tie_within must be 0 or more, and skip_below a number.")
        if not 0 < self.gamma <= 1:
            raise DescantError(f"gamma must be above 0 and at most 1, not {self.gamma}.")

    def value(self, rewards: Floats) -> float:
        """The return of a clip's step rewards float[T] as the teacher remembers them."""
        return float((rewards * self.gamma ** np.arange(len(rewards) - 1, -1, -1)).sum())

    def answer(self, a: float, b: float, rng: np.random.Generator) -> str:
        """The choice between clips worth `a` and `b`. Draws two numbers, whatever the answer."""
        noise, slip = rng.random(2)
        if max(a, b) < self.skip_below:
            return "skip"
        if a == b or abs(a - b) < self.tie_within:
            return "tie"
        prefers_a = a > b if self.temperature == 0 else noise < _sigmoid((a - b) / self.temperature)
        return "a" if prefers_a != (slip < self.mistake) else "b"


def _sigmoid(x: float) -> float:
    return 0.5 * (1.0 + math.tanh(x / 2.0))


TEACHERS: dict[str, Teacher] = {
    "perfect": Teacher(),
    "noisy": Teacher(temperature=1.0),
    "mistaken": Teacher(mistake=0.1),
    "skipping": Teacher(skip_below=0.0),
    "myopic": Teacher(gamma=0.9),
    "tying": Teacher(tie_within=0.1),
}
"""B-Pref's kinds. Thresholds are in units of the taste: options change them."""


@dataclass(frozen=True)
class Annotator:
    """A name, how it answers, and what it likes."""

    name: str
    teacher: Teacher
    taste: Mapping[str, float]


def find_teacher(name: str) -> Teacher:
    """The teacher of that name; DescantError where there is none."""
    if name not in TEACHERS:
        raise DescantError(f"There is no teacher {name!r}.{did_you_mean(name, TEACHERS)}")
    return TEACHERS[name]


def population(text: str, teacher: Teacher) -> list[Annotator]:
    """Annotators from `step-lovers:5,low-lovers:5`: so many of each taste, named step-lovers-1 and so on."""
    made: list[Annotator] = []
    for part in text.split(","):
        name, _, number = part.strip().partition(":")
        if number and not (number.isdigit() and 1 <= int(number) <= 1000):
            raise DescantError(f"{part!r}: say how many annotators, such as {name}:5.")
        if name not in POPULATIONS:
            raise DescantError(f"There is no population {name!r}.{did_you_mean(name, POPULATIONS)}")
        if any(annotator.name == f"{name}-1" for annotator in made):
            raise DescantError(f"{name} stand there twice: give their number once, such as {name}:5.")
        made += [Annotator(f"{name}-{i}", teacher, parse_taste(name)) for i in range(1, int(number or 1) + 1)]
    return made


def label(store: Store, annotator: Annotator, seed: int = 0, limit: int | None = None) -> dict[str, int]:
    """Judge the pairs that this annotator has not judged, at most `limit`; how often each choice was made.

    Same seed, same answers.
    """
    pairs = store.next_pairs(annotator.name, -1 if limit is None else limit)
    clips = {clip.hash: clip for clip in store.clips()}
    wanted = list(dict.fromkeys(hash for pair in pairs for hash in pair.sides))
    worth = dict(zip(wanted, _values([clips[h] for h in wanted], annotator), strict=True))
    counts: dict[str, int] = {}
    with store.transaction():
        for pair in pairs:
            # A stream of each pair's own: answers do not depend on which others are asked.
            stream = uuid.uuid5(uuid.UUID(pair.uuid), f"{seed} {annotator.name}").int
            choice = annotator.teacher.answer(worth[pair.a], worth[pair.b], np.random.default_rng(stream))
            counts[choice] = counts.get(choice, 0) + 1
            now = time.time()
            store.judge(Judgement(pair.uuid, annotator.name, choice, shown=now, decided=now))
    return counts


def _values(clips: Sequence[Clip], annotator: Annotator) -> list[float]:
    return [annotator.teacher.value(rewards) for rewards in step_rewards(clips, annotator.taste)]
