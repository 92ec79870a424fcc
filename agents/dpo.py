"""DPO: direct preference optimisation (Rafailov et al. 2023), smoothed (cDPO), or with IPO's loss (Azar et al. 2023).

    h = log pi(y1) / p(y1) - log pi(y2) / p(y2)            y1, y2 two episodes of one start, p the prior, frozen
    dpo   -t log sigmoid(beta h) - (1 - t) log sigmoid(-beta h)
    ipo   t (h - 1 / (2 beta))^2 + (1 - t) (h + 1 / (2 beta))^2

t is how likely y1 is preferred, P, or with label smoothing e (1 - e) P + e (1 - P). Where P is known for every pair and
the policy can fit any, the optimum of dpo has beta log pi / p differ between episodes as the logits of P do: pi is
p exp(r / beta) / Z for the reward r of Bradley and Terry, without a reward model and without an environment step.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from descant.agent import Environment, Parts
from descant.control import Control, ControlConfig
from descant.devices import DeviceConfig
from descant.errors import DescantError
from descant.neural import NeuralAgent, under, valid_parts
from descant.penalties import held
from descant.policies.categorical import chosen, masked_log_softmax
from descant.policies.making import make_network
from descant.policies.networks import Network
from descant.preferences.comparisons import ClipComparisons, read_comparisons
from descant.preferences.episodes import play_episodes
from descant.priors import make_prior
from descant.rollouts import Collector, Rollout
from descant.tasks import Floats, Ints

from .demonstrations import take_episodes

if TYPE_CHECKING:
    from descant.runs.checkpoints import Checkpoint

FORM = ("hidden", "recurrent", "trunk", "activation")
MEASURED = 256  # comparisons that pass through the network at once where there is nothing to learn


@dataclasses.dataclass(frozen=True)
class Config(DeviceConfig):
    """What can be chosen of DPO."""

    comparisons: str = ""
    """A store of descant prefs, or an export of one; in Python also `ClipComparisons`."""
    prior: str = ""
    """The policy that was compared and to begin from and stay near: a run or checkpoint, uniform, task."""
    beta: float = 0.1
    """Reward that a nat of KL to the prior is worth: small follows the comparisons, large the prior."""
    loss: Literal["dpo", "ipo"] = "dpo"
    """dpo is logistic; ipo squared, which does not run away where a pair was judged but once."""
    label_smoothing: float = 0.0
    """Share of the judgements that are taken to be the wrong way round (cDPO)."""
    epochs: int = 100
    """Passes over the comparisons at most."""
    batch_size: int = 64
    """Comparisons in a gradient step."""
    holdout: float = 0.1
    """Share of the pairs held out."""
    patience: int = 5
    """Stop after so many epochs in which the held-out loss did not fall, and take the best weights; 0 never stops."""
    learning_rate: float = 1e-3
    """Adam's step size."""
    max_grad_norm: float = 1.0
    """Longest gradient."""
    num_envs: int = 1
    """Rows of the environment, where the agent makes it from an id: nothing is played in it."""
    hidden: tuple[int, ...] = (256, 256)
    """Widths of the policy's layers; a prior that is a network says itself, as of the next three."""
    recurrent: bool = False
    """Give the policy memory, for observations that don't tell all."""
    trunk: Literal["lstm", "transformer", "gru"] = "lstm"
    """What remembers where recurrent is set: an LSTM, a Transformer; to translate, also gru."""
    activation: Literal["relu", "tanh"] = "relu"
    """Between layers."""
    seed: int = 0
    """Everything random follows from it."""

    def __post_init__(self) -> None:
        if not 0 < self.beta < np.inf:
            raise DescantError(f"beta must be above 0 and finite, not {self.beta}: try 0.1.")
        if self.loss not in ("dpo", "ipo"):
            raise DescantError(f"loss must be dpo or ipo, not {self.loss!r}.")
        if not 0 <= self.label_smoothing < 0.5:
            raise DescantError(
                f"label_smoothing must be 0 or more and below 0.5, not {self.label_smoothing}: at 0.5 nothing is said."
            )
        if not 0 < self.holdout < 1 or self.patience < 0:
            raise DescantError("holdout must lie between 0 and 1, and patience be 0 or more.")
        if min(self.epochs, self.batch_size, self.num_envs) < 1 or self.learning_rate <= 0 or not self.hidden:
            raise DescantError(
                "epochs, batch_size, num_envs and learning_rate must be positive, and hidden name a width."
            )


def targets(preferred: Tensor, smoothing: float) -> Tensor:
    """How likely the first is preferred, where a share `smoothing` of what is said is the wrong way round: float[B]."""
    return (1 - smoothing) * preferred + smoothing * (1 - preferred)


def dpo_loss(margins: Tensor, preferred: Tensor, beta: float, smoothing: float = 0.0) -> Tensor:
    """Logistic loss (Rafailov et al. 2023, eq. 7), a scalar, of margins h and of P that the first wins, float[B]."""
    t, z = targets(preferred, smoothing), beta * margins
    log_sigmoid = torch.nn.functional.logsigmoid
    return -(t * log_sigmoid(z) + (1 - t) * log_sigmoid(-z)).mean()


