"""Agents that learn from replay, with memory: what needs memory is learned, priors with memory hold, runs resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode

from descant import load_agent, make_agent
from descant.agents.bc import BC
from descant.agents.dqn import DQN
from descant.agents.g import G
from descant.agents.kl_q import KLQ
from descant.agents.off_policy_ac import OffPolicyAC
from descant.agents.psi import Psi
from descant.agents.reinforce import Reinforce
from descant.envs.tokens import Tokens
from descant.errors import DescantError
from descant.policies.categorical import MASKED
from descant.replay import ReplayAgent
from descant.shells import TaskVectorEnv

from ..tiny_tasks import Dice, Echo, Heap, Recall
from .on_policy_checks import recall
from .replaying import Records, agent_on, assert_same, check_mask_is_kept, check_resume, check_same_seed

AGENTS: list[type[ReplayAgent]] = [DQN, OffPolicyAC, Psi, G, KLQ]
PRIOR: list[type[ReplayAgent]] = [Psi, G, KLQ]
LSTM: dict[str, Any] = {"recurrent": True, "hidden": (24,), "sequence_length": 4}
RNG = np.random.default_rng(0)  # for tasks that draw nothing


def with_memory(kind: type[ReplayAgent], task: Any, n: int = 8, **config: Any) -> Any:
    prior = {"prior": "uniform"} if kind in PRIOR else {}
    return agent_on(kind, task, n, **(LSTM | prior | config))


# What needs memory.

QUICK: dict[str, Any] = {
    **{"learning_rate": 2e-2, "train_freq": 4, "gradient_steps": 4},
    **{"tau": 0.05, "batch_size": 128},
}
OWN: dict[type[ReplayAgent], dict[str, Any]] = {kind: {"c": 0.1} for kind in PRIOR}


@pytest.mark.parametrize("kind", AGENTS)
def test_memory_is_learned_and_needed(kind: type[ReplayAgent]) -> None:
    """A symbol is shown, then blanks, and named at the end."""
    task = Recall(symbols=2, steps=3)
    agent = with_memory(kind, task, 16, **QUICK | OWN.get(kind, {})).learn(1500)
    assert recall(agent, task) == 1.0
    plain = {"recurrent": False, "hidden": (24, 24)} | OWN.get(kind, {})
    assert recall(with_memory(kind, task, 16, **QUICK | plain).learn(700), task) < 0.75


@pytest.mark.parametrize("options", [{"dueling": True}, {"double": False, "n_steps": 1, "target": "hard"}])
def test_options_of_dqn_hold_for_sequences(options: dict[str, Any]) -> None:
    task = Recall(symbols=2, steps=3)
    options |= {"target_interval": 20}
    assert recall(with_memory(DQN, task, 16, **QUICK | options).learn(1500), task) == 1.0


@pytest.mark.parametrize("burn_in", [0, 1])
def test_episodes_longer_than_a_sequence_go_on_from_the_state_that_was_kept(burn_in: int) -> None:
    task = Recall(symbols=2, steps=4)
    pieces = {"sequence_length": 2, "burn_in": burn_in, "buffer_size": 500}
    assert recall(with_memory(DQN, task, 16, **QUICK | pieces).learn(2500), task) == 1.0


# The same as from single steps.


@pytest.mark.parametrize("kind", AGENTS)
def test_an_update_is_that_of_single_steps(kind: type[ReplayAgent]) -> None:
    """A network without memory, the same steps, whole episodes: the same gradient, however they are replayed."""
    idle = {"learning_starts": 10**9, "learning_rate": 0.0123, "buffer_size": 10_000}
    steps, both = (with_memory(kind, Heap(), recurrent=r, **idle).learn(800) for r in (False, True))
    torch.manual_seed(1)
    for name, network in steps.networks.items():
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        both.networks[name] = network
    # What was collected differs: put the sequences' own transitions into the replay of steps.
    batch = both.buffer.take(np.arange(len(both.buffer)))
    found = _as_steps(batch, steps.buffer.take(np.zeros(1, np.int64)))
    grads = []
    for learn, seen in ((steps.update, found), (both.update_sequences, batch)):
        grads.append(_gradients(steps, both, learn, seen))
    assert len(found.actions) > 500
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*grads, strict=True))
    assert sum(float(a.abs().sum()) for a in grads[0]) > 0.01


def _as_steps(batch: Any, form: Any) -> Any:
    columns = {name: value.numpy() for name, value in batch.columns.items()}
    flat = batch.observations.flatten(0, 1).numpy()
    seen = {"observations": flat[batch.places], "next_observations": flat[batch.onward]}
    return type(form)(**columns, **seen, indices=np.arange(len(batch.places)))


def _gradients(steps: Any, both: Any, learn: Any, seen: Any) -> list[torch.Tensor]:
    """Of the loss, taken where the optimisers would step."""
    found: list[torch.Tensor] = []
    for agent in (steps, both):
        agent.optimizers = {}
        agent._move_targets = lambda: None
        agent.clip = lambda networks: 0.0
    for network in steps.networks.values():
        network.zero_grad()
    learn(seen)
    for name in steps.learned:
        found += [p.grad.clone() for p in steps.networks[name].parameters()]
    return found


# Masks, seeds, checkpoints.


@pytest.mark.parametrize("kind", AGENTS)
def test_masked_actions_are_never_taken(kind: type[ReplayAgent]) -> None:
    check_mask_is_kept(with_memory(kind, Dice()), Dice(), total=400)


@pytest.mark.parametrize("kind", AGENTS)
def test_resumed_is_as_if_never_stopped(kind: type[ReplayAgent], tmp_path: Path) -> None:
    config = LSTM | {"sequence_length": 3, "burn_in": 1} | ({"prior": "uniform"} if kind in PRIOR else {})
    check_resume(kind, Heap(), tmp_path / "checkpoint", **config)


def test_resumed_where_the_environment_resets_at_once(tmp_path: Path) -> None:
    def env() -> TaskVectorEnv:
        return TaskVectorEnv(Dice(), 4, autoreset_mode=AutoresetMode.SAME_STEP, max_episode_steps=3)

    options = LSTM | {"sequence_length": 2, "n_steps": 2}
    whole = agent_on(DQN, Dice(), env=env(), **options).learn(300)
    calls = iter(range(100))
    part = agent_on(DQN, Dice(), env=env(), **options).learn(300, callback=lambda a: next(calls) < 20)
    part.save(tmp_path / "checkpoint")
    assert_same(whole, DQN.load(tmp_path / "checkpoint", env()).learn(300))


@pytest.mark.parametrize("kind", AGENTS)
def test_same_seed_same_weights(kind: type[ReplayAgent]) -> None:
    config = LSTM | ({"prior": "uniform"} if kind in PRIOR else {})
    check_same_seed(kind, Heap(), **config)


@pytest.mark.parametrize("name", ["policy", "critic"])
def test_a_sequence_begins_with_the_state_that_the_one_before_it_led_to(name: str) -> None:
    """Of both networks, as long as they have not learned in between."""
    agent = with_memory(OffPolicyAC, Heap(), sequence_length=2, learning_starts=10**9).learn(300)
    columns, network = agent.buffer._columns, agent.networks[name]
    whole = np.arange(len(agent.buffer))
    seen = torch.as_tensor(columns["observations"][whole]).swapaxes(0, 1)[:2]
    begun = tuple(torch.as_tensor(columns[f"state.{name}.{i}"][whole]).swapaxes(0, 1) for i in (0, 1))
    with torch.inference_mode():
        _, led = network.sequence(seen, torch.zeros(2, len(whole), dtype=torch.bool), begun)
    after, before = led[0][0].numpy(), begun[0][0].numpy()
    going_on = before[np.abs(before).sum(axis=1) > 0]
    assert len(going_on) > 50
    assert np.abs(going_on[:, None] - after[None]).max(axis=2).min(axis=1).max() < 1e-5


@pytest.mark.parametrize("kind", AGENTS)
def test_prediction_carries_its_state(kind: type[ReplayAgent]) -> None:
    """What is said of a sequence depends on its beginning, and not once an episode starts anew."""
    task = Recall(symbols=3, steps=3)
    agent = with_memory(kind, task, epsilon_end=0.0) if kind in (DQN, KLQ) else with_memory(kind, task)
    for parameter in agent.networks["policy"].parameters():
        torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(1))
    first, blank = np.array([0, 1, 2]), np.full(3, 3)
    _, state = agent.predict(first, None, np.ones(3, bool))
    after = agent.act(blank, state, np.zeros(3, bool), True, None)[1]
    starting = np.array([False, True, True])
    _, cleared = agent.act(blank, state, starting, True, None)
    fresh = agent.act(blank, None, np.ones(3, bool), True, None)[1]
    hidden = [s["policy"][0][0].numpy() for s in (after, cleared, fresh)]
    assert np.allclose(hidden[1][0], hidden[0][0])
    assert np.allclose(hidden[1][1:], hidden[2][1:])
    assert not np.allclose(hidden[0][1], hidden[2][1], atol=1e-3)
    told = [agent.policy_step(blank, None, np.zeros(3, bool), s)[1]["policy"][0] for s in (state, after)]
    assert float((told[0] - told[1]).abs().max()) > 1e-3


# Priors with memory.


class Last(Tokens):
    """Tokens that shows the last token alone: neither the step nor the token before it."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.observation_space = spaces.Discrete(self.tokens + 1)

    def observe(self, state: Any) -> Any:
        return state.last.copy()


