"""`descant evaluate`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro

from descant.agent import Agent
from descant.commands.annotators import for_annotator, run_for
from descant.commands.bounds import at_least
from descant.commands.output import findings_json, print_json
from descant.commands.problems import with_optimum
from descant.commands.train import make_env, parse_options
from descant.errors import DescantError, did_you_mean
from descant.evaluation import Outcome, evaluate
from descant.makers import load_agent, make_agent
from descant.registry import agents, build, tasks


@dataclasses.dataclass
class Evaluate:
    """Evaluate a run: on counterpoint its score between chance and the exact optimum, on melodies and translations
    statistics.

    On counterpoint: greedy on Fux's six cantus firmi, above and below, legal or not. On melodies: --n of them are
    drawn, and measured as Jaques et al. 2017 did, with reward, log p and KL beside the prior, copied runs, and overlap
    with tunes held out, each with a 95 % interval. Translations: those of the test sentences, greedy or by --beam, get
    BLEU and chrF from sacrebleu with its signatures, exact match, and what the policy thinks; --against tests them
    against another run's. On other environments: the mean return of --episodes episodes.

    Example: descant evaluate runs/counterpoint-reinforce-0

    Example: descant evaluate runs/note-rnn --n 100000 --json

    Example: descant evaluate runs/translation-rloo-0 --against runs/translation-transformer-0 --beam 5
    """

    run_or_agent: Annotated[str, tyro.conf.Positional]
    """A run folder, a checkpoint, or the name of an agent that needs no training (random, exact)."""
    set: tuple[str, ...] = ()
    """Options of the environment as NAME=VALUE, such as cantus=dorian position=above mask=rules."""
    deterministic: bool = True
    """Take the likeliest action; --no-deterministic draws. Melodies are always drawn, by --temperature."""
    episodes: int = 100
    """How many episodes, on an environment without a known optimum."""
    n: int = 4096
    """Melodies: how many to compose."""
    temperature: float = 1.0
    """Melodies: above 1 is wilder, below 1 safer, 0 the likeliest one."""
    temperature_final: float | None = None
    """Melodies: the temperature of the last step, to which it goes in a line."""
    prior: str | None = None
    """Melodies, translations: a run to measure log p and KL by, in place of the one it was trained with."""
    annotator: str | None = None
    """Evaluate what it writes for an annotator, where the run reads whom it is for."""
    store: str | None = None
    """A store with the annotator's judgements, where the run has not met this one."""
    against: str | None = None
    """Translations: a run to test against, by a paired bootstrap."""
    split: str = "test"
    """Translations: train, val or test."""
    beam: int = 1
    """Translations: width of the beam; 1 is greedy."""
    length_penalty: float = 1.0
    """Translations: a beam's hypotheses are compared by log-probability over length to this power."""
    samples: int = 10
    """Translations: how many to show beside their sources and references."""
    seed: int = 0
    """Seed of what is drawn."""
    device: Literal["cpu", "cuda"] | None = None
    """Where its networks are; by default where they were trained, if this machine has that."""
    json: bool = False
    """Print JSON."""

    def run(self) -> int:
        """Print a table, or JSON."""
        at_least(0, seed=self.seed)
        at_least(1, episodes=self.episodes, n=self.n, beam=self.beam)
        self.run_or_agent = place_of(self.run_or_agent, self.annotator, self.store)
        agent, env_id, options = find_policy(self.run_or_agent, self.annotator, self.store, self.device)
        if env_id == "descant/Translation-v0" and translates(agent):
            return self._translations()
        if env_id == "descant/Melody-v0":
            return self._melodies(agent, options | parse_options(self.set))
        if env_id != "descant/Counterpoint-v0":
            return self._returns(agent, env_id, options | parse_options(self.set))
        options, said = with_optimum(options | parse_options(self.set))
        outcomes = fux_outcomes(agent, options, self.deterministic, self.seed)
        legal = sum(o.metrics["legal"] for o in outcomes.values())
        mean = float(np.mean([o.score for o in outcomes.values()]))
        if self.json:
            problems = [{"problem": name, **outcome_json(o)} for name, o in outcomes.items()]
            every = {"mean_score": mean, "legal": int(legal), "of": len(outcomes), "problems": problems}
            print_json(every | ({"said": said} if said else {}))
            return 0
        print_table(outcomes)
        print(f"mean score {mean:.4f}; {legal:.0f} of {len(outcomes)} without error")
        if said:
            print(f"note: {said}")
        return 0

    def _melodies(self, agent: Agent, options: dict[str, Any]) -> int:
        from descant.commands.evaluate_melodies import evaluate_melodies, leave

        last = self.temperature_final
        temperature = self.temperature if last is None else (self.temperature, last)
        asked = (self.n, temperature, self.prior, self.seed)
        leave(evaluate_melodies(agent, self.run_or_agent, options, *asked), self.json)
        return 0

    def _translations(self) -> int:
        from descant.commands.evaluate_translations import Asked, evaluate_translations, leave

        at_least(0, samples=self.samples)
        more = parse_options(self.set)
        asked = Asked(
            self.split,
            self.beam,
            self.length_penalty,
            self.prior,
            self.against,
            self.samples,
            more,
            self.device,
        )
        leave(evaluate_translations(self.run_or_agent, asked), self.json)
        return 0

    def _returns(self, agent: Agent, env_id: str, options: dict[str, Any]) -> int:
        from descant.rollouts import Collector

        env = make_env(env_id, min(self.episodes, 16), options)
        agent.set_random_seed(self.seed)
        collector, returns = Collector(env), []
        rounds = -(-self.episodes // env.num_envs)
        for i in range(rounds):
            memory: Any = None

            def act(observation: Any, masks: Any, starts: Any) -> Any:
                nonlocal memory
                actions, memory = agent.predict(observation, memory, starts, self.deterministic, masks)
                return np.asarray(actions)

            rollout = collector.episodes(act, seed=self.seed + i)
            returns += (rollout.rewards * rollout.valid).sum(axis=0).tolist()
        kept = np.array(returns[: self.episodes])
        result = {"mean_return": float(kept.mean()), "std_return": float(kept.std()), "episodes": len(kept)}
        if self.json:
            print_json(result)
        else:
            print(f"mean return {kept.mean():.2f} (deviation {kept.std():.2f}) over {len(kept)} episodes")
        return 0


def translates(agent: Agent) -> bool:
    """Whether its policy is an encoder and a decoder: any other on translations has returns alone."""
    network = getattr(agent, "networks", {}).get("policy")
    return network is not None and bool(getattr(network, "cached", False))


def find_agent(name: str, device: str | None = None) -> tuple[Agent, str, dict[str, Any]]:
    """An agent from a run or checkpoint, or one that needs no training; its environment's id and options."""
    if not Path(name).exists() and name in agents:
        if agents.get(name).trains:
            raise DescantError(f"Agent {name!r} has to be trained first: descant train --agent {name}.")
        return make_agent(name, make_env("descant/Counterpoint-v0", 1, {"cantus": "fux"})), *_default()
    if not Path(name).exists():
        raise DescantError(f"{name!r} is no run, checkpoint or agent.{did_you_mean(name, agents.names())}")
    agent = load_agent(name, device=device)
    record = agent.manifest()["env"]
    if record is None:
        raise DescantError(
            f"{name} does not say which environment it was trained on, so it can't be evaluated."
        )
    return agent, record["id"], record["kwargs"]


def place_of(name: str, annotator: str | None, store: str | None) -> str:
    """The run itself, or for an annotator the one for them in a folder; with a store, one that reads whom it is for."""
    return name if annotator is None else run_for(name, annotator, anybody=store is not None)


def find_policy(
    run: str, annotator: str | None, store: str | None, device: str | None = None
) -> tuple[Agent, str, dict[str, Any]]:
    """As `find_agent`; one that reads whom it is for is given the annotator's code."""
    agent, env_id, options = find_agent(run, device)
    policy, own = for_annotator(agent, options, annotator, store)
    return policy, env_id, own


def _default() -> tuple[str, dict[str, Any]]:
    return "descant/Counterpoint-v0", {}


def fux_outcomes(
    agent: Agent, options: dict[str, Any], deterministic: bool = True, seed: int = 0
) -> dict[str, Outcome]:
    """An outcome for each problem, by name such as "dorian above"; Fux's six unless `options` fix a cantus."""
    own = {k: v for k, v in options.items() if k not in ("pool", "pool_seed")}
    if own.get("cantus", "generated") == "generated":
        own["cantus"] = "fux"
    task = build("descant/Counterpoint-v0", tasks.get("descant/Counterpoint-v0"), own)
    if agent.observation_space != task.observation_space:
        raise DescantError(
            "These problems look otherwise than those that the agent was trained on: leave out --set max_notes, "
            "or pass it as in its training."
        )
    names = [f"{problem_name(p.cantus)} {p.position}" for p in task.problems.problems]
    return dict(zip(names, evaluate(bound(agent, task), task, deterministic, seed), strict=True))


def bound(agent: Agent, task: Any) -> Agent:
    """The agent itself, or for one that plans, a new one that plans on this task."""
    if agent.name != "exact":
        return agent
    from descant.shells import TaskVectorEnv

    return make_agent("exact", TaskVectorEnv(task))


def problem_name(cantus: Any) -> str:
    """The name of one of Fux's cantus firmi, else its notes."""
    from descant.music.cantus_firmi import FUX

    named = {line: name for name, line in FUX.items()}
    return named.get(cantus) or " ".join(map(str, cantus))


def outcome_json(outcome: Outcome) -> dict[str, Any]:
    """An outcome as JSON, with its notes and findings."""
    from descant.music.counterpoint import GAMUT

    start = outcome.episode.states[0]
    problem = start.problems.problems[int(start.problems.problem_of(start)[0])]
    return {
        "score": outcome.score,
        "return": outcome.value,
        "optimum": outcome.optimum,
        "random": outcome.random,
        **outcome.metrics,
        "cantus": [str(pitch) for pitch in problem.cantus],
        "position": problem.position,
        "counterpoint": [str(GAMUT[a]) for a in outcome.episode.actions],
        "findings": findings_json(outcome.findings),
    }


def print_table(outcomes: dict[str, Outcome]) -> None:
    """A table on stdout, a row a problem."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Counterpoint, one line each")
    for column, side in (("problem", "left"), *((c, "right") for c in COLUMNS)):
        table.add_column(column, justify=side)  # type: ignore[arg-type]
    for name, o in outcomes.items():
        warnings = sum(f.severity == "warning" for f in o.findings)
        cells = (f"{o.score:.4f}", f"{o.metrics['errors']:.0f}", str(warnings))
        table.add_row(name, *cells, f"{o.value:.4f}", f"{o.optimum:.4f}", f"{o.random:.2f}")
    Console().print(table)


COLUMNS = ("score", "errors", "warnings", "return", "optimum", "random")
