"""What agents of torch networks share: the loop, acting, schedules, and checkpoints that resume exactly."""

from __future__ import annotations

import math
import os
from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn

from descant import parallel
from descant.agent import Agent, Callback, Environment, Parts
from descant.devices import device_for, moved, settled
from descant.errors import DescantError
from descant.optimizers import Adam
from descant.policies.categorical import masked_log_softmax, sample
from descant.policies.encoders import flatten_time, to_tensor
from descant.policies.networks import Network
from descant.rollouts import Collector, Rollout
from descant.tasks import Bools, Floats, Ints

if TYPE_CHECKING:
    from descant.runs.checkpoints import Checkpoint
    from descant.runs.tracking import Tracker

TERMS_EVERY = 20  # iterations between two records of the reward by term, which cost more to compute
CHUNK = 4096  # steps of one pass through a network: as many as fit the processor's cache


class NeuralAgent(Agent):
    """An agent whose policy is a network.

    A subclass builds its networks in `build` (the one called "policy" acts, by its "policy" head), and collects and
    learns in `iterate`. All chance of an iteration follows from the seed and the iteration's number: `env_seed` for
    an environment that is reset, `generator` for torch. So a run that goes on from a checkpoint equals one that was
    never stopped: exactly where each iteration begins with a reset, and on descant's environments also where the
    collector goes on within episodes, since their state is saved too.
    """

    # What several ranks deal out among them (descant/parallel.py): rows of the environment, batches, or nothing yet.
    deals: ClassVar[Literal["", "rows", "batches"]] = ""
    networks: dict[str, Network]
    optimizers: dict[str, torch.optim.Optimizer]
    finished = False  # an agent that has learned all it can says so, and is not asked to go on

    def __init__(self, env: Environment | None, config: Any, spaces: Any = None) -> None:
        super().__init__(env, config, spaces)
        self.config = settled(config, new=spaces is None)
        self.device = device_for(getattr(self.config, "device", "cpu"))
        torch.set_num_threads(int(os.environ.get("DESCANT_THREADS", "1")))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.networks = {name: network.to(self.device) for name, network in self.build().items()}
        self.optimizers = self.make_optimizers()
        self.collector = None if env is None else Collector(env)
        self.iteration = 0
        self.env_seed = 0
        self.generator = torch.Generator()

    @abstractmethod
    def build(self) -> dict[str, Network]:
        """The networks by name, "policy" among them; they are moved to the agent's device."""

    def make_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """One Adam over all networks."""
        return {"adam": self.adam([p for net in self.networks.values() for p in net.parameters()])}

    def adam(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        """Adam with the configured learning rate."""
        return Adam(parameters, lr=self.config.learning_rate, eps=1e-5)

    @abstractmethod
    def iterate(self, collector: Collector, total_timesteps: int) -> dict[str, float]:
        """Collect and learn once, add to `num_timesteps`; what there is to log, "return" among it if known."""

    def learn(
        self,
        total_timesteps: int,
        callback: Callback | None = None,
        tracker: Tracker | None = None,
        progress_bar: bool = False,
    ) -> Self:
        """Train until `num_timesteps` reaches `total_timesteps`. All chance follows from seed and iteration."""
        from descant.runs.progress import progress

        if self.collector is None:
            raise DescantError("This agent was loaded without an environment: pass env to learn on.")
        parallel.refuse(type(self), self.collector.env.num_envs)
        with progress(total_timesteps, self.name, self.num_timesteps, progress_bar) as bar:
            while self.num_timesteps < total_timesteps and not self.finished:
                seeds = np.random.SeedSequence([self.config.seed, self.iteration]).generate_state(2)
                self.env_seed = int(seeds[0])
                self.generator.manual_seed(int(seeds[1]))
                self.collector.begun_at = self.num_timesteps
                self.collector.watch_terms(self.iteration % TERMS_EVERY == 0)
                record = self.iterate(self.collector, total_timesteps)
                self.iteration += 1
                parallel.check_alike(self.networks.values(), self.num_timesteps)
                if tracker is not None and record:
                    tracker.log(self.num_timesteps, record)
                bar.update(self.num_timesteps, **{k: record[k] for k in ("return",) if k in record})
                if callback is not None and not callback(self):
                    break
        return self

    def progress_left(self, total_timesteps: int) -> float:
        """1 at the beginning of the training, 0 at its end."""
        return max(1 - self.num_timesteps / total_timesteps, 0.0)

    def set_learning_rate(self, rate: float) -> None:
        """The step size of every optimiser."""
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = rate

    def clip(self, networks: list[Network]) -> float:
        """Sum all ranks' gradients, clip each network's by itself; the first one's norm. DescantError if not finite."""
        parallel.sum_gradients(weight for net in networks for weight in net.weights)
        norms = [clip_gradient(net.weights, self.config.max_grad_norm) for net in networks]
        self.refuse_no_numbers(norms)
        return norms[0]

    def refuse_no_numbers(self, norms: list[float]) -> None:
        """DescantError where the norm of a gradient is not finite."""
        if not all(math.isfinite(norm) for norm in norms):
            raise DescantError(
                f"The gradient is not finite at step {self.num_timesteps}: lower learning_rate. The last checkpoint "
                "is as it was."
            )

    def policy_step(
        self, observation: Any, masks: Bools | None, starts: Bools, state: Any
    ) -> tuple[Tensor, Any]:
        """Log-probabilities float[N, A] of the acting policy, without gradients, and the recurrent state after."""
        with torch.inference_mode():
            heads, state = self.networks["policy"].step(
                to_tensor(observation), torch.as_tensor(starts), state
            )
            mask = None if masks is None else torch.as_tensor(masks)
            return masked_log_softmax(self.logits(heads), mask), state

    def joint_step(
        self, observation: Any, masks: Bools | None, starts: Bools, state: Any
    ) -> tuple[Tensor, Any]:
        """As `policy_step`, of which each rank works out its own rows; the state is that of these rows alone."""
        if len(starts) % parallel.ranks().world:
            return self.policy_step(observation, masks, starts, state)
        mine = (parallel.own(observation), parallel.own(masks), parallel.own(starts))
        log_probs, state = self.policy_step(*mine, state)
        return parallel.gather(log_probs), state

    def initial_state(self, rows: int) -> Any:
        """The recurrent state at the beginning of episodes, where the policy has one."""
        network = self.networks["policy"]
        trunk: Any = network.trunk
        return trunk.initial_state(rows) if network.recurrent and not network.cached else None

    def logits(self, heads: dict[str, Tensor]) -> Tensor:
        """Logits of the acting policy from the "policy" network's heads: float[..., A]."""
        return heads["policy"]

    def actor(self) -> Any:
        """How a collector acts: draws from the policy, and keeps the recurrent state in between."""
        state: Any = None

        def act(observation: Any, masks: Bools | None, starts: Bools) -> Ints:
            nonlocal state
            log_probs, state = self.joint_step(observation, masks, starts, state)
            return sample(log_probs, self.generator).numpy()

        return act

    def log_probs(self, observation: Any, state: Any = None, action_masks: Bools | None = None) -> Floats:
        """Log-probability of every action: float[n, A]; about -1e9 where masked."""
        log_probs, _ = self.policy_step(observation, action_masks, np.zeros(rows(observation), bool), state)
        return log_probs.numpy().astype(np.float64)

    def act(
        self, batch: Any, state: Any, episode_start: Any, deterministic: bool, masks: Bools | None
    ) -> tuple[Ints, Any]:
        """Actions int64[n]; `state` is the recurrent one, where the policy has one."""
        starts = np.zeros(rows(batch), bool) if episode_start is None else np.asarray(episode_start, bool)
        log_probs, state = self.policy_step(batch, masks, starts, state)
        scores = log_probs.numpy()
        if not deterministic:
            scores = scores + self.noise.gumbel(size=scores.shape)
        return scores.argmax(axis=1), state

    def save(self, path: str | Path) -> None:
        """As of every agent; DescantError where a weight is not finite, which only the next gradient would tell."""
        weights = (weight for net in self.networks.values() for weight in net.parameters())
        if not all(bool(torch.isfinite(weight).all()) for weight in weights):
            raise DescantError(
                f"The weights are not finite at step {self.num_timesteps}: lower learning_rate. The last checkpoint "
                "is as it was."
            )
        super().save(path)

    def parts(self) -> Parts:
        """Networks, the optimisers' moments, and where the collector stands."""
        weights = {f"{n}.{k}": v for n, net in self.networks.items() for k, v in net.state_dict().items()}
        for name, optimizer in self.optimizers.items():
            for i, parameter in enumerate(parameters_of(optimizer)):
                for key, value in optimizer.state.get(parameter, {}).items():
                    weights[f"{name}.{i}.{key}"] = value
        state: dict[str, Any] = {"iteration": self.iteration}
        if self.collector is not None:
            arrays, plain = self.collector.get_state()
            weights |= {f"collector.{k}": torch.as_tensor(v) for k, v in arrays.items()}
            state["collector"] = plain
        return Parts(weights, state)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take back what `parts` gave."""
        self.iteration = int(checkpoint.state["iteration"])
        for name, network in self.networks.items():
            network.load_state_dict(under(f"{name}.", checkpoint.weights))
        for name, optimizer in self.optimizers.items():
            for i, parameter in enumerate(parameters_of(optimizer)):
                moments = under(f"{name}.{i}.", checkpoint.weights)
                if moments:
                    optimizer.state[parameter] = {k: v.to(parameter.device) for k, v in moments.items()}
        plain = checkpoint.state.get("collector")
        if self.collector is not None and plain:
            arrays = {k: v.numpy() for k, v in under("collector.", checkpoint.weights).items()}
            self.collector.set_state(arrays, plain)


def clip_gradient(parameters: list[nn.Parameter], longest: float) -> float:
    """Shorten the gradient of all parameters together to `longest`; what its norm was. A third of torch's own time."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return 0.0
    norm = float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients))))
    if norm > longest:
        torch._foreach_mul_(gradients, longest / norm)
    return norm


