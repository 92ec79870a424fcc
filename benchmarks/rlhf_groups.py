"""Groups of annotators who disagree: reward models that know it and one that does not, and policies tuned on each.

Pluralism three ways (Sorensen et al., *A roadmap to pluralistic alignment*, 2024): steerable, a policy for each group;
distributional, a mixture of these in the population's shares; Overton, a few melodies that have something for everyone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from descant.agent import Agent
from descant.conditioning import Given
from descant.preferences.records import Clip
from descant.preferences.tastes import parse_taste, step_rewards
from descant.preferences.teachers import Annotator, Teacher
from descant.registry import load
from descant.reward_models.comparisons import ANSWERS, Comparisons, make_comparisons
from descant.reward_models.fitting import fit
from descant.reward_models.models import CONFIGS
from descant.reward_models.saving import load_reward_model, save_reward_model
from descant.reward_models.views import View, view_of
from descant.tasks import Floats, Ints

from .rl_tuner_prior import ENV, Prior, prior_in
from .rlhf_policies import clips_of, preferred, seeds, tune, writes
from .rlhf_settings import GroupSettings

COMPARED, FITTED, TUNED, MEASURED, DRAWN, NEWCOMERS = range(10, 16)  # streams of random numbers
NEW = "new"  # before the group's name: for one of it whom nobody has met
LIKED = 0.9  # a group likes what it ranks above this share of the prior's melodies
SETS = 1000  # of melodies, over which coverage is averaged


@dataclasses.dataclass
class Groups:
    """One seed's groups, in a folder for its reward models."""

    home: Prior
    settings: GroupSettings
    seed: int
    folder: Path

    @property
    def names(self) -> list[str]:
        """Of the groups."""
        return list(self.settings.groups)

    @property
    def annotators(self) -> list[Annotator]:
        """All of them, group by group."""
        teacher = Teacher(self.settings.temperature)
        return [
            Annotator(f"{name}-{i}", teacher, self.tastes[name])
            for name, count in self.settings.groups.items()
            for i in range(1, count + 1)
        ]

    @property
    def tastes(self) -> dict[str, dict[str, float]]:
        """Of the groups, by name."""
        return {name: parse_taste(self.settings.tastes[name]) for name in self.names}

    def run(self) -> dict[str, Any]:
        """Accuracy of each kind of reward model; what the groups think of policies; the three ways of pluralism."""
        accuracy = self.fitted()
        worths, kl = self.measured(self.tuned())
        return (
            {"accuracy": accuracy, "kl": kl} | self.judged(worths) | self.mixed(worths) | self.covered(worths)
        )

    def read(self) -> dict[str, Any]:
        """The same of one policy that reads z, and what it writes for people whom nobody has met.

        Of each group there is one, whose code is read off as many answers as a context of the reward model has.
        """
        accuracy = self.fitted()
        one = self._tuned_on("vpl", annotators="all")
        policies: dict[str, Any] = {"prior": self.home.agent, "btl": self._tuned_on("btl")}
        model = load_reward_model(self.folder / "vpl").model
        met = model.codes_of_annotators().numpy()
        for name in self.names:
            policies[name] = Given(one, met[model.annotator(f"{name}-1")])
        for name, code in self.newcomers(model).items():
            policies[f"{NEW} {name}"] = Given(one, code)
        worths, kl = self.measured(policies)
        new = {g: preferred(worths[f"{NEW} {g}"][g], worths["btl"][g]) for g in self.names}
        known = {name: worth for name, worth in worths.items() if not name.startswith(NEW)}
        return {"accuracy": accuracy, "kl": kl, "newcomers": new} | self.judged(known)

    def fitted(self) -> dict[str, float]:
        """Fit the reward models and keep them; the accuracy of each on comparisons held out."""
        data, view = self.compared()
        accuracy = {}
        for kind, options in self.settings.models.items():
            config = load(CONFIGS[kind])(**options, seed=seeds(self.seed, FITTED))
            fitted = fit(kind, view.space, data, config)
            accuracy[kind] = fitted.report["accuracy"]["value"]
            save_reward_model(self.folder / kind, fitted, view)
        return accuracy

    def newcomers(self, model: Any) -> dict[str, Floats]:
        """The code of somebody new of each group, float64[d], read off answers about other melodies of the prior."""
        n, rng = model.config.context, np.random.default_rng([self.seed, NEWCOMERS])
        found = writes(self.home.agent, self.home, 2 * n, seeds(self.seed, NEWCOMERS))
        clips, items = clips_of(found, self.home, "prior"), view_of(ENV, found.last).items(found.last)
        teacher, codes = Teacher(self.settings.temperature), {}
        for name, taste in self.tastes.items():
            own, pairs = worth_of(clips, taste), drawn_pairs(2 * n, n, rng)
            answers = [ANSWERS[teacher.answer(own[a], own[b], rng)] for a, b in pairs.tolist()]
            codes[name] = model.read_code(make_comparisons(items, pairs, answers)).double().numpy()
        return codes

    def compared(self) -> tuple[Comparisons, View]:
        """Pairs of the prior's melodies drawn for each annotator, and what they say."""
        s = self.settings
        found = writes(self.home.agent, self.home, s.clips, seeds(self.seed, COMPARED))
        clips, people = clips_of(found, self.home, "prior"), self.annotators
        worth = {name: worth_of(clips, taste) for name, taste in self.tastes.items()}
        rng = np.random.default_rng([self.seed, COMPARED])
        pairs = np.concatenate([drawn_pairs(s.clips, s.each, rng) for _ in people])
        who = np.repeat(np.arange(len(people)), s.each)
        answers = []
        for i, (a, b) in zip(who.tolist(), pairs.tolist(), strict=True):
            own = worth[group_of(people[i])]
            answers.append(ANSWERS[people[i].teacher.answer(own[a], own[b], rng)])
        view = view_of(ENV, found.last)
        data = make_comparisons(view.items(found.last), pairs, answers, who)
        return dataclasses.replace(data, names=tuple(person.name for person in people)), view

    def tuned(self) -> dict[str, Any]:
        """The prior, one tuned on btl, and one for each group, tuned on vpl with the code of its first annotator."""
        each = {name: self._tuned_on("vpl", annotator=f"{name}-1") for name in self.names}
        return {"prior": self.home.agent, "btl": self._tuned_on("btl"), **each}

    def _tuned_on(self, kind: str, **whose: Any) -> Agent:
        """A policy tuned on one of the reward models."""
        s, reward = self.settings, {"name": "preference", "path": str(self.folder / kind), **whose}
        return tune(self.home, reward, seeds(self.seed, TUNED), s.steps, s.kl_target, s.tuning)

    def measured(self, policies: Mapping[str, Any]) -> tuple[dict[str, dict[str, Floats]], dict[str, float]]:
        """What melodies are worth to each group, float64[n] by policy and group; KL of each policy to the prior."""
        worths, kl = {}, {}
        for place, (name, policy) in enumerate(policies.items()):
            found = writes(policy, self.home, self.settings.compositions, seeds(self.seed, MEASURED, place))
            assert found.kl is not None
            clips, kl[name] = clips_of(found, self.home, name), float(found.kl.mean())
            worths[name] = {group: worth_of(clips, taste) for group, taste in self.tastes.items()}
        return worths, kl

    def judged(self, worths: Mapping[str, Mapping[str, Floats]]) -> dict[str, Any]:
        """Steerable: share of pairs in which a group prefers its policy to btl's, to the prior, to those of others."""
        against = {
            group: {
                other: preferred(worths[group][group], worths[other][group])
                for other in worths
                if other != group
            }
            for group in self.names
        }
        return {"preferred": against}

    def mixed(self, worths: Mapping[str, Mapping[str, Floats]]) -> dict[str, Any]:
        """Distributional: shares of the groups wanted, and those of the melodies of a mixture, of btl, of the prior.

        A melody is of the group to which it is worth most, in deviations of the prior's melodies from their mean.
        """
        wanted = np.array([self.settings.groups[name] for name in self.names], float)
        wanted /= wanted.sum()
        whose = {policy: self._whose(worths, policy) for policy in worths}
        reached = {policy: shares_of(rows, len(self.names)) for policy, rows in whose.items()}
        mixture = sum(share * reached[name] for share, name in zip(wanted, self.names, strict=True))
        every = {"mixture": mixture, "btl": reached["btl"], "prior": reached["prior"]}
        return {
            "wanted": wanted.tolist(),
            "reached": {name: shares.tolist() for name, shares in every.items()},
            "distance": {name: 0.5 * float(np.abs(shares - wanted).sum()) for name, shares in every.items()},
        }

    def _whose(self, worths: Mapping[str, Mapping[str, Floats]], policy: str) -> Ints:
        """The group of each melody of a policy: int64[n]."""
        scaled = []
        for group in self.names:
            usual = worths["prior"][group]
            scaled.append((worths[policy][group] - usual.mean()) / max(float(usual.std()), 1e-12))
        return np.asarray(np.stack(scaled).argmax(axis=0))

    def covered(self, worths: Mapping[str, Mapping[str, Floats]]) -> dict[str, Any]:
        """Overton: share of the groups that like a melody of a set: of one for each group, or as many of btl, prior."""
        rng, k = np.random.default_rng([self.seed, DRAWN]), len(self.names)
        sets = {"one of each": self.names, "btl": ["btl"] * k, "prior": ["prior"] * k}
        coverage = {}
        for name, writers in sets.items():
            rows = rng.integers(0, self.settings.compositions, (k, SETS))
            liked = [
                [
                    worths[w][g][own] > np.quantile(worths["prior"][g], LIKED)
                    for w, own in zip(writers, rows, strict=True)
                ]
                for g in self.names
            ]
            coverage[name] = float(np.array(liked).any(axis=1).mean())
        return {"coverage": coverage}


