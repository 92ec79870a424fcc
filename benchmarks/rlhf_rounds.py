"""Rounds of learning from a teacher: write, compare, fit, tune; what each policy is then worth to the teacher."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from descant.agent import Agent
from descant.compositions import Compositions
from descant.makers import make_agent
from descant.preferences.pairs import make_pairs
from descant.preferences.records import Clip
from descant.preferences.store import Store
from descant.preferences.teachers import Annotator, Teacher, label
from descant.reward_models.comparisons import read_comparisons
from descant.reward_models.fitting import fit
from descant.reward_models.models import Config
from descant.reward_models.saving import Saved, load_reward_model, save_reward_model

from .rl_tuner_prior import ENV, Prior, prior_in
from .rlhf_policies import agreement, clips_of, preferred, proxy_of, rules, seeds, tune, writes
from .rlhf_settings import Settings

MEASURED, ASKED, FITTED, TUNED = range(4)  # streams of random numbers


@dataclasses.dataclass
class Loop:
    """One seed's rounds, in a folder for its store and reward models."""

    home: Prior
    settings: Settings
    seed: int
    folder: Path

    def run(self) -> dict[str, Any]:
        """What `gauge` says, and the comparisons asked so far: of each round; of `first`, round 1's reward model
        with the KL of the last, which tells what of a rise is of the KL alone; of dpo on all comparisons.
        """
        found, policy, saved = [], None, None
        with Store.create(self.folder / "taste.db") as store:
            for number in range(1, self.settings.rounds + 1):
                self._ask(store, policy, saved, number)
                saved = self._fit(store, number)
                budget = self.settings.budget(number)
                policy = self._tune(self._reward(number), number, budget)
                told = {"comparisons": store.counts()["judgements"], "budget": budget}
                found.append(self.gauge(policy, saved) | told)
        assert saved is not None
        told = {"comparisons": found[0]["comparisons"], "budget": budget}
        first = self._tune(self._reward(1), self.settings.rounds + 1, budget)
        straight = {"comparisons": found[-1]["comparisons"]}
        return {
            "rounds": found,
            "first": self.gauge(first, load_reward_model(self._model(1))) | told,
            "dpo": self.gauge(self._dpo(), saved) | straight,
        }

    def _reward(self, number: int) -> dict[str, Any]:
        """The reward that a round's model makes."""
        return {"name": "preference", "path": str(self._model(number)), "mode": self.settings.mode}

    def _ask(self, store: Store, policy: Agent | None, saved: Saved | None, number: int) -> None:
        """New clips, pairs of them, and the teacher's answers, into the store."""
        clips, n = self._written(policy, number), self.settings.pairs[number - 1]
        rng = np.random.default_rng([self.seed, ASKED, number])
        known: dict[str, Any] = (
            {} if saved is None else {"scores": saved.scores_of(clips), "model_hash": saved.hash}
        )
        strategy = "random" if saved is None else self.settings.strategy
        pairs = make_pairs(clips, n, strategy, repeat=0.0, rng=rng, **known)
        with store.transaction():
            for clip in clips:
                store.add_clip(clip)
            for (
                pair
            ) in pairs:  # named by the seed, so that the teacher, who draws by the name, is the same again
                store.add_pair(dataclasses.replace(pair, uuid=str(uuid.UUID(bytes=rng.bytes(16), version=4))))
        label(store, self.teacher, self.seed)

    @property
    def teacher(self) -> Annotator:
        """Likes the taste, noisily."""
        taste = {f"rl-tuner/{term}": weight for term, weight in self.settings.taste.items()}
        return Annotator("teacher", Teacher(self.settings.temperature), taste)

    def _written(self, policy: Agent | None, number: int) -> list[Clip]:
        """Clips of the prior in the first round, then of the last round's policy. None twice."""
        writer, source = (self.home.agent, "prior") if policy is None else (policy, f"round {number - 1}")
        found = writes(writer, self.home, self.settings.clips, seeds(self.seed, ASKED, number))
        return list({clip.content: clip for clip in clips_of(found, self.home, source)}.values())

    def _fit(self, store: Store, number: int) -> Saved:
        """An ensemble on all that was answered so far."""
        data, view, _ = read_comparisons(store)
        config = Config(**self.settings.model, seed=seeds(self.seed, FITTED, number))
        save_reward_model(self._model(number), fit("btl", view.space, data, config), view)
        return load_reward_model(self._model(number))

    def _model(self, number: int) -> Path:
        return self.folder / f"model-{number}"

    def _tune(self, reward: Any, number: int, kl_target: float) -> Agent:
        s = self.settings
        return tune(self.home, reward, seeds(self.seed, TUNED, number), s.steps, kl_target, s.tuning)

    def _dpo(self) -> Agent:
        """A policy straight from all comparisons."""
        store, seed = str(self.folder / "taste.db"), seeds(self.seed, TUNED, 0)
        env = make_env(self.home)
        agent = make_agent(
            "dpo", env, comparisons=store, prior=self.home.path, beta=self.settings.beta, seed=seed
        )
        agent.learn(10**9)  # until what is held out gets no better
        return agent

    def by_rules(self) -> dict[str, Any]:
        """The same tuning on the teacher's taste itself, step by step, in units of the teacher's noise."""
        reward = rules(self.home, self.settings.taste, 1 / self.settings.temperature)
        kl_target = self.settings.kl_target
        return self.gauge(self._tune(reward, 0, kl_target), None) | {"budget": kl_target}

    def gauge(self, policy: Agent, saved: Saved | None) -> dict[str, Any]:
        """What a policy writes: gold and proxy, KL and log p a step, how often the teacher prefers it to the prior.

        `accuracy` of the reward model, where there is one, on pairs of the prior and (`accuracy_own`) of the policy.
        """
        own, prior = self._measured(policy), self._measured(self.home.agent)
        assert own.kl is not None
        assert own.log_prior is not None
        said = {
            "gold": float(own.rewards.mean()),
            "kl": float(own.kl.mean()),
            "log_p": float(own.log_prior.mean()),
            "preferred": preferred(own.rewards, prior.rewards),
            "distinct": len(np.unique(own.actions, axis=0)) / len(own),
            "samples": own.actions[:3].tolist(),
        }
        if saved is None:
            return said
        scores = {"own": proxy_of(saved, own), "prior": proxy_of(saved, prior)}
        return said | {
            "proxy": float(scores["own"].mean() - scores["prior"].mean()),
            "accuracy": agreement(scores["prior"], prior.rewards),
            "accuracy_own": agreement(scores["own"], own.rewards),
        }

    def _measured(self, policy: Agent) -> Compositions:
        stream = seeds(self.seed, MEASURED, int(policy is self.home.agent))
        return writes(
            policy, self.home, self.settings.compositions, stream, rules(self.home, self.settings.taste)
        )


def make_env(home: Prior) -> Any:
    """One row of the prior's environment."""
    import gymnasium

    return gymnasium.make_vec(ENV, num_envs=1, **home.options)


def loop_of(seed: int, settings: Mapping[str, Any], prior: dict[str, Any], folder: str, place: str) -> Loop:
    """What jobs are told as a loop."""
    return Loop(prior_in(folder, prior), Settings(**settings), seed, Path(place))


def learned(seed: int, settings: Mapping[str, Any], prior: dict[str, Any], folder: str) -> dict[str, Any]:
    """The rounds, and dpo."""
    with TemporaryDirectory() as place:
        return loop_of(seed, settings, prior, folder, place).run()


def by_rules(seed: int, settings: Mapping[str, Any], prior: dict[str, Any], folder: str) -> dict[str, Any]:
    """Tuning on the gold reward itself."""
    return loop_of(seed, settings, prior, folder, "").by_rules()


def untuned(seed: int, settings: Mapping[str, Any], prior: dict[str, Any], folder: str) -> dict[str, Any]:
    """The prior itself."""
    loop = loop_of(seed, settings, prior, folder, "")
    return loop.gauge(loop.home.agent, None)
