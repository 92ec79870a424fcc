"""BC: behaviour cloning. The policy learns to take the actions of demonstrations, by cross-entropy.

    loss = -mean over steps of log pi(a_t | o_t),    (o_t, a_t) from a file or from a teacher's episodes

A share of the episodes is held out; where their loss stops falling, training stops and the best weights are taken
back. What comes out is a prior for the agents that take one. With `scheduled_sampling` (Bengio et al. 2015), a growing
share of the actions that lead to an observation is the policy's own, while the targets stay the teacher's: differences
from the paper are that whole observations change and not only the last token, and that the share grows in a line.

On `descant/Translation-v0` a network that translates is trained by teacher forcing, a sentence in one pass, with
dropout, label smoothing (Szegedy et al. 2016) over the words that may be written, and a learning rate that warms up. A
file may hold translations (`descant.text.examples`); with scheduled sampling the policy writes on from its own words.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from descant import parallel
from descant.agent import Environment, Parts
from descant.devices import DeviceConfig
from descant.errors import DescantError
from descant.neural import NeuralAgent, under, valid_parts
from descant.policies.categorical import MASKED, chosen, masked_log_softmax, sample
from descant.policies.encoders import to_tensor
from descant.policies.making import make_network
from descant.policies.networks import Network
from descant.policies.translators import TranslationNetwork
from descant.rollouts import Collector, Rollout
from descant.tasks import Bools, Ints
from descant.text.examples import Examples
from descant.text.vocabularies import EOS

from .demonstrations import demonstrations, join, load_demonstrations, plain, take_episodes
from .teachers import make_teacher

if TYPE_CHECKING:
    from descant.runs.checkpoints import Checkpoint

MEASURED = 1024  # episodes that pass through the network at once where there is nothing to learn
SORTED = 32  # batches of translations within which those of a length go together


@dataclasses.dataclass(frozen=True)
class Config(DeviceConfig):
    """What can be chosen of behaviour cloning."""

    num_envs: int = 64
    """Episodes that the teacher plays at once, where the agent makes its environment from an id."""
    teacher: str = "exact"
    """Who plays the episodes: exact, or a run or checkpoint."""
    data: str = ""
    """A safetensors file of demonstrations, in place of a teacher."""
    heldout: str = ""
    """A file of demonstrations to hold out, in place of a share of data."""
    episodes: int = 1024
    """How many the teacher plays."""
    holdout: float = 0.1
    """Share of the episodes held out."""
    patience: int = 10
    """Stop after so many epochs in which the held-out loss did not fall; 0 never stops."""
    epoch: int = 0
    """Episodes in an epoch, drawn anew for each; 0 for all."""
    batch_size: int = 32
    """Episodes in a gradient step."""
    scheduled_sampling: float = 0.0
    """Share of the policy's own actions at the end of the training; needs a teacher."""
    learning_rate: float = 1e-3
    """Adam's step size at the beginning."""
    lr_schedule: Literal["constant", "linear", "inverse-sqrt"] = "constant"
    """linear falls to zero at the end of the training, inverse-sqrt with the root of the gradient steps."""
    warmup: int = 0
    """Gradient steps in which the learning rate rises from zero, in a line."""
    label_smoothing: float = 0.0
    """Share of the target that all allowed actions have alike."""
    dropout: float = 0.0
    """Share of what is dropped in training, by a network that translates."""
    max_grad_norm: float = 1.0
    """Longest gradient."""
    hidden: tuple[int, ...] = (256, 256)
    """Widths of the policy's layers."""
    recurrent: bool = False
    """Give the policy memory, for observations that don't tell all."""
    trunk: Literal["lstm", "transformer", "gru"] = "lstm"
    """What remembers: an LSTM of the last width, or a Transformer of a layer for each width after the first; on
    descant/Translation-v0 an encoder and a decoder, transformer or gru."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Numbers that a network that translates is trained with; bfloat16 pays on CUDA, and on processors with AMX."""
    seed: int = 0
    """Everything random follows from it."""

    def __post_init__(self) -> None:
        if not 0 < self.holdout < 1 or self.patience < 0:
            raise DescantError("holdout must lie between 0 and 1, and patience be 0 or more.")
        if self.learning_rate <= 0 or self.num_envs < 1 or self.batch_size < 1 or not self.hidden:
            raise DescantError(
                "learning_rate, num_envs and batch_size must be positive, and hidden name a width."
            )
        if self.heldout and not self.data:
            raise DescantError("heldout goes with data: a teacher's episodes are held out by share.")
        if self.epoch < 0 or (self.epoch and self.scheduled_sampling and not self.data):
            raise DescantError("epoch must be 0 (all) or more, and 0 with scheduled_sampling and a teacher.")
        if self.lr_schedule not in ("constant", "linear", "inverse-sqrt"):
            raise DescantError(
                f"lr_schedule must be constant, linear or inverse-sqrt, not {self.lr_schedule!r}."
            )
        if self.warmup < 0 or not (0 <= self.label_smoothing < 1 and 0 <= self.dropout < 1):
            raise DescantError(
                "warmup must be 0 or more, and label_smoothing and dropout 0 or more and below 1."
            )
        if self.lr_schedule == "inverse-sqrt" and not self.warmup:
            raise DescantError("lr_schedule inverse-sqrt falls from the end of warmup: pass warmup.")
        if self.precision not in ("float32", "bfloat16"):
            raise DescantError(f"precision must be float32 or bfloat16, not {self.precision!r}.")
        if self.precision == "bfloat16" and self.trunk == "lstm":
            raise DescantError("precision bfloat16 is for networks that translate: trunk gru or transformer.")
        if self.episodes < 2:
            raise DescantError(f"episodes must be 2 or more, one to hold out, not {self.episodes}.")
        if not 0 <= self.scheduled_sampling <= 1:
            raise DescantError("scheduled_sampling must lie between 0 and 1.")
        if self.scheduled_sampling and self.data and self.trunk == "lstm":
            raise DescantError(
                "scheduled_sampling needs a teacher: episodes from a file can't be played again, but for translations, "
                "by trunk gru or transformer."
            )


