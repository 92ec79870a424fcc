"""`bench kl-control`: lines drawn evenly, the prior, what is measured, the exact frontier, the bar and the picture."""

from __future__ import annotations

import dataclasses
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from descant.benchmarks import kl_control, kl_prior
from descant.benchmarks.jobs import Done, Job
from descant.benchmarks.kl_control import (
    CS,
    EXACT,
    KL_CONTROL,
    METER,
    METHODS,
    PRIOR,
    TUNING,
    WORLDS,
    MeterCheck,
    jobs,
    margins,
    tables,
    tune_one,
)
from descant.benchmarks.kl_frontier import exact_points, expected, reward_at
from descant.benchmarks.kl_measure import distinct, measure, play
from descant.benchmarks.kl_prior import (
    ENV,
    legal_lines,
    load_prior,
    measured_lines,
    measured_on,
    prior_in,
    world_options,
)
from descant.errors import DescantError
from descant.makers import make_agent
from descant.planning import count_episodes, enumerate_task
from descant.registry import tasks
from descant.tasks import replay, size, take_rows

SHORT = "D4 F4 E4 D4"
TINY: dict[str, Any] = {
    **PRIOR,
    "pool": 160,
    "lines": 3000,
    "held_out": 4,
    "held_out_lines": 400,
    "lines_played": 400,
    "hidden": [48, 48],
    "batch_size": 16,
    "learning_rate": 3e-3,
    "epochs": 4,
    "worlds": ["generated", SHORT],
}
TUNED = TUNING | {"hidden": [48, 48], "num_envs": 64}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("priors")


@pytest.fixture(scope="module")
def said(folder: Path) -> dict[str, Any]:
    return prior_in(folder, TINY)


# Lines


def test_lines_are_drawn_evenly_from_all_legal_ones() -> None:
    task = tasks.get(ENV)(cantus="D4 F4 E4 F4 E4 D4", position="above")
    (count,) = count_episodes(enumerate_task(task, allowed=task.strict))  # type: ignore[attr-defined]
    lines = legal_lines(task, task.starts(), 400 * count, np.random.default_rng(0))
    found = Counter(map(tuple, lines.actions.T.tolist()))
    assert len(found) == count > 5
    chi_squared = sum((n - 400) ** 2 / 400 for n in found.values())
    assert chi_squared < count + 5 * (2 * count) ** 0.5  # five deviations
    assert lines.nll_at_best() == pytest.approx(np.log(count) / 6)


def test_every_line_is_legal_and_what_was_seen_of_it_is_right() -> None:
    task: Any = tasks.get(ENV)(pool=160)
    lines = legal_lines(task, task.starts(), 200, np.random.default_rng(0))
    lengths = lines.valid.sum(axis=0)
    assert len(set(lengths.tolist())) > 1
    assert lines.notes == lengths.sum()
    by_first = {row.tobytes(): k for k, row in enumerate(task.observe(task.starts()))}
    for k in range(20):
        start = by_first[lines.observations[0, k].tobytes()]
        episode = replay(task, take_rows(task.starts(), [start]), lines.actions[: lengths[k], k])
        assert all(finding.severity == "warning" for finding in task.rules.explain(episode))
        for t, state in enumerate(episode.states[:-1]):
            assert (task.observe(state)[0] == lines.observations[t, k]).all()
            assert (task.action_mask(state)[0] == lines.masks[t, k]).all()


def test_starts_without_a_legal_line_are_passed_over() -> None:
    task: Any = tasks.get(ENV)(pool=1024)
    counts = np.array(count_episodes(enumerate_task(task, allowed=task.strict)))
    none, some = np.flatnonzero(counts == 0)[:3], np.flatnonzero(counts)[:1]
    starts = take_rows(task.starts(), np.concatenate([none, some]))
    lines = legal_lines(task, starts, 50, np.random.default_rng(0))
    assert (lines.observations[0] == task.observe(take_rows(task.starts(), some))).all()
    assert lines.log_counts == pytest.approx(np.log(float(counts[some[0]])))


