"""Policy-gradient agents that can be kept near what they start from: KL control, first weights, references."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from torch import Tensor

from descant import parallel
from descant.agent import Environment, Parts
from descant.control import Control, ControlConfig, cooled, policy_log_probs
from descant.devices import DeviceConfig
from descant.errors import DescantError
from descant.neural import NeuralAgent, under
from descant.penalties import Penalty, PenaltyConfig, load_policy
from descant.references import CrossEntropy, References
from descant.rollouts import Rollout
from descant.tasks import Floats

if TYPE_CHECKING:
    from descant.runs.checkpoints import Checkpoint


@dataclasses.dataclass(frozen=True)
class KeepingConfig(DeviceConfig, PenaltyConfig, ControlConfig):
    """What can be chosen of every policy-gradient agent to keep what was learned."""

    xent_coef: float = 0.0
    """Weight of the cross-entropy of references, in nats a token, where the environment has them; 0 for none."""

    def __post_init__(self) -> None:
        ControlConfig.__post_init__(self)
        PenaltyConfig.__post_init__(self)
        if not 0 <= self.xent_coef < float("inf"):
            raise DescantError(f"xent_coef must be 0 or more, not {self.xent_coef}.")
        if not 0 < (temperature := temperature_of(self)) < float("inf"):
            raise DescantError(f"temperature must be positive, not {temperature}.")


def temperature_of(config: object) -> float:
    """What the agent divides its logits by, where its config lets one choose it."""
    return float(getattr(config, "temperature", 1.0))


class KeepingAgent(NeuralAgent):
    """A neural agent whose `Config` has the fields of `KeepingConfig`.

    A subclass passes each rollout through `keep` before it learns from it, adds `control.coef * kl_loss` to its loss
    where `control.in_loss`, and calls `add_penalty` once its gradients are there.
    """

    def __init__(self, env: Environment | None, config: Any, spaces: Any = None) -> None:
        super().__init__(env, config, spaces)
        config = self.config  # whose device is one that is there
        fresh = spaces is None  # and not from a checkpoint, which has weights of its own
        if fresh and config.init:
            load_policy(self.networks["policy"], config.init)
        self.control = Control(config, env)
        self.control.temperature = temperature_of(config)
        self.penalty = Penalty(config, self.networks["policy"])
        wanted = config.xent_coef and env is not None
        self.references = CrossEntropy(config.xent_coef, References(env, "xent_coef") if wanted else None)
        if fresh and config.prior:
            _ = self.control.prior  # what can't work is refused before any work

    def logits(self, heads: dict[str, Tensor]) -> Tensor:
        """The policy's over the temperature, float[..., A]."""
        found = super().logits(heads)
        return found if self.control.temperature == 1 else found / self.control.temperature

    def acting_log_probs(self, rollout: Rollout) -> Floats:
        """Log-probabilities of the policy that acts, along whole episodes, float[T, N, A]; about -1e9 where masked."""
        found = policy_log_probs(self.networks["policy"], rollout)
        return found if self.control.temperature == 1 else cooled(found, self.control.temperature)

    def keep(
        self, rollout: Rollout, log_policy: Floats | None
    ) -> tuple[Rollout, Floats | None, dict[str, float]]:
        """The rollout with the KL taken from its rewards, log-probabilities of the prior, and what there is to log.

        `log_policy` float[T, N, A] is the policy that acted; without a prior it is not needed, and the rollout comes
        back as it is.
        """
        self.penalty.prepare(rollout, self.generator)
        self.references.prepare(rollout)
        if not self.control.on:
            return rollout, None, {}
        assert log_policy is not None
        log_prior = self.control.log_prior(rollout)
        record = self.control.measure(rollout, log_policy, log_prior)
        rewards = rollout.rewards - self.control.price(rollout, log_policy, log_prior)
        return dataclasses.replace(rollout, rewards=rewards), log_prior, record

    def add_penalty(self) -> dict[str, float]:
        """Add the gradients of the penalty on weights and of the references' cross-entropy; what there is to log."""
        record = {}
        if self.penalty.on:
            loss = self.penalty.loss()
            (loss / parallel.ranks().world).backward()  # type: ignore[no-untyped-call]
            record["penalty"] = float(loss.detach())
        if self.references.on:
            nll = self.references.loss(self.networks["policy"], self.generator)
            if nll is not None:
                if nll.requires_grad:  # else none of the sources is this rank's
                    (self.references.coef * nll).backward()  # type: ignore[no-untyped-call]
                record |= parallel.totals({"reference_nll": float(nll.detach())})
        return record

    def parts(self) -> Parts:
        """As of every neural agent, and the coefficient, the prior's memory, starting weights, Fisher."""
        parts = super().parts()
        weights = dict(parts.weights)
        weights |= {f"keep.{name}": value for name, value in self.penalty.tensors().items()}
        state = dict(parts.state)
        if self.control.on:
            state["kl_coef"] = self.control.coef
            for name, value in zip(("h", "c"), self.control.memory or (), strict=False):
                weights[f"prior.{name}"] = value
        return Parts(weights, state)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take back what `parts` gave."""
        super().restore(checkpoint)
        self.penalty.restore(under("keep.", checkpoint.weights))
        self.control.coef = float(checkpoint.state.get("kl_coef", self.control.coef))
        memory = under("prior.", checkpoint.weights)
        self.control.memory = (memory["h"], memory["c"]) if memory else None