def cloning_loss(log_probs: Tensor, everything: Tensor | None = None, smoothing: float = 0.0) -> Tensor:
    """-mean of the log-probabilities float[B] of the actions shown: a scalar.

    With `smoothing` e, (1 - e) times that and e times -mean over all allowed actions, from `everything` float[B, A].
    """
    loss = -log_probs.mean()
    if not smoothing or everything is None:
        return loss
    allowed = everything > MASKED / 2
    spread = -(everything * allowed).sum(dim=-1) / allowed.sum(dim=-1)
    return (1 - smoothing) * loss + smoothing * spread.mean()


def warmed(updates: int, warmup: int, falls: bool) -> float:
    """What the learning rate is multiplied by at the gradient step that comes after so many `updates`."""
    rising = min((updates + 1) / warmup, 1.0) if warmup else 1.0
    return rising * (warmup / max(updates + 1, warmup)) ** 0.5 if falls else rising


class BC(NeuralAgent):
    """Behaviour cloning; `num_timesteps` counts demonstrated steps learned from, an epoch is one iteration."""

    name: ClassVar[str] = "bc"
    Config: ClassVar[type[Any]] = Config
    supports_recurrence: ClassVar[bool] = True
    deals = "batches"

    def __init__(self, env: Environment | None, config: Any, spaces: Any = None) -> None:
        super().__init__(env, config, spaces)
        self.best: dict[str, Tensor] = {}
        self.best_nll, self.stale = float("inf"), 0
        self.updates = 0
        self.look: Callable[[], dict[str, float]] | None = None  # what else is to be logged of an epoch
        self._shown: Rollout | Examples | None = None
        self._heldout: Rollout | Examples | None = None
        if env is not None and not config.data:
            self.teacher = make_teacher(config.teacher, env, self.config.device)

    def build(self) -> dict[str, Network]:
        """The policy alone."""
        config, actions = self.config, int(self.action_space.n)
        form = (config.hidden, config.recurrent, config.trunk)
        network = make_network(self.observation_space, {"policy": actions}, *form, dropout=config.dropout)
        if not network.cached and config.precision == "bfloat16":
            raise DescantError("precision bfloat16 is for networks that translate: pass recurrent.")
        return {"policy": network}

    def shown(self, collector: Collector) -> Rollout | Examples:
        """All demonstrations, in an order that follows from the seed; gathered when first asked for."""
        if self._shown is None and self.config.data:
            self._shown = self._load(self.config.data)
        elif self._shown is None:
            rounds = [plain(collector.episodes(self._teach(i), seed)) for i, seed in self._rounds(collector)]
            self._shown = take_episodes(join(rounds), np.arange(self.config.episodes))
        return self._shown

    def _load(self, path: str) -> Rollout | Examples:
        found = Examples.load(path, self.observation_space)
        if found is not None:
            return found
        if self.config.scheduled_sampling:
            raise DescantError(
                f"{path} holds no translations, which scheduled_sampling needs: use a teacher."
            )
        return load_demonstrations(path, self.observation_space, self.action_space)

    def _rounds(self, collector: Collector) -> Iterator[tuple[int, int]]:
        """Number and reset seed of each round of episodes."""
        for i in range(-(-self.config.episodes // collector.env.num_envs)):
            yield i, int(np.random.SeedSequence([self.config.seed, 1, i]).generate_state(1)[0])

    def _teach(self, round_number: int) -> Any:
        """How the teacher acts."""
        rng = np.random.default_rng([self.config.seed, 2, round_number])
        self.teacher.start()

        def act(observation: Any, masks: Bools | None, starts: Bools) -> Ints:
            chances = np.cumsum(self.teacher.probabilities(observation, masks, starts), axis=1)
            drawn = rng.random((len(chances), 1)) * chances[:, -1:]
            return (chances > drawn).argmax(axis=1)

        return act

    def split(self, episodes: int) -> tuple[Ints, Ints]:
        """Rows to learn from and rows held out."""
        order = np.random.default_rng([self.config.seed, 3]).permutation(episodes)
        held = min(max(round(episodes * self.config.holdout), 1), episodes - 1)
        if not held:
            raise DescantError("The demonstrations hold a single episode: give two or more, one to hold out.")
        return np.sort(order[held:]), np.sort(order[:held])

    def iterate(self, collector: Collector, total_timesteps: int) -> dict[str, float]:
        """One epoch, then the loss of what is held out."""
        shown = self.shown(collector)
        rows, held = self.rows(shown)
        share = self.config.scheduled_sampling * (1 - self.progress_left(total_timesteps))
        linear = self.config.lr_schedule == "linear"
        rate = self.config.learning_rate * (self.progress_left(total_timesteps) if linear else 1.0)
        own = share if isinstance(shown, Examples) else 0.0
        source = self._half_own(collector, shown, share) if share and isinstance(shown, Rollout) else shown
        rows = self.drawn(shown, rows)
        with self._dropping():
            record = self._epoch(source, rows, rate, own)
        self.num_timesteps += int(shown.valid[:, rows].sum())
        record |= self.measure(held)
        self._keep_best(record["heldout_nll"])
        more = self.look() if self.look is not None else {}
        return record | {"scheduled_sampling": share} | more

    @contextlib.contextmanager
    def _dropping(self) -> Iterator[None]:
        """Let the network drop; what follows from the seed and the iteration."""
        if not self.config.dropout:
            yield
            return
        policy, rank = self.networks["policy"].train(), parallel.ranks().rank
        chance = [self.config.seed, 4, self.iteration, *([rank] if rank else [])]  # no two ranks drop alike
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(np.random.SeedSequence(chance).generate_state(1)[0]))
            try:
                yield
            finally:  # also where an epoch fails: who goes on with the agent expects all of its network
                policy.eval()

    def rows(self, shown: Rollout | Examples) -> tuple[Ints, Rollout | Examples]:
        """Rows to learn from, and the episodes held out."""
        if not self.config.heldout:
            rows, held = self.split(shown.actions.shape[1])
            return rows, take_episodes(shown, held)
        if self._heldout is None:
            self._heldout = self._load(self.config.heldout)
        return np.arange(shown.actions.shape[1]), self._heldout

    def drawn(self, shown: Rollout | Examples, rows: Ints) -> Ints:
        """The rows of an epoch in the order in which they are learned from; translations in batches of like length."""
        order = torch.randperm(len(rows), generator=self.generator).numpy()
        found = rows[order[: self.config.epoch or None]]
        if not isinstance(shown, Examples):
            return found
        size = self.config.batch_size
        pools = [found[i : i + SORTED * size] for i in range(0, len(found), SORTED * size)]
        found = np.concatenate([pool[np.argsort(shown.lengths[pool], kind="stable")] for pool in pools])
        batches = [found[i : i + size] for i in range(0, len(found), size)]
        order = torch.randperm(len(batches), generator=self.generator).numpy()
        return np.concatenate([batches[i] for i in order])

    def _epoch(self, shown: Rollout | Examples, rows: Ints, rate: float, own: float) -> dict[str, float]:
        records, whole = [], None if isinstance(shown, Examples) else len(shown.actions)
        for first in range(0, len(rows), self.config.batch_size):
            part = rows[first : first + self.config.batch_size]
            batch = take_episodes(shown, part, steps=whole)
            if own and isinstance(shown, Examples):
                batch = shown.take(part, self._written(batch, shown.targets[part], own))
            if batch.valid.any():
                falls = self.config.lr_schedule == "inverse-sqrt"
                self.set_learning_rate(rate * warmed(self.updates, self.config.warmup, falls))
                records.append(self._gradient_step(batch))
                self.updates += 1
        return {name: float(np.mean([r[name] for r in records])) for name in records[0]}

    def _gradient_step(self, batch: Rollout) -> dict[str, float]:
        optimizer = self.optimizers["adam"]
        optimizer.zero_grad()
        total = 0.0
        policy = self.networks["policy"]
        policy.autocast = self.config.precision == "bfloat16"
        for loss in self._losses(batch):
            loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        policy.autocast = False
        total = parallel.totals({"total": total})["total"]
        norm = self.clip([policy])
        optimizer.step()
        return {"policy_loss": total, "grad_norm": norm}

    def _losses(self, batch: Rollout) -> Iterator[Tensor]:
        """The loss of a batch, in parts that sum to it."""
        policy, smoothing = self.networks["policy"], self.config.label_smoothing
        if isinstance(policy, TranslationNetwork) and batch.masks is None:
            rows = parallel.dealt(np.flatnonzero(batch.valid.any(axis=0)))
            if len(rows):
                mine = batch if parallel.ranks().world == 1 else take_episodes(batch, rows, len(batch.valid))
                shown = (torch.as_tensor(mine.valid), torch.as_tensor(mine.actions))
                loss = policy.cross_entropy(to_tensor(mine.observations), *shown, smoothing)
                yield loss * (mine.steps / batch.steps)
            return
        for part, heads in valid_parts(batch, self.networks, {}):
            if not len(part["actions"]):  # fewer steps than ranks
                continue
            log_probs = masked_log_softmax(heads["policy"]["policy"], part.get("masks"))
            loss = cloning_loss(chosen(log_probs, part["actions"]), log_probs, smoothing)
            yield loss * (len(part["actions"]) / batch.steps)

    def _written(self, batch: Rollout, targets: Any, share: float) -> Any:
        """Targets int32[k, T] with `share` of the words drawn from the policy as it writes on from them."""
        network, written, state = self.networks["policy"].eval(), targets.copy(), None
        with torch.inference_mode():
            for t in range(len(batch.actions) - 1):
                seen = {name: part[t] for name, part in batch.observations.items()}
                seen["target"] = np.where(np.arange(written.shape[1]) < t, written, seen["target"])
                heads, state = network.step(to_tensor(seen), torch.as_tensor(batch.starts[t]), state)
                drawn = sample(torch.log_softmax(heads["policy"], -1), self.generator).numpy()
                own = torch.rand(len(drawn), generator=self.generator).numpy() < share
                own &= (drawn != EOS) & batch.valid[t + 1]  # nothing comes after EOS
                written[own, t] = drawn[own]
        network.train(bool(self.config.dropout))
        return written

    def measure(self, episodes: Rollout | Examples) -> dict[str, float]:
        """Mean negative log-likelihood in nats a step, and how often the likeliest action is the one shown."""
        losses, hits = 0.0, 0
        for first in range(0, episodes.actions.shape[1], MEASURED):
            some = take_episodes(episodes, slice(first, first + MEASURED))
            with torch.inference_mode():
                for part, heads in valid_parts(some, self.networks, {}) if some.steps else ():
                    log_probs = masked_log_softmax(heads["policy"]["policy"], part.get("masks"))
                    losses -= float(chosen(log_probs, part["actions"]).sum())
                    hits += int((log_probs.argmax(-1) == part["actions"]).sum())
        found = parallel.totals({"losses": losses, "hits": hits})
        nll, right = found["losses"] / episodes.steps, found["hits"]
        return {
            "heldout_nll": nll,
            "heldout_perplexity": float(np.exp(min(nll, 700.0))),  # e^709 is the largest float
            "heldout_accuracy": right / episodes.steps,
        }

    def _keep_best(self, nll: float) -> None:
        network = self.networks["policy"]
        self.stale = 0 if nll < self.best_nll else self.stale + 1
        if not self.stale:
            self.best_nll = nll
            self.best = {name: weight.clone() for name, weight in network.state_dict().items()}
        if self.config.patience and self.stale >= self.config.patience:
            network.load_state_dict(self.best)
            self.finished = True

    def _half_own(self, collector: Collector, shown: Rollout, share: float) -> Rollout:
        """The demonstrations played again from the same starts, `share` of the actions drawn from the policy."""
        rounds, first = [], 0
        for _, seed in self._rounds(collector):
            rows = np.arange(first, min(first + collector.env.num_envs, shown.actions.shape[1]))
            first += len(rows)
            rounds.append(self._replayed(collector, take_episodes(shown, rows), seed, share))
        return join(rounds)

    def _replayed(self, collector: Collector, shown: Rollout, seed: int, share: float) -> Rollout:
        own, t, (steps, n) = self.actor(), -1, shown.actions.shape

        def act(observation: Any, masks: Bools | None, starts: Bools) -> Ints:
            nonlocal t
            t += 1
            actions = own(observation, masks, starts)
            keep = torch.rand(len(actions), generator=self.generator).numpy()[:n] < share
            allowed = np.zeros(n, bool) if t >= steps else shown.valid[t].copy()
            if masks is not None and t < steps:  # what was shown may not be allowed any more
                allowed &= masks[np.arange(n), shown.actions[t]]
            actions[:n] = np.where(keep | ~allowed, actions[:n], shown.actions[min(t, steps - 1)])
            return actions

        seen = take_episodes(collector.episodes(act, seed), np.arange(n))
        length = min(steps, len(seen.actions))
        seen, targets = take_episodes(seen, np.arange(n), length), shown.actions[:length]
        valid = seen.valid & shown.valid[:length]
        if seen.masks is not None:
            valid &= np.take_along_axis(seen.masks, targets[..., None], axis=2)[..., 0]
        return demonstrations(seen.observations, targets, valid, seen.masks)

    def parts(self) -> Parts:
        """The best weights so far beside the present ones."""
        parts = super().parts()
        best = {f"best.{name}": weight for name, weight in self.best.items()}
        nll = self.best_nll if self.best else None
        own = {"stale": self.stale, "best_nll": nll, "updates": self.updates}
        return Parts({**parts.weights, **best}, {**parts.state, **own})

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take back what `parts` gave."""
        super().restore(checkpoint)
        self.best = under("best.", checkpoint.weights)
        self.stale = int(checkpoint.state["stale"])
        self.updates = int(checkpoint.state.get("updates", 0))
        self.best_nll = float("inf") if not self.best else float(checkpoint.state["best_nll"])
        self.finished = bool(self.config.patience and self.stale >= self.config.patience)
