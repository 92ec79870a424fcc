"""BC and DAgger: they learn what they are shown, repeat themselves, keep to the mask; the exact teacher is right."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from descant import make_agent
from descant.agent import make_config
from descant.agents.bc import BC, cloning_loss
from descant.agents.dagger import Dagger, labelled_loss
from descant.agents.demonstrations import (
    join,
    load_demonstrations,
    plain,
    save_demonstrations,
    take_episodes,
)
from descant.agents.teachers import ExactTeacher, labels_along, make_teacher
from descant.errors import DescantError
from descant.evaluation import evaluate
from descant.neural import NeuralAgent
from descant.rollouts import Collector
from descant.shells import TaskEnv, TaskVectorEnv, make_task

from ..tiny_tasks import Dice, Echo, Heap

ID = "descant/Counterpoint-v0"
SMALL: dict[str, Any] = {"hidden": (32,), "learning_rate": 0.01, "num_envs": 16, "batch_size": 8}
AGENTS: list[type[NeuralAgent]] = [BC, Dagger]
FEW: dict[type[NeuralAgent], dict[str, Any]] = {BC: {"episodes": 40}, Dagger: {"updates": 8}}


def agent_on(kind: type[NeuralAgent], task: Any, **config: Any) -> Any:
    env = TaskVectorEnv(task, 16)
    return kind(env, make_config(kind, SMALL | FEW[kind] | config))


def weights_of(agent: Any) -> dict[str, torch.Tensor]:
    return {name: torch.as_tensor(weight).clone() for name, weight in agent.parts().weights.items()}


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


class Records:
    """A tracker that keeps what it is told."""

    def __init__(self) -> None:
        self.records: list[dict[str, float]] = []

    def log(self, step: int, record: dict[str, float]) -> None:
        self.records.append(record)


def random_episodes(task: Any, n: int, seed: int = 0) -> Any:
    """Whole episodes of a player that draws from the mask."""
    rng = np.random.default_rng(seed)

    def act(observation: Any, masks: Any, starts: Any) -> Any:
        masks = np.where(masks.any(axis=1, keepdims=True), masks, True)
        return np.array([rng.choice(np.flatnonzero(row)) for row in masks])

    return plain(Collector(TaskVectorEnv(task, n)).episodes(act, seed=seed))


# The exact teacher.


@pytest.mark.parametrize(
    "task",
    [Echo(), make_task(ID, cantus="dorian", position="above"), make_task(ID, cantus="fux", mask="rules")],
)
def test_the_exact_teacher_agrees_with_the_exact_agent_wherever_one_gets(task: Any) -> None:
    """In states off the best path too."""
    shown = random_episodes(task, 12)
    labels = labels_along(ExactTeacher(TaskVectorEnv(task, 12)), shown)
    exact = make_agent("exact", TaskVectorEnv(task, 12))
    for t in range(len(shown.actions)):
        valid = shown.valid[t]
        expected = np.exp(exact.log_probs(shown.observations[t][valid]))
        np.testing.assert_allclose(labels[t][valid], expected)
        assert not labels[t][~valid].any()


def test_the_teacher_plans_only_for_what_comes_up() -> None:
    task = make_task(ID, pool=16)
    teacher = ExactTeacher(TaskVectorEnv(task, 2))
    labels_along(teacher, random_episodes(task, 2))
    assert 1 <= len(teacher.tables) <= 2
    wrapped = ExactTeacher(TaskEnv(ID, cantus="dorian", position="above"))
    assert len(wrapped.problem_of) == 1


def test_too_many_problems_or_no_task_are_refused() -> None:
    with pytest.raises(DescantError, match=r"6000 starts here, too many .* pool=32"):
        make_teacher("exact", TaskVectorEnv(make_task(ID, pool=3000), 2))
    with pytest.raises(DescantError, match="enumerable task"):
        make_teacher("exact", TaskVectorEnv(Dice(), 2))
    with pytest.raises(DescantError, match="enumerable task"):
        make_agent("dagger", "CartPole-v1", num_envs=2)


# Demonstrations.


@pytest.mark.parametrize("task", [Heap(), Dice()])
def test_demonstrations_are_read_as_written(task: Any, tmp_path: Path) -> None:
    shown = random_episodes(task, 9)
    save_demonstrations(tmp_path / "a.safetensors", shown)
    read = load_demonstrations(tmp_path / "a.safetensors", task.observation_space, task.action_space)
    for name in ("actions", "valid", "masks", "starts"):
        np.testing.assert_array_equal(getattr(read, name), getattr(shown, name))
    np.testing.assert_equal(read.observations, shown.observations)


def test_demonstrations_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path, heap = tmp_path / "a.safetensors", Heap()
    save_demonstrations(path, random_episodes(heap, 3))
    for other in (Echo(), Dice()):
        with pytest.raises(DescantError, match="do not fit the environment"):
            load_demonstrations(path, other.observation_space, other.action_space)
    shown = random_episodes(heap, 3)
    shown.actions[0, 0] = 7
    save_demonstrations(path, shown)
    with pytest.raises(DescantError, match="do not fit the environment"):
        load_demonstrations(path, heap.observation_space, heap.action_space)
    path.write_bytes(b"nothing")
    for wrong in (path, tmp_path / "none"):
        with pytest.raises(DescantError, match="holds no demonstrations"):
            load_demonstrations(wrong, heap.observation_space, heap.action_space)


def test_episodes_are_joined_and_taken_whole() -> None:
    one, two = random_episodes(Heap((5,)), 2), random_episodes(Heap((8,)), 3)
    both = join([one, two])
    assert both.valid.sum(axis=0).tolist() == [*one.valid.sum(axis=0), *two.valid.sum(axis=0)]
    back = take_episodes(both, [0, 1])
    np.testing.assert_array_equal(back.actions, one.actions[: len(back.actions)])
    np.testing.assert_array_equal(back.valid, one.valid[: len(back.actions)])


def test_losses_by_hand() -> None:
    assert cloning_loss(torch.tensor([-1.0, -3.0])).item() == 2.0
    log_probs, labels = torch.tensor([[-1.0, -2.0], [-0.5, -9.0]]), torch.tensor([[0.5, 0.5], [1.0, 0.0]])
    assert labelled_loss(log_probs, labels).item() == pytest.approx((1.5 + 0.5) / 2)


# Learning.


@pytest.mark.parametrize("kind", AGENTS)
@pytest.mark.parametrize("recurrent", [False, True])
def test_it_learns_to_name_what_it_sees(kind: type[NeuralAgent], recurrent: bool) -> None:
    agent = agent_on(kind, Echo(), recurrent=recurrent)
    agent.learn(4000 if kind is BC else 1000)
    assert agent.predict(np.arange(4), deterministic=True)[0].tolist() == [0, 1, 2, 3]


def test_dagger_learns_one_cantus() -> None:
    task = make_task(ID, cantus="dorian", position="above")
    agent = agent_on(Dagger, task, updates=40, hidden=(64, 64), batch_size=16)
    agent.learn(4_000)
    assert evaluate(agent, task)[0].score > 0.97  # type: ignore[operator]


def test_bc_from_a_file_learns_what_the_file_shows(tmp_path: Path) -> None:
    """A player that always takes 1 or 3 is not the best, and not to be improved on."""
    shown = random_episodes(Heap((8,)), 64)
    save_demonstrations(tmp_path / "a.safetensors", shown)
    agent = agent_on(BC, Heap((8,)), data=str(tmp_path / "a.safetensors"))
    agent.learn(8000)
    chances = np.exp(agent.log_probs(np.array([[8, 0]]), action_masks=np.array([[False, True, True, True]])))[
        0
    ]
    counts = np.bincount(shown.actions[0], minlength=4) / 64
    np.testing.assert_allclose(chances, counts, atol=0.12)
    assert chances[0] == 0


def test_bc_clones_a_checkpoint(tmp_path: Path) -> None:
    teacher = agent_on(BC, Echo()).learn(4000)
    teacher.save(tmp_path / "teacher")
    pupil = agent_on(BC, Echo(), teacher=str(tmp_path / "teacher")).learn(4000)
    assert pupil.predict(np.arange(4), deterministic=True)[0].tolist() == [0, 1, 2, 3]
    by_chance = agent_on(BC, Dice(), teacher="uniform").learn(4000)  # a prior's name does too
    assert by_chance.shown(by_chance.collector).actions.max() > 0


def test_bc_stops_early_and_takes_back_the_best() -> None:
    agent = agent_on(BC, Heap((8,)), episodes=12, holdout=0.5, patience=3, learning_rate=0.05)
    agent.teacher = make_teacher("uniform", agent.env)
    tracker = Records()
    agent.learn(1_000_000, tracker=tracker)
    losses = [record["heldout_nll"] for record in tracker.records]
    assert agent.finished
    assert int(np.argmin(losses)) == len(losses) - 4
    _, held = agent.split(12)
    assert agent.measure(take_episodes(agent.shown(agent.collector), held))["heldout_nll"] == min(losses)
    before = weights_of(agent)
    agent.learn(2_000_000)
    assert same(before, weights_of(agent))


def test_what_is_held_out_is_not_learned_from(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = agent_on(BC, Echo(), episodes=10, holdout=0.3)
    rows, held = agent.split(10)
    assert (len(rows), len(held)) == (7, 3)
    assert sorted([*rows, *held]) == list(range(10))
    shown = agent.shown(agent.collector)
    spoiled = plain(shown)
    spoiled.actions = shown.actions.copy()
    spoiled.actions[:, held] = 0
    other = agent_on(BC, Echo(), episodes=10, holdout=0.3)
    other._shown = spoiled
    tracker, other_tracker = Records(), Records()
    agent.learn(100, tracker=tracker)
    other.learn(100, tracker=other_tracker)
    assert torch.equal(
        agent.networks["policy"].heads["policy"].weight, other.networks["policy"].heads["policy"].weight
    )
    assert tracker.records[0]["heldout_nll"] != other_tracker.records[0]["heldout_nll"]


def test_what_a_file_holds_out_is_measured_and_all_of_the_data_learned_from(tmp_path: Path) -> None:
    shown, held = (random_episodes(Heap((8,)), n, seed) for n, seed in ((9, 0), (5, 1)))
    paths = [str(tmp_path / name) for name in ("a", "b")]
    for path, rollout in zip(paths, (shown, held), strict=True):
        save_demonstrations(path, rollout)
    agent = agent_on(BC, Heap((8,)), data=paths[0], heldout=paths[1])
    tracker = Records()
    agent.learn(1, tracker=tracker)
    assert agent.num_timesteps == shown.steps
    record = tracker.records[0]
    assert record == {**record, **agent.measure(held)}
    assert record["heldout_perplexity"] == pytest.approx(np.exp(record["heldout_nll"]))


def test_an_epoch_of_some_episodes_draws_others_each_time() -> None:
    agent = agent_on(BC, Echo(), episodes=20, epoch=6)
    drawn = []
    agent._epoch, epoch = (
        lambda shown, rows, *more: drawn.append(rows) or epoch(shown, rows, *more),
        agent._epoch,
    )
    length = agent.shown(agent.collector).steps // 20
    agent.learn(12 * length)
    assert [len(set(rows)) for rows in drawn] == [6, 6]
    assert set(drawn[0]) != set(drawn[1])
    assert agent.num_timesteps == 12 * length


def test_the_learning_rate_falls_in_a_line() -> None:
    agent, seen = agent_on(BC, Echo(), episodes=12, holdout=0.1, lr_schedule="linear", patience=0), []
    step = agent._gradient_step
    agent._gradient_step = lambda batch: (
        seen.append(agent.optimizers["adam"].param_groups[0]["lr"]) or step(batch)
    )
    epoch = agent.shown(agent.collector).steps * 11 // 12  # one of the twelve is held out
    agent.learn(4 * epoch)
    assert sorted(set(seen), reverse=True) == pytest.approx([0.01, 0.0075, 0.005, 0.0025])


@pytest.mark.parametrize("size", [1, 3, 1024])
def test_measuring_in_parts_changes_nothing(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    agent, shown = agent_on(BC, Heap((8,)), recurrent=True), random_episodes(Heap((8,)), 7)
    whole = agent.measure(shown)
    monkeypatch.setattr("descant.agents.bc.MEASURED", size)
    assert agent.measure(shown) == pytest.approx(whole)


def test_scheduled_sampling_shows_the_policys_own_states() -> None:
    agent = agent_on(BC, Heap((30,)), recurrent=True, scheduled_sampling=1.0)
    shown = agent.shown(agent.collector)
    for share in (1e-12, 1.0):
        played = agent._half_own(agent.collector, shown, share)
        assert played.actions.shape[1] == 40
        n = min(len(played.actions), len(shown.actions))
        both = played.valid[:n] & shown.valid[:n]
        np.testing.assert_array_equal(played.actions[:n][both], shown.actions[:n][both])
        allowed = np.take_along_axis(played.masks, played.actions[..., None], axis=2)[..., 0]
        assert allowed[played.valid].all()
        equal = (played.observations[:n] == shown.observations[:n])[both].all()
        assert equal == (share < 0.5)
    tracker = Records()
    agent.learn(1500, tracker=tracker)
    shares = [record["scheduled_sampling"] for record in tracker.records]
    assert shares[0] == 0.0
    assert shares == sorted(shares)
    assert shares[-1] > 0.5


def test_dagger_gathers_the_states_of_the_policy() -> None:
    agent = agent_on(Dagger, Heap())
    agent.learn(1)
    first = agent.data
    assert first.actions.shape[1] == 16
    agent.learn(200)
    assert agent.data.actions.shape[1] == 16 * agent.iteration
    np.testing.assert_array_equal(agent.data.actions[: len(first.actions), :16], first.actions)
    totals = agent.labels.sum(axis=2)
    np.testing.assert_allclose(totals[agent.data.valid], 1, atol=1e-6)
    assert not totals[~agent.data.valid].any()


def test_the_teachers_share_falls() -> None:
    tracker = Records()
    agent_on(Dagger, Echo(), beta=0.5).learn(200, tracker=tracker)
    assert [r["teacher_share"] for r in tracker.records] == [0.5**i for i in range(len(tracker.records))]
    assert tracker.records[0]["agreement"] == 1.0


# Repeating, saving, going on; the mask.


@pytest.mark.parametrize("kind", AGENTS)
@pytest.mark.parametrize("config", [{}, {"recurrent": True}, {"own": True}])
def test_interrupted_and_resumed_is_uninterrupted(
    kind: type[NeuralAgent], config: dict[str, Any], tmp_path: Path
) -> None:
    if "own" in config:
        config = {"scheduled_sampling": 0.5} if kind is BC else {"beta": 0.7}
    whole = agent_on(kind, Heap(), **config).learn(900)
    half = agent_on(kind, Heap(), **config)
    half.learn(900, callback=lambda agent: agent.num_timesteps < 300)
    assert half.num_timesteps < whole.num_timesteps
    half.save(tmp_path / "half")
    resumed = kind.load(tmp_path / "half", TaskVectorEnv(Heap(), 16)).learn(900)
    assert same(weights_of(whole), weights_of(resumed))
    assert not same(weights_of(whole), weights_of(agent_on(kind, Heap(), seed=1, **config).learn(900)))


def test_a_stopped_agent_stays_stopped(tmp_path: Path) -> None:
    agent = agent_on(BC, Heap((8,)), episodes=12, holdout=0.5, patience=1, learning_rate=0.1)
    agent.learn(1_000_000)
    agent.save(tmp_path / "a")
    again = BC.load(tmp_path / "a", TaskVectorEnv(Heap((8,)), 16))
    assert again.finished
    assert same(weights_of(agent), weights_of(again.learn(2_000_000)))


@pytest.mark.parametrize("kind", AGENTS)
def test_masked_actions_are_never_taken(kind: type[NeuralAgent]) -> None:
    agent = agent_on(kind, Heap()).learn(400)
    masks = np.array([[False, True, False, True]] * 200)
    seen = np.array([[6, 2]] * 200)
    assert set(agent.predict(seen, action_masks=masks)[0]) <= {1, 3}
    data = agent.data if kind is Dagger else agent.shown(agent.collector)
    assert np.take_along_axis(data.masks, data.actions[..., None], 2)[..., 0][
        data.valid & data.masks.any(-1)
    ].all()


@pytest.mark.parametrize(
    ("kind", "config", "message"),
    [
        (BC, {"holdout": 0.0}, "holdout must lie"),
        (BC, {"episodes": 1}, "episodes must be 2"),
        (BC, {"batch_size": 0}, "must be positive"),
        (BC, {"scheduled_sampling": 0.5, "data": "a"}, "needs a teacher"),
        (BC, {"scheduled_sampling": 1.5}, "scheduled_sampling must lie"),
        (BC, {"teacher": "nowhere"}, "nowhere"),
        (BC, {"heldout": "a"}, "heldout goes with data"),
        (BC, {"epoch": -1}, "epoch must be 0"),
        (BC, {"lr_schedule": "steep"}, "must be constant, linear"),
        (BC, {"recurrent": True, "trunk": "tree"}, "Unknown trunk"),
        (Dagger, {"beta": 1.5}, "beta must lie"),
        (Dagger, {"updates": 0}, "must be positive"),
    ],
)
def test_bad_options_are_refused(kind: type[NeuralAgent], config: dict[str, Any], message: str) -> None:
    with pytest.raises(DescantError, match=message):
        agent_on(kind, Echo(), **config)


def test_an_epoch_that_is_not_finite_stops_the_training() -> None:
    agent = agent_on(BC, Echo())
    with torch.no_grad():
        agent.networks["policy"].heads["policy"].weight.fill_(float("nan"))
    with pytest.raises(DescantError, match="not finite"):
        agent.learn(500)


def test_the_options_are_all_told() -> None:
    page = (Path(__file__).parents[2] / "docs/dagger.md").read_text(encoding="utf-8")
    table = re.findall(r"^\| `(\w+)` \|", page.split("| Option | Meaning |")[1], re.MULTILINE)
    options = [f.name for kind in AGENTS for f in dataclasses.fields(kind.Config)]
    assert sorted(table) == sorted(set(options))
