"""DPO: its optimum is the reward's, exactly; it begins as its prior, learns, repeats itself, refuses bad input."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from descant.agent import make_config
from descant.agents.dpo import DPO, dpo_loss, ipo_loss
from descant.cli import main
from descant.errors import DescantError
from descant.makers import load_agent, make_agent
from descant.preferences.comparisons import ClipComparisons
from descant.preferences.exchange import export_jsonl
from descant.preferences.records import Clip, Judgement, Pair
from descant.preferences.store import Store
from descant.shells import TaskVectorEnv
from descant.tasks import Ints

from ..tiny_tasks import Echo, EchoState
from .on_policy_checks import same, weights_of

TOKENS = "descant/Tokens-v0"
WORLD = {"tokens": 3, "steps": 2, "seed": 1}
SMALL: dict[str, Any] = {"hidden": (16,), "learning_rate": 0.01, "prior": "uniform", "batch_size": 16}


def env(n: int = 1, **options: Any) -> Any:
    return gymnasium.make_vec(TOKENS, num_envs=n, **WORLD | options)


def every_pair(environment: Any, scale: float = 1.0) -> tuple[ClipComparisons, Any]:
    """All sequences, all pairs of them with exact probabilities by their returns, and these returns."""
    sequences, returns, _ = environment.unwrapped.task.sequences()
    returns = returns * scale
    clips = tuple(Clip(TOKENS, {}, tuple(map(int, s)), "model") for s in sequences)
    pairs = np.array([(a, b) for a in range(len(clips)) for b in range(a)])
    preferred = 1 / (1 + np.exp(returns[pairs[:, 1]] - returns[pairs[:, 0]]))
    return ClipComparisons(clips, pairs, preferred), returns


def agent_on(environment: Any, comparisons: Any, **config: Any) -> DPO:
    return DPO(environment, make_config(DPO, SMALL | config | {"comparisons": comparisons}))


class Named(Echo):
    """Echo, whose first symbol may be named."""

    def reset(self, rng: np.random.Generator, n: int, options: Mapping[str, Any] | None = None) -> EchoState:
        state = super().reset(rng, n)
        seen: Ints = np.full(n, options["seen"]) if options else state.seen
        return EchoState(seen, state.left)


def echoes(n: int, seed: int = 0) -> ClipComparisons:
    """Random answers in pairs; the one with more right is preferred."""
    rng, clips, right = np.random.default_rng(seed), [], []
    for k in range(n):
        for _ in range(2):
            tokens = tuple(int(t) for t in rng.integers(4, size=3))
            clips.append(Clip(Named.name, {"seen": k % 4}, tokens, "model"))
            right.append(sum(token == (k + t) % 4 for t, token in enumerate(tokens)))
    worth = np.array(right).reshape(n, 2)
    preferred = (np.sign(worth[:, 0] - worth[:, 1]) + 1) / 2
    return ClipComparisons(tuple(clips), np.arange(2 * n).reshape(n, 2), preferred)


# Exactness.


@pytest.mark.parametrize(("beta", "prior"), [(0.5, "task"), (2.0, "uniform")])
def test_at_the_optimum_of_exact_probabilities_the_implicit_reward_is_the_reward(
    beta: float, prior: str
) -> None:
    environment = env()
    found, returns = every_pair(environment)
    agent = agent_on(environment, found, beta=beta, prior=prior, hidden=(32, 32))
    network, rows = agent.networks["policy"].double(), np.arange(len(found))
    search = torch.optim.LBFGS(
        network.parameters(),
        max_iter=3000,
        max_eval=4000,
        tolerance_grad=1e-13,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )

    def closure() -> torch.Tensor:
        search.zero_grad()
        loss = agent.loss(agent.margins(rows), rows)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    search.step(closure)  # type: ignore[no-untyped-call]
    implicit = beta * agent.margins(rows).detach().numpy()
    assert np.abs(implicit - (returns[found.pairs[:, 0]] - returns[found.pairs[:, 1]])).max() < 1e-6
    # The same from the policy itself: beta log pi / p is the reward up to a constant, so pi is p exp(r / beta) / Z.
    task = environment.unwrapped.task
    sequences, _, log_prior = task.sequences()
    if prior == "uniform":
        log_prior = np.full(len(sequences), -2 * np.log(3))
    optimum = log_prior + returns / beta
    optimum -= np.logaddexp.reduce(optimum)
    np.testing.assert_allclose(log_policy_of(agent, task, sequences), optimum, rtol=0, atol=1e-6)


def log_policy_of(agent: Any, task: Any, sequences: Any) -> Any:
    rng, rows = np.random.default_rng(0), np.arange(len(sequences))
    state, total = task.reset(rng, len(sequences)), np.zeros(len(sequences))
    for column in sequences.T:
        total += agent.log_probs(task.observe(state))[rows, column]
        state, _, _ = task.step(state, column, rng)
    return total


def test_losses_and_their_minima_by_hand() -> None:
    h, p = torch.tensor([0.7, -1.2], dtype=torch.float64), torch.tensor([1.0, 0.25], dtype=torch.float64)
    sigmoid = 1 / (1 + np.exp(-2 * h.numpy()))
    for smoothing in (0.0, 0.2):
        t = (1 - smoothing) * p.numpy() + smoothing * (1 - p.numpy())
        logistic = -(t * np.log(sigmoid) + (1 - t) * np.log(1 - sigmoid)).mean()
        squared = (t * (h.numpy() - 0.25) ** 2 + (1 - t) * (h.numpy() + 0.25) ** 2).mean()
        assert dpo_loss(h, p, 2.0, smoothing).item() == pytest.approx(logistic)
        assert ipo_loss(h, p, 2.0, smoothing).item() == pytest.approx(squared)
        with np.errstate(divide="ignore"):
            logits = np.log(t / (1 - t)) / 2
        for loss, best in ((dpo_loss, logits), (ipo_loss, (2 * t - 1) / 4)):
            if np.isfinite(best).all():
                at = torch.tensor(best, requires_grad=True)
                loss(at, p, 2.0, smoothing).backward()  # type: ignore[no-untyped-call]
                assert at.grad is not None
                assert at.grad.abs().max() < 1e-12


@pytest.mark.parametrize("form", [{}, {"recurrent": True}, {"recurrent": True, "trunk": "transformer"}])
def test_margins_are_those_of_the_policy_step_by_step(form: dict[str, Any]) -> None:
    environment = env()
    found, _ = every_pair(environment)
    agent = agent_on(environment, found, prior="task", hidden=(8, 8), **form)
    torch.manual_seed(0)
    torch.nn.init.normal_(agent.networks["policy"].heads["policy"].get_parameter("weight"))
    task = environment.unwrapped.task
    sequences, _, log_prior = task.sequences()
    rng, state, memory = np.random.default_rng(0), task.reset(np.random.default_rng(0), len(sequences)), None
    total = -log_prior
    for t, column in enumerate(sequences.T):
        starts = np.full(len(sequences), t == 0)
        log_probs, memory = agent.policy_step(task.observe(state), None, starts, memory)
        total += log_probs.numpy()[np.arange(len(sequences)), column]
        state, _, _ = task.step(state, column, rng)
    rows = np.array([3, 0, 17, 3])
    expected = total[found.pairs[rows, 0]] - total[found.pairs[rows, 1]]
    np.testing.assert_allclose(agent.margins(rows).detach().numpy(), expected, atol=1e-5)


# The prior.


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        ("reinforce", {"hidden": [12, 8]}),
        ("reinforce", {"hidden": [8], "recurrent": True}),
        ("ppo", {"hidden": [8, 8], "activation": "tanh"}),
    ],
)
def test_it_begins_as_its_prior_whatever_that_looks_like(
    kind: str, form: dict[str, Any], tmp_path: Path
) -> None:
    prior = make_agent(kind, env(4), **form)
    torch.manual_seed(1)
    for parameter in prior.networks["policy"].parameters():  # type: ignore[attr-defined]
        torch.nn.init.normal_(parameter)
    prior.save(tmp_path / "prior")
    environment = env()
    found, _ = every_pair(environment)
    agent = agent_on(environment, found, prior=str(tmp_path / "prior"))
    seen = environment.unwrapped.task.observe(environment.unwrapped.task.starts())
    np.testing.assert_array_equal(agent.log_probs(seen), prior.log_probs(seen))
    np.testing.assert_allclose(agent.margins(np.arange(len(found))).detach().numpy(), 0, atol=1e-5)
    agent.learn(100).save(tmp_path / "agent")
    assert not np.array_equal(agent.log_probs(seen), prior.log_probs(seen))
    np.testing.assert_array_equal(load_agent(tmp_path / "agent").log_probs(seen), agent.log_probs(seen))


def test_a_prior_without_logits_is_refused(tmp_path: Path) -> None:
    make_agent("dqn", env(2), hidden=[16], learning_starts=2).save(tmp_path / "dqn")
    with pytest.raises(DescantError, match="gives no logits of a policy"):
        agent_on(env(), every_pair(env())[0], prior=str(tmp_path / "dqn"))


# Learning.


@pytest.mark.parametrize("loss", ["dpo", "ipo"])
def test_it_learns_to_name_what_it_sees_from_comparisons_alone(loss: str) -> None:
    agent = agent_on(TaskVectorEnv(Named(), 2), echoes(300), loss=loss, patience=0, epochs=15)
    agent.learn(10**6)
    assert agent.predict(np.arange(4), deterministic=True)[0].tolist() == [0, 1, 2, 3]
    assert agent.finished
    assert agent.iteration == 15
    assert agent.num_timesteps == 15 * 270 * 2 * 3


def test_it_translates_what_is_preferred() -> None:
    data = {"size": 8, "max_words": 6}
    made = gymnasium.make_vec("descant/Translation-v0", num_envs=8, **data)
    writer: Any = make_agent(
        "reinforce", made, recurrent=True, trunk="gru", hidden=(8, 16), critic_hidden=(8, 8)
    )
    drawn = writer.collector.episodes(writer.actor(), seed=0, options={"pairs": list(range(8))})
    clips, again = [], writer.collector.episodes(writer.actor(), seed=1, options={"pairs": list(range(8))})
    for row in range(8):
        for rollout in (drawn, again):
            tokens = rollout.actions[rollout.valid[:, row], row].tolist()
            clips.append(Clip("descant/Translation-v0", {"pairs": [row]}, tuple(tokens), "gru"))
    lengths = np.array([len(clip.tokens) for clip in clips]).reshape(8, 2)
    shorter = ClipComparisons(
        tuple(clips), np.arange(16).reshape(8, 2), (lengths[:, 0] < lengths[:, 1]).astype(float)
    )
    agent = agent_on(made, shorter, prior=writer, epochs=10, patience=0)
    before = agent.measure(np.arange(8))
    after = agent.learn(10**6).measure(np.arange(8))
    assert before["margin"] == pytest.approx(0, abs=1e-4)
    assert after["accuracy"] == 1 > before["accuracy"]


def test_it_stops_where_the_held_out_loss_stops_falling_and_takes_the_best_weights() -> None:
    rng = np.random.default_rng(0)
    made = echoes(60)
    noise = dataclasses.replace(made, preferred=rng.integers(2, size=60).astype(float))
    agent = agent_on(TaskVectorEnv(Named(), 2), noise, patience=3, epochs=200, learning_rate=0.05)
    losses: list[float] = []

    class Tracker:
        def log(self, step: int, record: dict[str, float]) -> None:
            losses.append(record["heldout_loss"])

    agent.learn(10**6, tracker=Tracker())
    best = int(np.argmin(losses))
    assert len(losses) == best + 1 + 3 < 200
    assert agent.measure(agent.rows[1])["loss"] == pytest.approx(min(losses))


def test_learning_brings_the_policy_to_the_tilted_prior() -> None:
    environment = env()
    found, returns = every_pair(environment)
    agent = agent_on(environment, found, beta=1.0, holdout=0.03, patience=0, epochs=300, hidden=(32, 32))
    agent.learn(10**9)
    sequences, _, _ = environment.unwrapped.task.sequences()
    optimum = returns - np.logaddexp.reduce(returns)
    found_policy = log_policy_of(agent, environment.unwrapped.task, sequences)
    assert (np.exp(optimum) * (optimum - found_policy)).sum() < 0.02


# Repeating and going on.


@pytest.mark.parametrize("form", [{}, {"recurrent": True}])
def test_interrupted_and_resumed_is_uninterrupted(form: dict[str, Any], tmp_path: Path) -> None:
    tuned = {**form, "patience": 2, "epochs": 9, "learning_rate": 0.05}
    store, _ = file_of(tmp_path)
    whole = agent_on(env(), store, **tuned).learn(10**6)
    half = agent_on(env(), store, **tuned)
    half.learn(10**6, callback=lambda agent: agent.iteration < 3)
    half.save(tmp_path / "half")
    resumed = DPO.load(tmp_path / "half", env())
    assert resumed.iteration == 3 < whole.iteration
    resumed.learn(10**6)
    assert same(weights_of(whole), weights_of(resumed))
    assert resumed.stale == whole.stale
    assert not same(weights_of(whole), weights_of(agent_on(env(), store, seed=1, **tuned).learn(10**6)))
    resumed.save(tmp_path / "end")
    assert DPO.load(tmp_path / "end", env()).finished


def file_of(folder: Path, environment: str = TOKENS, tokens: int = 3) -> tuple[str, str]:
    """A store of judged pairs, and an export of it."""
    rng = np.random.default_rng(0)
    path = folder / f"{environment.split('/')[1]}-{tokens}.db"
    with Store.create(path) as store, store.transaction():
        clips = [Clip(environment, {}, (a, b), "m") for a in range(tokens) for b in range(tokens)]
        for clip in clips:
            store.add_clip(clip)
        for a in range(len(clips)):
            for b in range(a):
                pair = Pair(clips[a].hash, clips[b].hash, "a", "all")
                store.add_pair(pair)
                store.judge(Judgement(pair.uuid, "ada", str(rng.choice(["a", "b", "tie"]))))
    with Store(path) as store:
        export_jsonl(store, path.with_suffix(".jsonl"))
    return str(path), str(path.with_suffix(".jsonl"))


def test_a_store_and_its_export_teach_the_same(tmp_path: Path) -> None:
    one, two = (agent_on(env(), path).learn(200) for path in file_of(tmp_path))
    assert same(weights_of(one), weights_of(two))


def test_comparisons_made_in_python_are_not_kept_but_can_be_given_again(tmp_path: Path) -> None:
    found, _ = every_pair(env())
    agent_on(env(), found).learn(100).save(tmp_path / "a")
    loaded = DPO.load(tmp_path / "a", env())
    with pytest.raises(DescantError, match=r"set agent\.comparisons"):
        loaded.learn(10**6)
    loaded.comparisons = found
    assert loaded.learn(10**6).finished


# Bad input.


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"beta": 0.0}, "beta must be above 0"),
        ({"beta": float("nan")}, "beta must be above 0"),
        ({"loss": "kto"}, "dpo or ipo"),
        ({"label_smoothing": 0.5}, "below 0.5"),
        ({"holdout": 0.0}, "between 0 and 1"),
        ({"epochs": 0}, "must be positive"),
        ({"prior": ""}, "needs a prior"),
        ({"comparisons": ""}, "learns from comparisons"),
        ({"comparisons": "nowhere.db"}, "Cannot read 'nowhere.db'"),
    ],
)
def test_bad_options_are_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(DescantError, match=message):
        DPO(env(), make_config(DPO, SMALL | {"comparisons": every_pair(env())[0]} | config))


@pytest.mark.parametrize(
    ("environment", "tokens", "message"),
    [
        ("descant/Melody-v0", 3, "was written in descant/Melody-v0, not in descant/Tokens-v0"),
        (TOKENS, 4, "another vocabulary"),
    ],
)
def test_comparisons_of_elsewhere_are_refused_before_there_is_a_run(
    environment: str,
    tokens: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    store, _ = file_of(tmp_path, environment, tokens)
    command = ["train", TOKENS, "--agent", "dpo", "--set", "tokens=3", "steps=2", "--out", "run"]
    command += ["--config.prior", "task", "--config.comparisons", store]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not Path("run").exists()


def test_it_is_trained_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    _, export = file_of(tmp_path)
    command = [
        "train",
        TOKENS,
        "--agent",
        "dpo",
        "--set",
        "tokens=3",
        "steps=2",
        "--out",
        "run",
        "--no-progress",
    ]
    assert main([*command, "--config.prior", "task", "--config.comparisons", export]) == 0
    assert "done" in capsys.readouterr().out
    assert load_agent("run").name == "dpo"


def test_weights_that_are_no_numbers_are_never_saved(tmp_path: Path) -> None:
    agent = agent_on(env(), every_pair(env())[0], learning_rate=1e30)
    with pytest.raises(DescantError, match="lower learning_rate"):
        agent.learn(10**6).save(tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_the_options_are_all_told() -> None:
    page = (Path(__file__).parents[2] / "docs/dpo.md").read_text(encoding="utf-8")
    table = re.findall(r"^\| `(\w+)` \|", page.split("| Option | Meaning |")[1], re.MULTILINE)
    assert table == [field.name for field in dataclasses.fields(DPO.Config)]