def worth_of(clips: Sequence[Clip], taste: Mapping[str, float]) -> Floats:
    """What clips are worth by a taste: float64[n]."""
    return np.array([float(steps.sum()) for steps in step_rewards(clips, taste)])


def group_of(annotator: Annotator) -> str:
    """The group that an annotator is named after."""
    return annotator.name.rpartition("-")[0]


def drawn_pairs(clips: int, n: int, rng: np.random.Generator) -> Ints:
    """Pairs of different clips, int64[n, 2]."""
    first = rng.integers(0, clips, n)
    return np.stack([first, (first + rng.integers(1, clips, n)) % clips], axis=1)


def shares_of(rows: Ints, groups: int) -> Floats:
    """Share of each group in int64[n]: float64[groups]."""
    return np.asarray(np.bincount(rows, minlength=groups) / len(rows))


def disagreeing(seed: int, settings: Mapping[str, Any], prior: dict[str, Any], folder: str) -> dict[str, Any]:
    """The job."""
    with TemporaryDirectory() as place:
        return Groups(prior_in(folder, prior), GroupSettings(**settings), seed, Path(place)).run()


def at_one_price(
    seed: int, settings: Mapping[str, Any], prior: dict[str, Any], folder: str
) -> dict[str, Any]:
    """The job whose policies all pay the same for a nat: those of `disagreeing` each pay what spends their KL."""
    return disagreeing(seed, settings, prior, folder)


def reading(seed: int, settings: Mapping[str, Any], prior: dict[str, Any], folder: str) -> dict[str, Any]:
    """The job with one policy for all, that reads z."""
    with TemporaryDirectory() as place:
        return Groups(prior_in(folder, prior), GroupSettings(**settings), seed, Path(place)).read()
