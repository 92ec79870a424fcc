"""`bench over-optimisation`: what is exact is exact, what is fitted fits, and the bars are those that are told."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from descant.benchmarks.jobs import Done, Job
from descant.benchmarks.overoptimisation import (
    AGENT,
    BEST,
    CS,
    END,
    EXACT,
    FITTED,
    FLIPPED,
    KLS,
    LEARNED,
    MIDDLE,
    NS,
    OVER_OPTIMISATION,
    PROXIES,
    RL,
    TRAINED,
    curves_of,
    jobs,
    measure_world,
    tables,
)
from descant.benchmarks.overoptimisation_fits import FORMS, fit_form, value_of
from descant.benchmarks.overoptimisation_policies import (
    Sentences,
    best_of,
    kl_of_best,
    learned,
    log_policy_of,
    point,
    tilted,
    tilted_to,
)
from descant.benchmarks.overoptimisation_worlds import (
    compare,
    fit_scores,
    make_world,
    proxies_of,
    standardised,
)
from descant.makers import make_agent
from descant.shells import TaskVectorEnv

TINY = {"tokens": 3, "steps": 3}
FAST: dict[str, Any] = {
    **FITTED, "models": 3, "hidden": [16], "spread": 2.0, "epochs": 40, "comparisons": 200, "draws": 2
}  # fmt: skip


# Worlds and proxies.


def test_rewards_have_mean_0_and_deviation_1_under_the_prior() -> None:
    world = make_world(3, TINY)
    chances = np.exp(world.log_prior)
    assert chances @ world.gold == pytest.approx(0)
    assert chances @ world.gold**2 == pytest.approx(1)
    values = np.random.default_rng(0).normal(size=(2, 27))
    np.testing.assert_allclose(standardised(5 * values + 3, world.log_prior) @ chances, 0, atol=1e-12)
    np.testing.assert_allclose(
        standardised(5 * values + 3, world.log_prior), standardised(values, world.log_prior)
    )


@pytest.mark.parametrize("flipped", [0.0, 0.25])
def test_comparisons_are_of_the_prior_and_flipped_as_often_as_said(flipped: float) -> None:
    world = make_world(0, TINY)
    pairs, first = compare(world, 20_000, flipped, np.random.default_rng(1))
    shares = np.bincount(pairs.ravel(), minlength=27) / 40_000
    assert np.abs(shares - np.exp(world.log_prior)).max() < 0.02
    gap = world.gold[pairs[:, 0]] - world.gold[pairs[:, 1]]
    wrong = ((gap > 0) != (first == 1))[gap != 0]
    assert wrong.mean() == pytest.approx(flipped, abs=0.01)
    assert first[gap == 0].mean() == pytest.approx(0.5, abs=0.05)


def test_models_learn_the_gold_reward_and_differ() -> None:
    world = make_world(1, TINY)
    pairs, first = compare(world, 2000, 0.0, np.random.default_rng(0))
    both = np.stack([pairs, pairs]), np.stack([first, 1 - first])
    scores = standardised(fit_scores(world, *both, FAST, 5), world.log_prior)
    agreed = (scores * world.gold) @ np.exp(world.log_prior)
    assert scores.shape == (2, 3, 27)
    assert agreed[0].min() > 0.9
    assert agreed[1].max() < -0.9  # each set of comparisons has models of its own
    assert np.abs(scores[0, 0] - scores[0, 1]).max() > 0.01
    again = fit_scores(world, *both, FAST, 5)
    np.testing.assert_array_equal(standardised(again, world.log_prior), scores)


def test_models_with_wider_first_weights_differ_more() -> None:
    world = make_world(1, TINY)
    pairs, first = compare(world, 30, 0.0, np.random.default_rng(0))
    found = []
    for spread in (1.0, 5.0):
        config = {**FAST, "spread": spread}
        scores = standardised(fit_scores(world, pairs[None], first[None], config, 5), world.log_prior)
        found.append(float(scores[0].std(axis=0).mean()))
    assert found[1] > 1.2 * found[0]


def test_proxies_by_hand() -> None:
    world = make_world(1, TINY)
    scores = np.random.default_rng(0).normal(size=(4, 27)) * 7 + 2
    own = standardised(scores, world.log_prior)
    found = proxies_of(scores, world.log_prior, 0.5)
    by_hand = [own[0], own.mean(0), own.min(0), own.mean(0) - 0.5 * ((own - own.mean(0)) ** 2).mean(0)]
    assert tuple(found) == PROXIES
    for name, values in zip(found, by_hand, strict=True):
        np.testing.assert_allclose(found[name], standardised(values, world.log_prior), atol=1e-12)


# Policies.


def test_the_tilted_prior_is_the_exact_kl_optimum_of_the_listed_task() -> None:
    world = make_world(2, TINY)
    proxy = standardised(np.random.default_rng(0).normal(size=27), world.log_prior)
    task = Sentences(world, proxy)
    agent = make_agent("exact-kl", TaskVectorEnv(task, 1), prior="task", c=0.3)
    found = log_policy_of(agent, task)
    np.testing.assert_allclose(found, tilted(world.log_prior, proxy, 0.3), atol=1e-9)
    nothing = make_agent("exact-kl", TaskVectorEnv(task, 1), prior="task", c=1e9)
    np.testing.assert_allclose(log_policy_of(nothing, task), world.log_prior, atol=1e-6)


def test_tilting_reaches_the_kl_that_is_asked_for() -> None:
    world = make_world(2, {**TINY, "prior_temperature": 0.3})
    heavy = standardised(np.exp(3 * np.random.default_rng(1).normal(size=27)), world.log_prior)
    proxies, kls = np.stack([world.gold, heavy, -heavy]), (1e-6, 0.1, 1.0, 2.0)
    for policies, proxy in zip(tilted_to(world.log_prior, proxies, kls), proxies, strict=True):
        for policy, kl in zip(policies, kls, strict=True):
            reached = point(policy, world, 2 * proxy)
            limit = -np.logaddexp.reduce(world.log_prior[proxy == proxy.max()])
            assert reached[0] == pytest.approx(min(kl, limit), rel=1e-6, abs=1e-9)
            tilts = (policy - world.log_prior)[:, None] - (policy - world.log_prior)
            gaps = proxy[:, None] - proxy
            c = gaps[0, 1] / tilts[0, 1]
            np.testing.assert_allclose(tilts * c, gaps, atol=1e-6 * np.abs(gaps).max())
    sharpest = tilted_to(world.log_prior, world.gold[None], [1e3])[0, 0]
    assert point(sharpest, world, world.gold)[0] == pytest.approx(
        -world.log_prior[world.gold.argmax()], abs=1e-3
    )


@pytest.mark.parametrize("n", [1, 2, 3])
def test_best_of_n_is_what_counting_all_draws_gives(n: int) -> None:
    world = make_world(4, {"tokens": 2, "steps": 3})
    proxy = np.array([0.0, 1.0, 1.0, -2.0, 0.5, 1.0, -2.0, 0.3])  # with equals
    chances, counted = np.exp(world.log_prior), np.zeros(8)
    for draws in itertools.product(range(8), repeat=n):
        ways = np.prod(chances[list(draws)])
        best = [s for s in draws if proxy[s] == proxy[list(draws)].max()]
        # Which of equals comes first has, over all orders, the chances that the prior gives them.
        counted[best[0]] += ways
    np.testing.assert_allclose(np.exp(best_of(n, world.log_prior, proxy)), counted, atol=1e-12)


def test_the_kl_of_best_of_n_where_no_sequence_has_a_large_share() -> None:
    world = make_world(0, {"tokens": 6, "steps": 6, "prior_temperature": 5.0})
    for n in (2, 16, 64):
        kl, gold, _ = point(best_of(n, world.log_prior, world.gold), world, world.gold)
        assert kl == pytest.approx(kl_of_best(n), abs=0.01)
        assert gold > 0


def test_the_agent_comes_near_the_tilted_prior() -> None:
    world = make_world(1, TINY)
    ((kl, gold, _),) = learned(world, world.gold, [0.5], AGENT, {**RL, "steps": 20_000, "n_steps": 3}, 0)
    best = point(tilted(world.log_prior, world.gold, 0.5), world, world.gold)
    assert gold - 0.5 * kl == pytest.approx(best[1] - 0.5 * best[0], abs=0.05)


# Fits.


@pytest.mark.parametrize("form", list(FORMS))
def test_a_form_is_found_again(form: str) -> None:
    kl = np.array([0.1, 0.5, 1.0, 3.0, 6.0])
    d = np.sqrt(kl)
    gold = d * (1.5 - 0.3 * (d if form == "d (alpha - beta d)" else np.log(d)))
    fit = fit_form(form, kl, gold)
    assert (fit.alpha, fit.beta, fit.r2) == pytest.approx((1.5, 0.3, 1.0))
    np.testing.assert_allclose(value_of(form, fit, kl), gold)
    off = fit_form(form, kl, gold + np.array([0.2, -0.2, 0.2, -0.2, 0.2]))
    assert 0 < off.r2 < 0.99


# The study.


def test_a_world_is_measured_whole() -> None:
    small = {**RL, "steps": 600, "num_envs": 32, "n_steps": 3}
    found = measure_world(0, TINY, FAST, small, [0.0, 0.25])
    json.dumps(found)
    assert [(e["flipped"], e["proxy"]) for e in found] == [(f, p) for f in (0.0, 0.25) for p in PROXIES]
    for entry in found:
        assert np.shape(entry[EXACT]) == (len(KLS), 3)
        assert np.shape(entry[BEST]) == (len(NS), 3)
        assert (AGENT in entry) == (entry["proxy"] in LEARNED and entry["flipped"] == 0.25)
        proxy = np.array(entry[EXACT])[:, 2]
        assert (np.diff(proxy) > -1e-6).all()
    assert np.shape(found[4][AGENT]) == (len(CS), 3)
    assert found[0]["correlation"] > found[4]["correlation"] + 0.02
    assert measure_world(0, TINY, FAST, None, [0.25])[0].keys() == found[1].keys()


def test_points_are_means_over_the_draws_of_comparisons() -> None:
    world = make_world(2, TINY)
    proxies = standardised(np.random.default_rng(0).normal(size=(2, 27)), world.log_prior)
    both, apart = curves_of(world, proxies), [curves_of(world, proxy[None]) for proxy in proxies]
    for way in (EXACT, BEST, "correlation"):
        np.testing.assert_allclose(both[way], np.mean([one[way] for one in apart], axis=0))


def worlds(end: float = -0.5, above: float = 0.4, n: int = 4) -> list[Done]:
    """Worlds in which the noisy single model's gold changes by `end`, and an ensemble's ends `above` it."""
    found = []
    for world in range(n):
        entries = []
        for flipped in FLIPPED:
            for name in PROXIES:
                kl = np.array(KLS)
                late = np.clip((kl - MIDDLE) / (END - MIDDLE), 0, 1)
                gold = (
                    np.sqrt(np.minimum(kl, MIDDLE)) + late * (end + (name != "single") * above) + 0.01 * world
                )
                entry: dict[str, Any] = {"flipped": flipped, "proxy": name, "correlation": 0.5}
                entry[EXACT] = np.stack([kl, gold, np.sqrt(kl)], 1).tolist()
                entry[BEST] = [[kl_of_best(k), 0.5, 0.6] for k in NS]
                if name in LEARNED and flipped == max(FLIPPED):
                    entry[AGENT] = [[0.5 / c, 0.5, 0.6] for c in CS]
                entries.append(entry)
        found.append(Done(Job(f"world {world}", "", {"seed": world}), entries, 1.0))
    return found


def test_bars_are_met_where_gold_falls_and_the_ensemble_ends_above(tmp_path: Path) -> None:
    ends, fits = tables(worlds(), tmp_path)
    assert ends.met
    assert not any("MISSED" in cell for row in ends.rows for cell in row)
    assert len(ends.rows) == 8
    noisy = next(row for row in ends.rows if row[:2] == ("25%", "single"))
    assert noisy[6] == "0.500 ± 0.000"
    assert ends.rows[-1][7] == "0.400 ± 0.000"
    assert {row[0] for row in fits.rows} == {EXACT, BEST, AGENT}
    assert len(fits.rows) == 8 + 8 + 2


@pytest.mark.parametrize(
    ("changes", "missed"), [({"end": 0.5}, "single"), ({"above": -0.1}, "mean - variance")]
)
def test_bars_are_missed_where_they_are(changes: dict[str, float], missed: str, tmp_path: Path) -> None:
    ends, _ = tables(worlds(**changes), tmp_path)
    assert not ends.met
    assert [row[:2] for row in ends.rows if "MISSED" in row[-1]] == [("25%", missed)]


def test_failed_worlds_are_counted_and_shown(tmp_path: Path) -> None:
    done = worlds()
    done[0] = dataclasses.replace(done[0], value=None, error="out of memory")
    ends, _ = tables(done, tmp_path)
    assert not ends.met
    assert ends.failed == ("world 0: out of memory",)
    assert "out of memory" in (tmp_path / "report.html").read_text()
    (nothing,) = tables([dataclasses.replace(d, value=None, error="x") for d in done], tmp_path)
    assert not nothing.met
    assert len(nothing.failed) == 4


def test_the_picture_and_the_report_are_the_same_each_time(tmp_path: Path) -> None:
    files = tables(worlds(), tmp_path)[0].files
    assert {f.name for f in files} == {"over-optimisation.svg", "over-optimisation.png", "report.html"}
    before = {f: f.read_bytes() for f in files}
    assert all(0 < len(b) < 500_000 for b in before.values())
    assert b"<svg" in before[tmp_path / "report.html"]
    tables(worlds(), tmp_path)
    assert {f: f.read_bytes() for f in files} == before


def test_it_is_listed_and_has_a_job_a_world() -> None:
    from descant.registry import suites

    assert suites.get("over-optimisation") is OVER_OPTIMISATION
    assert len({job.key for job in jobs(range(3))}) == 3
    assert json.loads(json.dumps(jobs(range(1))[0].arguments)) == jobs(range(1))[0].arguments
    many = jobs(range(100, 112))
    assert [job.arguments["rl"] is not None for job in many] == [True] * TRAINED + [False] * (12 - TRAINED)