def test_the_likelihood_of_chance_is_that_of_chance() -> None:
    lines = measured_lines("generated", TINY)
    task, _ = measured_on("generated", TINY)
    assert lines.nll(make_agent("random", ENV)) == pytest.approx(lines.nll_of_chance(), abs=1e-6)
    assert lines.observations.shape[1] == TINY["held_out_lines"]
    assert task.observation_space == tasks.get(ENV)(pool=8).observation_space


def test_what_is_measured_on_was_not_learned_from() -> None:
    learned = {p.cantus for p in tasks.get(ENV)(pool=1024).problems.problems}  # type: ignore[attr-defined]
    task, starts = measured_on("generated", PRIOR)
    chosen = [task.problems.problems[i] for i in task.problems.problem_of(starts)]
    assert len({p.cantus for p in chosen}) == len(chosen) == PRIOR["held_out"]
    assert not learned & {p.cantus for p in chosen}
    assert Counter(p.position for p in chosen) == {"above": 12, "below": 12}
    assert len({len(p.cantus) for p in chosen}) > 3
    assert size(measured_on("dorian", PRIOR)[1]) == 1


def test_cantus_firmi_that_were_learned_from_are_never_measured_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kl_prior, "HELD_OUT_SEED", 0)  # the very pool that is learned from
    with pytest.raises(DescantError, match="Only 0 cantus firmi are left"):
        measured_on("generated", TINY)


# The prior


def test_the_prior_is_a_run_that_has_learned(said: dict[str, Any], folder: Path) -> None:
    run = Path(said["path"])
    assert {"config.json", "metrics.jsonl", "checkpoints"} <= {f.name for f in run.iterdir()}
    assert (run.parent / "lines.safetensors").exists()
    assert said["nll_at_best"] < said["nll"] < said["nll_of_chance"] - 0.2
    prior = load_prior(said)
    assert measured_lines("generated", TINY).nll(prior) == pytest.approx(said["nll"])
    tuned = make_agent("reinforce", ENV, init=str(run), prior=str(run), hidden=(48, 48), num_envs=4)
    task, starts = measured_on("generated", TINY)
    seen, masks = task.observe(starts), task.action_mask(starts)
    assert tuned.log_probs(seen, action_masks=masks) == pytest.approx(
        prior.log_probs(seen, action_masks=masks)
    )


