"""`descant prefs label`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import tyro

from descant.commands.bounds import at_least
from descant.commands.output import print_json
from descant.errors import DescantError
from descant.preferences.records import check_annotator
from descant.preferences.store import Store
from descant.preferences.tastes import parse_taste
from descant.preferences.teachers import Annotator, Teacher, find_teacher, label, population

TEACHERS_OWN = ("annotator", "temperature", "mistake", "skip_below", "tie_within", "gamma", "limit")


@dataclasses.dataclass
class Label:
    """Judge pairs: in a page of the browser, or by a simulated annotator.

    The page is served to this machine alone, until Ctrl-C; the link that is printed opens it once. A teacher judges
    what it has not judged yet and ends. Tastes: steps, leaps, high, contrary, repeats, rewards such as fux, weighted.

    Example: descant prefs label taste.db --teacher noisy --taste steps=1,high=0.5 --temperature 0.2
    """

    store: Annotated[Path, tyro.conf.Positional]
    """A store with pairs."""
    port: int = 8000
    """The page: where it is served; 0 takes a free port."""
    host: str = "127.0.0.1"
    """The page: the address it is served at."""
    expose_to_network: bool = False
    """The page: allow a --host that other machines can reach. Nothing is encrypted."""
    min_seconds: float = 3.0
    """The page: seconds of each clip to be heard (or of reading) before a judgement."""
    teacher: str | None = None
    """Judge by a teacher: perfect, noisy, mistaken, skipping, myopic or tying."""
    taste: str = "fux"
    """What the teacher likes: TERM=WEIGHT,..., or a population's name."""
    population: str | None = None
    """Many with different tastes: step-, leap-, high-, low-, contrary-, rule-lovers, as step-lovers:5,low-lovers:3."""
    annotator: str | None = None
    """The teacher's name in the store; its kind where none is given."""
    temperature: float | None = None
    """Teachers: noise, in units of the taste."""
    mistake: float | None = None
    """Teachers: probability of the wrong answer."""
    skip_below: float | None = None
    """Teachers: skip where both clips are worth less."""
    tie_within: float | None = None
    """Teachers: a tie where clips differ by less."""
    gamma: float | None = None
    """Teachers: below 1, the end of a clip counts more."""
    limit: int | None = None
    """Teachers: judge at most so many pairs each."""
    seed: int = 0
    """Teachers: seed of noise and mistakes."""
    json: bool = False
    """Teachers: print JSON."""

    def run(self) -> int:
        """Serve the page, or let the teachers judge."""
        at_least(0, seed=self.seed)
        at_least(1, limit=self.limit)
        if self.teacher is not None or self.population is not None:
            return self._teach()
        self._refuse_teachers_options()
        return self._serve()

    def _refuse_teachers_options(self) -> None:
        """DescantError for an option that the page would pass over: a teacher was meant and forgotten."""
        for name in TEACHERS_OWN:
            if getattr(self, name) is not None:
                raise DescantError(
                    f"--{name.replace('_', '-')} is for teachers: pass --teacher or --population too, or leave it out."
                )

    def _serve(self) -> int:
        """Serve the page until Ctrl-C."""
        from descant.preferences.serving import serve

        if not 0 <= self.min_seconds <= 3600:
            raise DescantError(f"--min-seconds must be 0 to 3600, not {self.min_seconds}.")
        if not 0 <= self.port <= 65535:
            raise DescantError(f"--port must be 0 to 65535, not {self.port}.")
        serve(
            self.store,
            host=self.host,
            port=self.port,
            expose=self.expose_to_network,
            min_seconds=self.min_seconds,
        )
        return 0

    def _teach(self) -> int:
        """Let one annotator judge, or a population."""
        annotators = self._annotators()
        with Store(self.store) as store:
            counts = {who.name: label(store, who, self.seed, self.limit) for who in annotators}
        if self.json:
            print_json({"store": str(self.store), "judged": counts})
        else:
            for name, choices in counts.items():
                print(
                    f"{name:<20} "
                    + (", ".join(f"{n} {c}" for c, n in sorted(choices.items())) or "nothing new")
                )
        return 0

    def _annotators(self) -> list[Annotator]:
        teacher = self._teacher()
        if self.population is None:
            name = str(self.teacher) if self.annotator is None else self.annotator
            check_annotator(name)
            return [Annotator(name, teacher, parse_taste(self.taste))]
        if self.annotator is not None:
            raise DescantError("--annotator names one teacher, --population names its own: give one of them.")
        return population(self.population, teacher)

    def _teacher(self) -> Teacher:
        options: dict[str, Any] = {
            f.name: value for f in dataclasses.fields(Teacher) if (value := getattr(self, f.name)) is not None
        }
        return dataclasses.replace(find_teacher(self.teacher or "perfect"), **options)