def rollout_record(rollout: Rollout) -> dict[str, float]:
    """What there is to log of any rollout: returns of its whole episodes, their metrics, the reward by term."""
    record = {name: float(v.mean()) for name, v in rollout.metrics.items() if len(v)}
    finished = rollout.finished_returns()
    if len(finished):
        record |= {"return": float(finished.mean()), "return_std": float(finished.std())}
    episodes = max(len(finished), 1)
    return record | {f"terms/{name}": total / episodes for name, total in rollout.terms.items()}


def parameters_of(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    """An optimiser's parameters, in order."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def under(prefix: str, weights: Any) -> dict[str, Tensor]:
    """The entries whose name begins with `prefix`, without it."""
    return {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}


def rows(observation: Any) -> int:
    """How many rows a batch of observations has."""
    return len(next(iter(observation.values())) if isinstance(observation, dict) else observation)


def pick(observations: Any, chosen: Any) -> Any:
    """The chosen rows of observations, or what an index picks."""
    if isinstance(observations, dict):
        return {key: pick(value, chosen) for key, value in observations.items()}
    return observations[chosen]


def valid_parts(
    rollout: Rollout,
    networks: dict[str, Network],
    columns: dict[str, Any],
    order: Tensor | None = None,
    size: int = CHUNK,
) -> Iterator[tuple[dict[str, Tensor], dict[str, dict[str, Tensor]]]]:
    """The valid steps of a rollout in parts: their columns, and every network's heads with gradients.

    `columns` are arrays [T, N, ...]; "masks" (None where there are none) and "actions" are added. `order` permutes
    the valid steps (int[steps]); `size` is that of a part. Where a network is recurrent, all steps are one part. Of
    every part each rank has its share: some of its steps, or of its rows where a network is recurrent, maybe none.
    All are where the networks are.
    """
    valid, device = torch.as_tensor(rollout.valid), networks["policy"].device
    tensors = {name: torch.as_tensor(np.asarray(column)) for name, column in columns.items()}
    tensors["actions"] = torch.as_tensor(rollout.actions)
    if rollout.masks is not None:
        tensors["masks"] = torch.as_tensor(rollout.masks)
    observations = to_tensor(rollout.observations)
    if any(network.recurrent for network in networks.values()):
        starts = torch.as_tensor(rollout.starts)
        if parallel.ranks().world > 1:
            rows = parallel.dealt(valid.any(dim=0).nonzero()[:, 0])
            if not len(rows):
                return
            tensors = {name: tensor[:, rows] for name, tensor in tensors.items()}
            observations = pick(observations, (slice(None), rows))
            starts, valid = starts[:, rows], valid[:, rows]
        heads = {n: net.valid_outputs(observations, starts, valid) for n, net in networks.items()}
        yield moved({name: tensor[valid] for name, tensor in tensors.items()}, device), heads
        return
    steps = valid.reshape(-1).nonzero()[:, 0]
    steps = steps if order is None else steps[order]
    # One gather of everything in order, then parts are views: cheaper than a gather a part.
    seen = moved(pick(flatten_time(observations), steps), device)
    flat = moved({name: flatten_time(tensor)[steps] for name, tensor in tensors.items()}, device)
    for begin in range(0, len(steps), size):
        mine = parallel.share_of(min(size, len(steps) - begin))
        part = slice(begin + mine.start, begin + mine.stop)
        heads = {n: net.forward(pick(seen, part)) for n, net in networks.items()}
        yield {n: tensor[part] for n, tensor in flat.items()}, heads