def test_a_prior_is_made_once_even_by_two_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, together = [], threading.Barrier(2)

    def make(home: Path, settings: dict[str, Any]) -> dict[str, Any]:
        home.mkdir()
        made.append(home)
        threading.Event().wait(0.2)
        return {"path": str(home / "run"), "nll": 1.0}

    def ask() -> None:
        together.wait()
        prior_in(tmp_path, {"a": 1})

    monkeypatch.setattr(kl_prior, "make_prior", make)
    both = [threading.Thread(target=ask) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert len(made) == 1
    prior_in(tmp_path, {"a": 2})
    assert len(set(made)) == 2  # other settings are another prior


def test_a_prior_that_was_left_half_made_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(home: Path, settings: dict[str, Any]) -> dict[str, Any]:
        home.mkdir()
        (home / "half").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(kl_prior, "make_prior", dies)
    with pytest.raises(KeyboardInterrupt):
        prior_in(tmp_path, {})
    monkeypatch.setattr(kl_prior, "make_prior", lambda home, settings: home.mkdir() or {"nll": 2.0})
    assert prior_in(tmp_path, {})["nll"] == 2.0
    assert not list(tmp_path.glob("*/half"))


# What is measured


def test_the_prior_measured_against_itself(said: dict[str, Any]) -> None:
    found = measure(load_prior(said), said, "generated", TINY, 0)
    assert found["kl"] == found["kl_per_line"] == 0
    assert found["heldout_nll"] == pytest.approx(said["nll"])
    assert -found["prior_log_prob"] == pytest.approx(found["entropy"], rel=0.1)
    assert 0 < found["score"] < 1
    assert found["distinct"] > 0.9


def test_what_is_sampled_agrees_with_what_is_exact(said: dict[str, Any]) -> None:
    task, starts = measured_on(SHORT, TINY)
    prior, other = load_prior(said), make_agent("reinforce", ENV, hidden=(16,), seed=3)
    graph = enumerate_task(task)
    log_policy, log_prior = ([], [])
    for layer in graph.layers:
        seen, masks = task.observe(layer.states), task.action_mask(layer.states)
        for agent, kept in ((other, log_policy), (prior, log_prior)):
            kept.append(agent.log_probs(seen, action_masks=masks)[layer.source, layer.action])
    kl, reward = expected(graph, log_policy, log_prior)
    many = take_rows(starts, np.zeros(20_000, int))
    found = play(other, prior, task, many, np.random.default_rng(0))
    for values, exact in ((found.kl.sum(axis=0), kl), (found.rewards.sum(axis=0), reward)):
        assert abs(values.mean() - exact) < 4 * values.std() / len(values) ** 0.5
    sampled = play(other, other, task, many, np.random.default_rng(1))
    assert (sampled.kl == 0).all()


def test_lines_of_different_lengths_end_when_they_end(said: dict[str, Any]) -> None:
    task, starts = measured_on("generated", TINY)
    prior = load_prior(said)
    found = play(prior, prior, task, starts, np.random.default_rng(0))
    lengths = found.valid.sum(axis=0)
    assert lengths.tolist() == task.problems.lengths[task.problems.problem_of(starts)].tolist()
    assert len(set(lengths.tolist())) > 1
    for k, legal in enumerate(found.legal):
        episode = replay(task, take_rows(starts, [k]), found.actions[: lengths[k], k])
        findings = task.rules.explain(episode)
        assert found.rewards[:, k].sum() == pytest.approx(-sum(f.cost for f in findings))
        assert legal == all(f.severity == "warning" for f in findings)


def test_a_legal_line_counts_as_legal_however_short(said: dict[str, Any]) -> None:
    task, starts = measured_on("generated", TINY)
    lines = legal_lines(task, starts, 30, np.random.default_rng(0))

    class Reader:
        """Writes the lines, whatever the state."""

        step = -1

        def log_probs(self, observation: Any, action_masks: Any = None) -> Any:
            self.step += 1
            return np.where(np.arange(52) == lines.actions[self.step][:, None], 0.0, -1e9)

    first = {row.tobytes(): k for k, row in enumerate(task.observe(starts))}
    rows = take_rows(starts, [first[row.tobytes()] for row in lines.observations[0]])
    reader: Any = Reader()
    assert play(reader, load_prior(said), task, rows, np.random.default_rng(0)).legal.all()


def test_distinct_lines_are_told_apart_within_a_problem_and_by_what_is_valid() -> None:
    actions = np.array([[1, 1, 1, 1], [2, 2, 3, 9]])
    valid = np.array([[True] * 4, [True, True, True, False]])
    assert distinct(actions, valid, np.array([0, 0, 0, 0])) == 0.75
    assert distinct(actions, valid, np.array([0, 1, 0, 1])) == 1.0
    valid[1, 2] = False  # now two differ only after their end
    assert distinct(actions, valid, np.array([0, 0, 0, 0])) == 0.5


# The frontier


def test_the_exact_frontier_is_that_of_the_exact_agent(said: dict[str, Any]) -> None:
    task, starts = measured_on(SHORT, TINY)
    (zero, _), *points = exact_points(load_prior(said), task, starts, [3.0, 0.1, 0.01])
    assert zero == pytest.approx(0, abs=1e-12)
    for c, (kl, reward) in zip((3.0, 0.1, 0.01), points, strict=True):
        env = make_env(SHORT)
        agent: Any = make_agent("exact-kl", env, prior=said["path"], c=c).learn(1)
        assert reward / c - kl == pytest.approx(agent.start_value(), abs=1e-6)


def make_env(world: str) -> Any:
    """One row of a world."""
    import gymnasium

    return gymnasium.make_vec(ENV, num_envs=1, **world_options(world, TINY))


def test_the_exact_frontier_is_concave_and_nobody_is_above_it(said: dict[str, Any]) -> None:
    prior = load_prior(said)
    task, starts = measured_on("generated", TINY)
    starts = take_rows(starts, [0, 1])
    points = exact_points(prior, task, starts, EXACT[::2])
    kl, reward = np.array(points).T
    slopes = np.diff(reward) / np.diff(kl)
    assert (np.diff(kl) > 0).all()
    assert (slopes > 0).all()
    assert (np.diff(slopes) < 0).all()
    alone = [exact_points(prior, task, take_rows(starts, [k]), EXACT[::2]) for k in range(2)]
    assert np.mean(alone, axis=0) == pytest.approx(np.array(points))
    for seed in range(3):  # other policies, exactly
        found = []
        for k in range(2):
            graph = enumerate_task(task, take_rows(starts, [k]))
            rng, log_policy, log_prior = np.random.default_rng(seed), [], []
            for layer in graph.layers:
                seen, masks = task.observe(layer.states), task.action_mask(layer.states)
                p = prior.log_probs(seen, action_masks=masks)
                pi = p + np.where(masks, rng.normal(size=p.shape), 0)
                pi -= np.logaddexp.reduce(pi, axis=1, keepdims=True)
                log_policy.append(pi[layer.source, layer.action])
                log_prior.append(p[layer.source, layer.action])
            found.append(expected(graph, log_policy, log_prior))
        kl, reward = np.mean(found, axis=0)
        assert reward < reward_at(points, kl)


def test_between_points_reward_is_had_by_lot_and_beyond_the_last_no_more() -> None:
    points = [(1.0, -0.5), (0.0, -1.0), (3.0, 0.0)]
    assert [reward_at(points, kl) for kl in (0.0, 0.5, 1.0, 2.0, 3.0, 9.0)] == [-1, -0.75, -0.5, -0.25, 0, 0]


# The study


def test_there_is_a_job_for_every_seed_of_every_method_in_every_world() -> None:
    made = jobs(range(2))
    assert len({job.key for job in made}) == len(made) == 1 + 2 * len(WORLDS) + 2 * len(WORLDS) * len(METHODS)
    assert all(job.shares == "priors" for job in made)
    works = {job.work.partition(":")[2] for job in made}
    assert all(callable(getattr(kl_control, work)) for work in works)
    assert made[0].arguments == {"prior": PRIOR}


def test_tuning_logs_the_meter_whatever_the_method(said: dict[str, Any], folder: Path) -> None:
    for options in ({}, {"penalty": "ewc"}, {"penalty": "l2-sp"}, {"kl_coef": 0.1}):
        found = tune_one(SHORT, 1000, TUNED | options, TINY, 0, str(folder))
        assert found["records"] > 1
        assert found["lacking"] == 0


def test_a_dear_kl_holds_what_reward_alone_forgets(said: dict[str, Any], folder: Path) -> None:
    plain, held = (
        tune_one("generated", 25_000, TUNED | {"kl_coef": c}, TINY, 0, str(folder)) for c in (0.0, 30.0)
    )
    assert held["kl_per_line"] < 0.1 * plain["kl_per_line"]
    assert plain["reward"] > held["reward"]


def test_the_meter_check_counts_records_that_lack_a_field() -> None:
    check, whole = MeterCheck(), dict.fromkeys(METER, 1.0)
    check.log(0, whole)
    check.log(1, {k: v for k, v in whole.items() if k != "kl_k3_se"})
    assert (check.records, check.lacking) == (2, 1)


def value(kl: float, reward: float, lacking: int = 0) -> dict[str, float]:
    """What a job would have found."""
    names = {name: 0.5 for name, _ in kl_control.MEASURES}
    return names | {"kl_per_line": kl, "reward": reward, "records": 9, "lacking": lacking}


def done_of(changed: dict[str, dict[str, float]] | None = None, error: str = "") -> list[Done]:
    """Two seeds of everything: KL control on a frontier, the others below it but for those `changed`, by method."""
    found = []
    for job in jobs(range(2)):
        work, seed = job.work.partition(":")[2], job.arguments.get("seed", 0)
        if work == "prior_facts":
            own: Any = {"epochs": 1, "notes": 9, "nll": 1.0, "nll_of_chance": 3.0, "nll_at_best": 0.5}
        elif work == "frontier":
            own = [[0.0, -0.5], *([0.01 * 2**k, -0.4 / 2**k] for k in range(len(EXACT)))]
        elif work == "untuned":
            own = value(0.0, -0.5)
        else:
            own = tuned(job.arguments["config"], seed, changed or {})
        failed = work == "tune_one" and bool(error) and seed == 1
        failed = failed and job.arguments["config"] == TUNING | {"kl_coef": CS[0]}
        found.append(Done(job, None if failed else own, 1.0, error if failed else ""))
    return found


def tuned(config: dict[str, Any], seed: int, changed: dict[str, dict[str, float]]) -> dict[str, float]:
    if "kl_coef" in config:
        k = len(CS) - CS.index(config["kl_coef"]) if config["kl_coef"] in CS else 3
        return value(4.0 / k, -0.05 * k + 0.001 * seed)
    return changed.get(config.get("penalty", "none"), value(1.0, -0.3 + 0.01 * seed))


def test_the_bar_is_met_where_no_method_is_above_kl_control(tmp_path: Path) -> None:
    prior, *worlds = tables(done_of(), tmp_path)
    assert prior.met
    assert [row[1] for row in prior.rows] == ["3.000", "1.000", "0.500"]
    assert len(worlds) == len(WORLDS)
    for table in worlds:
        assert table.met
        assert [row[0] for row in table.rows] == ["the prior", *(method for method, _, _ in METHODS)]
        assert all(len(row) == len(table.columns) for row in table.rows)


def test_a_method_above_kl_control_beyond_the_interval_misses(tmp_path: Path) -> None:
    _, table, _ = tables(done_of({"ewc": value(1.0, -0.01)}), tmp_path)
    assert not table.met
    assert {row[0] for row in table.rows if "MISSED" in row[-1]} == {"ewc"}
    _, table, _ = tables(done_of({"none": value(1.0, -0.3, lacking=1)}), tmp_path)
    assert [row[0] for row in table.rows if "MISSED" in row[-1]] == ["none"]  # its log lacks the meter


def test_margins_compare_a_run_with_kl_control_of_its_own_seed() -> None:
    fronts = {0: [(0.0, -1.0), (2.0, 0.0)], 1: [(0.0, -1.0), (1.0, 0.0)]}
    assert margins({0: value(1.0, -0.6), 1: value(1.0, -0.2), 2: value(1.0, 0.0)}, fronts) == pytest.approx(
        [-0.1, -0.2]
    )


def test_failed_seeds_are_counted_and_shown(tmp_path: Path) -> None:
    prior, table, _ = tables(done_of(error="out of memory"), tmp_path)
    assert not prior.met
    assert len(prior.failed) == len(WORLDS)
    assert prior.failed[0] == "generated: KL c = 1 seed 1: out of memory"
    assert [row[:3] for row in table.rows if "MISSED" in row[-1]] == [("KL", "c = 1", "1 + 1 failed")]
    assert not table.met


def test_a_study_without_its_prior_says_so_and_does_not_break(tmp_path: Path) -> None:
    broken = [dataclasses.replace(d, value=None, error="no disk") for d in done_of()]
    found = tables(broken, tmp_path)
    assert not any(table.met for table in found)
    assert len(found[0].failed) == len(broken)


def test_the_picture_is_small_and_the_same_each_time(tmp_path: Path) -> None:
    _, *worlds = tables(done_of(), tmp_path)
    files = [file for table in worlds for file in table.files]
    assert {f.name for f in files} == {f"kl-control-{w}.{kind}" for w in WORLDS for kind in ("svg", "png")}
    assert all(0 < f.stat().st_size < 200_000 for f in files)
    before = {f: f.read_bytes() for f in files}
    tables(done_of(), tmp_path)
    assert {f: f.read_bytes() for f in files} == before


def test_it_is_listed() -> None:
    from descant.registry import suites

    assert suites.get("kl-control") is KL_CONTROL
    assert isinstance(jobs(range(1))[0], Job)