def ipo_loss(margins: Tensor, preferred: Tensor, beta: float, smoothing: float = 0.0) -> Tensor:
    """Squared loss (Azar et al. 2023, eq. 17, tau = beta), a scalar, from float[B] each as of `dpo_loss`."""
    t, goal = targets(preferred, smoothing), 1 / (2 * beta)
    return (t * (margins - goal) ** 2 + (1 - t) * (margins + goal) ** 2).mean()


class DPO(NeuralAgent):
    """A policy from comparisons; `num_timesteps` counts steps of episodes learned from, an epoch is one iteration."""

    name: ClassVar[str] = "dpo"
    Config: ClassVar[type[Any]] = Config
    supports_recurrence: ClassVar[bool] = True
    needs_prior: ClassVar[bool] = True

    def __init__(self, env: Environment | None, config: Any, spaces: Any = None) -> None:
        self.prior: Any = None
        super().__init__(env, config, spaces)
        self.best: dict[str, Tensor] = {}
        self.best_loss, self.stale = float("inf"), 0
        self._comparisons: ClipComparisons | None = None
        if env is not None and self.config.comparisons:
            given = self.config.comparisons
            self.comparisons = given if isinstance(given, ClipComparisons) else read_comparisons(given)
        elif spaces is None:
            raise DescantError(
                "Agent 'dpo' learns from comparisons: set comparisons to a store of descant prefs, or an export of one."
            )

    def build(self) -> dict[str, Network]:
        """The policy, which begins as the prior; of a prior that is no network it knows nothing and begins even."""
        if not self.config.prior:
            raise DescantError(
                "Agent 'dpo' needs a prior: set prior to the run that wrote what was compared."
            )
        if self.env is not None:
            self.prior = make_prior(self.config.prior, self.env, self.config.device)
        other = getattr(self.prior, "networks", {}).get("policy")
        if other is not None:
            form = {
                name: getattr(self.prior.config, name) for name in FORM if hasattr(self.prior.config, name)
            }
            self.config = dataclasses.replace(self.config, **form)
        config, actions = self.config, int(self.action_space.n)
        form = {name: getattr(config, name) for name in FORM}
        network = make_network(self.observation_space, {"policy": actions}, **form)
        if other is not None:
            begin_as(network, other)
        elif "policy" in network.heads:
            torch.nn.init.zeros_(network.heads["policy"].get_parameter("weight"))
        return {"policy": network}

    @property
    def comparisons(self) -> ClipComparisons | None:
        """What is learned from."""
        return self._comparisons

    @comparisons.setter
    def comparisons(self, found: ClipComparisons) -> None:
        """Play the clips and ask the prior of them once."""
        assert self.env is not None
        if not len(found):
            raise DescantError(
                "There are no comparisons to learn from: judge pairs with descant prefs label."
            )
        self.rows = found.split(self.config.holdout, [self.config.seed, 1])
        self.episodes = play_episodes(found.clips, self.env)
        self.log_prior = torch.as_tensor(self._prior_of(self.episodes))
        self._comparisons = found

    def _prior_of(self, episodes: Rollout) -> Floats:
        """Log-probability of each episode under the prior: float64[m]."""
        control, found = Control(ControlConfig(), self.env), []
        control.prior = self.prior
        for first in range(0, episodes.actions.shape[1], MEASURED):
            part = take_episodes(episodes, slice(first, first + MEASURED))
            log_probs = np.take_along_axis(control.log_prior(part), part.actions[..., None], axis=2)[..., 0]
            found.append(np.where(part.valid, log_probs, 0.0).sum(axis=0))
        return np.concatenate(found)

    def margins(self, rows: Ints) -> Tensor:
        """h of comparisons int[B], with gradients: float[B]; beta times them are differences of implicit rewards."""
        assert self._comparisons is not None
        clips, place = np.unique(self._comparisons.pairs[rows], return_inverse=True)
        batch = take_episodes(self.episodes, clips)
        columns = {"row": np.tile(np.arange(len(clips)), (len(batch.actions), 1))}
        ((part, heads),) = valid_parts(batch, self.networks, columns, size=max(batch.steps, 1))
        log_probs = masked_log_softmax(heads["policy"]["policy"], part.get("masks"))
        taken = chosen(log_probs, part["actions"])
        log_policy = taken.new_zeros(len(clips)).index_add(0, part["row"], taken)
        ratio = log_policy - self.log_prior[clips].to(log_policy)
        first, second = torch.as_tensor(place.reshape(-1, 2)).T
        return ratio[first] - ratio[second]

    def loss(self, margins: Tensor, rows: Ints) -> Tensor:
        """The loss of comparisons int[B] with those margins: a scalar."""
        assert self._comparisons is not None
        config, loss = self.config, dpo_loss if self.config.loss == "dpo" else ipo_loss
        preferred = torch.as_tensor(self._comparisons.preferred[rows]).to(margins)
        return loss(margins, preferred, config.beta, config.label_smoothing)

    def learn(self, total_timesteps: int, *args: Any, **kwargs: Any) -> Any:
        """Train until `num_timesteps` reaches `total_timesteps`, or after `epochs`, or `patience` ends."""
        if self.env is not None and self._comparisons is None:
            raise DescantError("This agent has no comparisons to go on with: set agent.comparisons.")
        return super().learn(total_timesteps, *args, **kwargs)

    def iterate(self, collector: Collector, total_timesteps: int) -> dict[str, float]:
        """One epoch, then the loss of what is held out."""
        rows, held_out = self.rows
        order = rows[torch.randperm(len(rows), generator=self.generator).numpy()]
        size = self.config.batch_size
        records = [self._gradient_step(order[i : i + size]) for i in range(0, len(order), size)]
        record = {name: float(np.mean([r[name] for r in records])) for name in records[0]}
        assert self._comparisons is not None
        lengths = self.episodes.valid.sum(axis=0)
        self.num_timesteps += int(lengths[self._comparisons.pairs[rows]].sum())
        record |= {f"heldout_{name}": value for name, value in self.measure(held_out).items()}
        self._keep_best(record["heldout_loss"])
        return record

    def _gradient_step(self, rows: Ints) -> dict[str, float]:
        optimizer = self.optimizers["adam"]
        optimizer.zero_grad()
        margins = self.margins(rows)
        loss = self.loss(margins, rows)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = self.clip([self.networks["policy"]])
        optimizer.step()
        return {"loss": float(loss.detach()), "grad_norm": norm, **self._told(margins.detach(), rows)}

    def measure(self, rows: Ints) -> dict[str, float]:
        """Loss, accuracy and margin of comparisons int[B], without learning from them."""
        with torch.inference_mode():
            parts = [self.margins(rows[i : i + MEASURED]) for i in range(0, len(rows), MEASURED)]
            margins = torch.cat(parts)
            return {"loss": float(self.loss(margins, rows)), **self._told(margins, rows)}

    def _told(self, margins: Tensor, rows: Ints) -> dict[str, float]:
        """How often the implicit reward is higher for what is preferred (a tie is half right), and by how much."""
        assert self._comparisons is not None
        sides = torch.as_tensor(np.sign(self._comparisons.preferred[rows] - 0.5)).to(margins)
        right = (torch.sign(margins) * sides + 1) / 2
        decided = sides != 0
        accuracy = float(right[decided].mean()) if decided.any() else 0.5
        return {"accuracy": accuracy, "margin": float((self.config.beta * margins * sides).mean())}

    def _keep_best(self, loss: float) -> None:
        network = self.networks["policy"]
        self.stale = 0 if loss < self.best_loss else self.stale + 1
        if not self.stale:
            self.best_loss = loss
            self.best = {name: weight.clone() for name, weight in network.state_dict().items()}
        if self._is_over(self.iteration + 1):
            if self.config.patience and self.best:
                network.load_state_dict(self.best)
            self.finished = True

    def _is_over(self, epochs: int) -> bool:
        patience = self.config.patience
        return epochs >= self.config.epochs or bool(patience and self.stale >= patience)

    def manifest(self) -> dict[str, Any]:
        """Comparisons made in Python are not kept."""
        given, prior = self.config.comparisons, self.config.prior
        plain = dataclasses.replace(
            self.config,
            comparisons=given if isinstance(given, str) else "",
            prior=prior if isinstance(prior, str) else "object",
        )
        kept, self.config = self.config, plain
        try:
            return super().manifest()
        finally:
            self.config = kept

    def parts(self) -> Parts:
        """The best weights so far beside the present ones."""
        parts = super().parts()
        best = {f"best.{name}": weight for name, weight in self.best.items()}
        own = {"stale": self.stale, "best_loss": self.best_loss if self.best else None}
        return Parts({**parts.weights, **best}, {**parts.state, **own})

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take back what `parts` gave."""
        super().restore(checkpoint)
        self.best = under("best.", checkpoint.weights)
        self.stale = int(checkpoint.state["stale"])
        self.best_loss = float(checkpoint.state["best_loss"]) if self.best else float("inf")
        self.finished = self._is_over(self.iteration)


def begin_as(network: Network, other: Network) -> None:
    """Take the weights of the prior's policy; DescantError where it is another network."""
    there = other.state_dict()
    for name, parameter in held(network).items():
        value = there.get(name)
        if value is None or value.shape != parameter.shape:
            raise DescantError(
                "The prior's network gives no logits of a policy, so dpo can't begin as it: take a run of pretrain, "
                f"bc, ppo or another policy ({name} is missing there, or of another shape)."
            )
        with torch.no_grad():
            parameter.copy_(value)