@pytest.fixture(scope="module")
def note_rnn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recurrent network that bc trained on another's episodes."""
    return cloned(tmp_path_factory.mktemp("priors"), "lstm")


@pytest.fixture(scope="module")
def note_transformer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with attention in place of the LSTM."""
    return cloned(tmp_path_factory.mktemp("priors"), "transformer")


def cloned(folder: Path, trunk: str) -> Path:
    env = TaskVectorEnv(Last(3, 3), 32)
    small: dict[str, Any] = {"hidden": (16, 16), "recurrent": True, "learning_rate": 0.03}
    make_agent("reinforce", env, **small).learn(32 * 3 * 10).save(folder / "teacher")
    prior = make_agent("bc", env, teacher=str(folder / "teacher"), episodes=256, trunk=trunk, **small)
    prior.learn(256 * 3 * 15).save(folder / "prior")
    return folder / "prior"


def along_all(agent: Any, task: Tokens) -> Any:
    """Log-probability of every sequence, the state carried along, float[S]."""
    sequences, _, _ = task.sequences()
    rows = np.arange(len(sequences))
    state, total, memory = task.reset(RNG, len(sequences)), np.zeros(len(sequences)), None
    for t, column in enumerate(sequences.T):
        starts = np.full(len(sequences), t == 0)
        log_probs, memory = agent.policy_step(task.observe(state), None, starts, memory)
        total += log_probs.numpy()[rows, column]
        state, _, _ = task.step(state, column, RNG)
    return total


def regret(agent: Any, prior: Any, task: Tokens) -> float:
    """log Z - (E[R / c] - KL(pi || p)), by listing all sequences."""
    log_prior, log_policy = along_all(prior, task), along_all(agent, task)
    value = task.sequences()[1] / agent.config.c + log_prior
    return float(np.logaddexp.reduce(value) - np.exp(log_policy) @ (value - log_policy))


SOFT: dict[str, Any] = {
    **{"recurrent": True, "learning_rate": 1e-2, "train_freq": 4, "gradient_steps": 4},
    **{"tau": 0.05, "batch_size": 128, "sequence_length": 4, "c": 1.0},
}


@pytest.mark.parametrize(
    ("kind", "hidden"), [(Psi, (16, 16)), (Psi, (24,)), (G, (16, 16))], ids=["psi", "psi-beside", "g"]
)
def test_comes_near_the_optimum_beside_a_prior_with_memory(
    kind: type[ReplayAgent], hidden: tuple[int, ...], note_rnn: Path
) -> None:
    """Whether it began as the prior, or adds log p to what it learns from scratch."""
    task, prior = Last(3, 3), load_agent(note_rnn)
    agent = agent_on(kind, task, 16, **SOFT | {"prior": str(note_rnn), "hidden": hidden})
    assert agent.residual is (kind is Psi and hidden == (24,))
    before, tracker = regret(agent, prior, task), Records()
    assert along_all(agent, task) == pytest.approx(along_all(prior, task), abs=1e-4)  # begins as the prior
    agent.learn(3000, tracker=tracker)
    assert regret(agent, prior, task) < 0.05 < 0.5 < before
    record = tracker.records[-1]
    assert record["kl"] == pytest.approx(record["kl_k1"], abs=5 * record["kl_k1_se"])


@pytest.mark.parametrize(
    ("kind", "trunk", "begun"),
    [(Psi, "transformer", True), (Psi, "lstm", False), (G, "transformer", False), (G, "lstm", False)],
)
def test_comes_near_the_optimum_beside_a_transformer(
    kind: type[ReplayAgent], trunk: str, begun: bool, note_transformer: Path
) -> None:
    """A learner with attention too begins with its weights; one with an LSTM stands beside it."""
    task, prior = Last(3, 3), load_agent(note_transformer)
    own = {"prior": str(note_transformer), "hidden": (16, 16), "trunk": trunk}
    agent = agent_on(kind, task, 16, **SOFT | own)
    assert agent.residual is (kind is Psi and not begun)
    if begun:
        ours, theirs = (a.networks["policy"].trunk.state_dict() for a in (agent, prior))  # type: ignore[attr-defined]
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    before = regret(agent, prior, task)
    assert along_all(agent, task) == pytest.approx(along_all(prior, task), abs=1e-4)
    agent.learn(3000)
    assert regret(agent, prior, task) < 0.05 < 0.5 < before


def test_kl_q_finds_the_best_sequence_beside_a_transformer(note_transformer: Path) -> None:
    task, prior = Last(3, 3), load_agent(note_transformer)
    own = {"prior": str(note_transformer), "hidden": (16, 16), "trunk": "transformer", "learning_rate": 3e-3}
    agent = agent_on(KLQ, task, 16, **SOFT | own).learn(6000)
    value = task.sequences()[1] + along_all(prior, task)
    assert value[int(along_all(agent, task).argmax())] == pytest.approx(value.max(), abs=0.05)


@pytest.mark.parametrize("trunk", ["lstm", "transformer"])
def test_resumed_beside_a_transformer(trunk: str, note_transformer: Path, tmp_path: Path) -> None:
    own = {"prior": str(note_transformer), "hidden": (16, 16), "trunk": trunk, "sequence_length": 2}
    check_resume(Psi, Last(3, 3), tmp_path / "checkpoint", **SOFT | own | {"burn_in": 1})


def test_kl_q_finds_the_best_sequence_beside_a_prior_with_memory(note_rnn: Path) -> None:
    task, prior = Last(3, 3), load_agent(note_rnn)
    agent = agent_on(KLQ, task, 16, **SOFT | {"prior": str(note_rnn), "hidden": (16, 16)}).learn(3000)
    value = task.sequences()[1] + along_all(prior, task)
    taken = int(along_all(agent, task).argmax())
    assert value[taken] == pytest.approx(value.max(), abs=0.05)


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
@pytest.mark.parametrize("length", [2, 5])
def test_what_is_kept_of_the_prior_is_what_it_says_along_the_episode(
    mode: AutoresetMode, length: int, tmp_path: Path
) -> None:
    """At every step of a sequence and after it, also where the episode is truncated there."""
    env = TaskVectorEnv(Dice(), 6, autoreset_mode=mode, max_episode_steps=4)
    make_agent("reinforce", env, hidden=(12,), recurrent=True, learning_rate=0.05).learn(200).save(
        tmp_path / "p"
    )
    options = {"prior": str(tmp_path / "p"), "hidden": (12,), "sequence_length": length, "burn_in": 1}
    agent = agent_on(Psi, Dice(), env=env, recurrent=True, learning_starts=10**9, **options).learn(400)
    prior: Any = load_agent(tmp_path / "p")
    columns, checked = agent.buffer._columns, 0
    for k in range(len(agent.buffer)):
        # It began as the prior and has not learned, so the state that was kept is the prior's too.
        state = tuple(torch.as_tensor(columns[f"state.policy.{i}"][k])[:, None] for i in (0, 1))
        for t in range(int(columns["steps"][k]) + 1):
            if t == columns["steps"][k] and columns["terminated"][k]:
                break
            seen = {key: columns[f"observations/{key}"][k, t][None] for key in ("rolls", "shown")}
            masks = columns["masks"][k, t][None]
            told, state = prior.policy_step(seen, masks, np.zeros(1, bool), state)
            kept = columns["log_prior"][k, t]
            assert kept[masks[0]] == pytest.approx(told.numpy()[0][masks[0]], abs=1e-5)
            assert (kept[~masks[0]] == np.float32(MASKED)).all()
            checked += 1
    assert checked > 300


@pytest.mark.parametrize("kind", PRIOR)
def test_resumed_beside_a_prior_with_memory(kind: type[ReplayAgent], note_rnn: Path, tmp_path: Path) -> None:
    task, options = Last(3, 3), SOFT | {"prior": str(note_rnn), "hidden": (12,), "sequence_length": 3}
    check_resume(kind, task, tmp_path / "checkpoint", **options)


@pytest.mark.parametrize("kind", PRIOR)
def test_predicts_without_an_environment(kind: type[ReplayAgent], note_rnn: Path, tmp_path: Path) -> None:
    task, options = Last(3, 3), SOFT | {"prior": str(note_rnn), "hidden": (12,)}
    agent = agent_on(kind, task, **options).learn(200)
    agent.save(tmp_path / "checkpoint")
    assert (along_all(load_agent(tmp_path / "checkpoint"), task) == along_all(agent, task)).all()


def test_begun_as_the_prior_it_acts_without_it(note_rnn: Path, tmp_path: Path) -> None:
    options = SOFT | {"prior": str(note_rnn), "hidden": (16, 16)}
    agent = agent_on(Psi, Last(3, 3), **options)
    _, state = agent.policy_step(np.zeros(2, int), None, np.ones(2, bool), None)
    assert list(state) == ["policy"]
    agent.save(tmp_path / "checkpoint")
    assert load_agent(tmp_path / "checkpoint").prior is None  # type: ignore[attr-defined]


def test_a_trained_agent_with_memory_can_be_a_prior(note_rnn: Path, tmp_path: Path) -> None:
    task = Last(3, 3)
    agent_on(G, task, **SOFT | {"prior": str(note_rnn), "hidden": (12,)}).learn(300).save(tmp_path / "g")
    agent = agent_on(G, task, **SOFT | {"prior": str(tmp_path / "g"), "hidden": (12,)})
    assert along_all(agent, task) == pytest.approx(along_all(load_agent(tmp_path / "g"), task), abs=1e-5)
    check_resume(G, task, tmp_path / "checkpoint", **SOFT | {"prior": str(tmp_path / "g"), "hidden": (12,)})


# Bad input.


@pytest.mark.parametrize("kind", AGENTS)
@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"sequence_length": 0}, "sequence_length must be 1"),
        ({"recurrent": True, "burn_in": 33}, "burn_in lie between"),
        ({"burn_in": 2}, "burn_in is for networks with memory"),
        ({"recurrent": True, "buffer_size": 31}, "must hold a sequence"),
    ],
)
def test_senseless_settings_are_refused(kind: type[ReplayAgent], wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(DescantError, match=told):
        kind.Config(**wrong)


def test_priorities_are_refused_with_memory() -> None:
    with pytest.raises(DescantError, match="set recurrent or prioritized"):
        DQN.Config(recurrent=True, prioritized=True)


def test_a_prior_with_memory_needs_a_replay_of_sequences(note_rnn: Path) -> None:
    with pytest.raises(DescantError, match="does not fit replay of single steps: set recurrent"):
        agent_on(G, Last(3, 3), prior=str(note_rnn))


def test_sequences_larger_than_the_memory_are_refused_before_any_work() -> None:
    with pytest.raises(DescantError, match="set buffer_size to"):
        agent_on(DQN, Echo(), recurrent=True, buffer_size=10**13)


def test_they_say_that_they_have_memory() -> None:
    assert all(kind.supports_recurrence for kind in (*AGENTS, BC, Reinforce))
