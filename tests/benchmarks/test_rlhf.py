"""`bench rlhf`: rounds with a teacher, groups that disagree, tables and bars, from the command line and again."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from descant.benchmarks import rlhf, rlhf_policies, rlhf_rounds, rlhf_tables, studies
from descant.benchmarks import rlhf_groups as groups_module
from descant.benchmarks.jobs import Done, call
from descant.benchmarks.rl_tuner_prior import Prior, prior_in
from descant.benchmarks.rlhf import RLHF, jobs, tables
from descant.benchmarks.rlhf_groups import Groups, at_one_price, disagreeing, drawn_pairs, reading
from descant.benchmarks.rlhf_policies import agreement, clips_of, preferred, rules, writes
from descant.benchmarks.rlhf_rounds import Loop
from descant.benchmarks.rlhf_settings import GROUPS, PRICE, ROUNDS, TASTE, GroupSettings, Settings
from descant.cli import main
from descant.preferences.store import Store
from descant.preferences.tastes import step_rewards
from descant.registry import suites
from descant.reward_models.saving import load_reward_model
from descant.shells import make_task

QUICK: dict[str, Any] = {
    "recurrent": True,
    "critic_hidden": [8],
    "num_envs": 32,
    "n_steps": 32,
    "ent_coef": 0.0,
    "gamma": 1.0,
    "kl_coef": 0.5,
    "kl_gain": 1.0,
}
MODEL: dict[str, Any] = {"models": 2, "hidden": (8, 8), "epochs": 3}
SMALL = Settings(
    clips=40, pairs=[16, 24], strategy="uncertainty", model=MODEL, steps=2048, tuning=QUICK, compositions=64
)
FEW = GroupSettings(
    groups={"step-lovers": 3, "leap-lovers": 2, "high-lovers": 1},
    each=12,
    clips=60,
    models={"btl": MODEL, "dpl": MODEL, "vpl": {"hidden": (8, 8), "epochs": 3, "width": 8}},
    steps=1024,
    tuning=QUICK,
    compositions=40,
)


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> Prior:
    """A small model of thirty tunes that walk up and down the scale."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("tunes")
    texts = []
    for number in range(30):
        walk = np.abs(rng.integers(0, 7) + np.cumsum(rng.choice([-1, 1], 48))) % 7
        measures = "|".join("".join("CDEFGAB"[i] for i in walk[k : k + 8]) for k in range(0, 48, 8))
        texts.append(f"X:{number + 1}\nT:Walk\nM:4/4\nL:1/8\nK:C\n{measures}|\n")
    (folder / "walks.abc").write_text("\n".join(texts))
    own: dict[str, Any] = {"model": "lstm", "hidden": (8, 8), "batch_size": 16, "workers": 1}
    own |= {"total_timesteps": 10_000, "corpus": str(folder), "cache": folder / "cache", "seed": 0}
    return prior_in(str(tmp_path_factory.mktemp("out") / "prior"), own)


# Measures


def test_agreement_is_of_pairs_that_gold_tells_apart() -> None:
    gold = np.array([1.0, 2.0, 3.0, 5.0, 0.0, 3.0, 3.0, 1.0])
    assert agreement(gold, gold) == 1.0
    assert agreement(-gold, gold) == 0.0
    assert agreement(np.array([1.0, 1, 0, 0, 0, 1, 9, 1]), gold) == pytest.approx((1 + 0.5 + 0) / 3)
    assert math.isnan(agreement(gold, np.zeros(8)))


def test_even_pairs_are_preferred_half() -> None:
    assert preferred(np.array([1.0, 2.0, 0.0]), np.array([0.0, 2.0, 1.0])) == 0.5


def test_the_gold_reward_is_the_teachers_own_taste(prior: Prior, tmp_path: Path) -> None:
    found = writes(prior.agent, prior, 20, 0, rules(prior, TASTE))
    loop = Loop(prior, SMALL, 0, tmp_path)
    by_teacher = [
        loop.teacher.teacher.value(r) for r in step_rewards(clips_of(found, prior, "x"), loop.teacher.taste)
    ]
    assert found.rewards == pytest.approx(by_teacher)
    assert found.rewards.std() > 0
    weights: Any = rules(prior, TASTE, 0.5)["weights"]
    assert weights["motif"] == 0.5
    assert weights["repetition"] == 0.0


# Rounds


def halves(pairs: list[Any]) -> list[list[Any]]:
    """Those of the first round, of the second."""
    return [pairs[: SMALL.pairs[0]], pairs[SMALL.pairs[0] :]]


def test_rounds_ask_fit_and_tune(prior: Prior, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[dict[str, Any]] = []
    made = rlhf_rounds.tune

    def tune(home: Prior, reward: Any, seed: int, *rest: Any) -> Any:
        told.append({"reward": reward, "seed": seed, "rest": rest})
        return made(home, reward, seed, *rest)

    monkeypatch.setattr(rlhf_rounds, "tune", tune)
    found = Loop(prior, SMALL, 7, tmp_path).run()
    assert [r["comparisons"] for r in found["rounds"]] == [16, 40]
    assert found["dpo"]["comparisons"] == 40
    assert [Path(one["reward"]["path"]).name for one in told] == ["model-1", "model-2", "model-1"]
    assert len({one["seed"] for one in told}) == 3
    assert [one["rest"][1] for one in told] == pytest.approx(
        [SMALL.kl_target / 2, SMALL.kl_target, SMALL.kl_target]
    )
    assert [r["budget"] for r in [*found["rounds"], found["first"]]] == [one["rest"][1] for one in told]
    assert found["first"]["comparisons"] == 16
    assert found["first"]["accuracy"] == found["rounds"][0]["accuracy"] != found["rounds"][1]["accuracy"]
    for one in [*found["rounds"], found["first"], found["dpo"]]:
        assert 0 <= one["kl"] < 2
        assert {"gold", "proxy", "log_p", "preferred", "accuracy", "accuracy_own"} <= one.keys()
    with Store(tmp_path / "taste.db", read_only=True) as store:
        sources = {clip.source for clip in store.clips()}
        strategies = [pair.strategy for pair in store.pairs()]
        hashes = {pair.model_hash for pair in store.pairs()}
        source = {clip.hash: clip.source for clip in store.clips()}
        asked = [
            {source[clip] for pair in part for clip in (pair.a, pair.b)}
            for part in halves(list(store.pairs()))
        ]
    assert asked == [{"prior"}, {"round 1"}]
    assert {one["reward"]["mode"] for one in told} == {"terminal"}
    assert sources == {"prior", "round 1"}
    assert strategies == ["random"] * 16 + ["uncertainty"] * 24
    assert len(hashes) == 2
    assert None in hashes


def test_the_same_seed_asks_and_hears_the_same(prior: Prior, tmp_path: Path) -> None:
    answers = []
    for place in ("one", "two", "other"):
        (tmp_path / place).mkdir()
        loop = Loop(
            prior,
            dataclasses.replace(SMALL, temperature=1000.0),
            5 if place != "other" else 6,
            tmp_path / place,
        )
        with Store.create(tmp_path / place / "taste.db") as store:
            loop._ask(store, None, None, 1)
            answers.append(
                [(pair.a, pair.b) for pair in store.pairs()] + [j.choice for j in store.standing()]
            )
    assert answers[0] == answers[1] != answers[2]


def test_rules_are_tuned_on_the_gold_reward_near_the_prior(
    prior: Prior, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []
    monkeypatch.setattr(rlhf_rounds, "tune", lambda home, reward, *_: told.append(reward) or home.agent)
    found = Loop(prior, SMALL, 0, tmp_path).by_rules()
    assert told == [rules(prior, TASTE, 1 / SMALL.temperature)]
    assert "proxy" not in found
    assert found["budget"] == SMALL.kl_target
    assert found["kl"] == pytest.approx(0, abs=1e-6)


def test_tuning_is_held_below_the_target(prior: Prior) -> None:
    eager = QUICK | {"kl_coef": 1e-6, "learning_rate": 0.03}
    reward = rules(prior, TASTE)
    agent = rlhf_policies.tune(prior, reward, 3, 4096, 0.05, eager)
    config: Any = agent.config
    assert (config.kl_target, config.prior, config.init, config.seed) == (0.05, prior.path, prior.path, 3)
    assert agent.num_timesteps >= 4096
    kl = writes(agent, prior, 2048, 9).kl
    assert kl is not None
    assert 0.04 < kl.mean() <= 0.05


def test_a_price_without_a_gain_is_the_same_to_the_end_and_the_target_a_cap(prior: Prior) -> None:
    fixed = {name: value for name, value in QUICK.items() if name != "kl_gain"} | {"learning_rate": 0.03}
    agents: list[Any] = [
        rlhf_policies.tune(prior, rules(prior, TASTE), 3, 4096, 0.05, fixed | {"kl_coef": coef})
        for coef in (1e-6, 1e3)
    ]
    assert [agent.control.coef for agent in agents] == [1e-6, 1e3]
    kl = [writes(agent, prior, 2048, 9).kl for agent in agents]
    assert all(found is not None for found in kl)
    dear, cheap = (float(np.mean(found)) for found in kl[::-1])  # type: ignore[arg-type]
    assert dear < 0.01 < 0.03 < cheap <= 0.051


def test_groups_at_one_price_differ_in_the_price_and_how_reward_models_learn() -> None:
    given = {
        job.work.partition(":")[2]: job.arguments["settings"]
        for job in jobs([0])
        if "settings" in job.arguments
    }
    same, one = given["disagreeing"], given["at_one_price"]
    assert {name for name in same if same[name] != one[name]} == {"models", "tuning"}
    assert one["models"] == {
        "btl": {**same["models"]["btl"], "models": 5},
        "vpl": {**same["models"]["vpl"], "models": 5, "epochs": 40, "context": 64},
    }
    assert one["tuning"]["kl_coef"] == PRICE
    assert "kl_gain" not in one["tuning"]
    assert {n: v for n, v in same["tuning"].items() if n not in ("kl_coef", "kl_gain")} == {
        n: v for n, v in one["tuning"].items() if n != "kl_coef"
    }
    read = given["reading"]  # as many steps for one policy as for eight
    assert {name for name in one if one[name] != read[name]} == {"steps"}


class Square(nn.Module):
    """A weight, whose square is its distance."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([weight]))

    def kl(self) -> float:
        return float(self.weight.detach() ** 2)


@pytest.mark.parametrize(
    ("most", "share"), [(100.0, 1.0), (64.0, 1.0), (16.0, 0.5), (17.1, 0.515625), (0.001, 0.0)]
)
def test_weights_are_drawn_back_as_far_as_they_must(most: float, share: float) -> None:
    network = Square(0.0)
    begun = copy.deepcopy(network.state_dict())
    network.weight.data += 8.0
    assert rlhf_policies.draw_back(network, begun, network.kl, most) == share
    assert network.weight.item() == 8 * share
    assert network.kl() <= most


# Groups


def test_groups_compare_by_their_own_taste(prior: Prior, tmp_path: Path) -> None:
    groups = Groups(prior, dataclasses.replace(FEW, temperature=0.0), 0, tmp_path)
    data, _ = groups.compared()
    assert len(data) == 6 * FEW.each
    assert data.names == (
        "step-lovers-1",
        "step-lovers-2",
        "step-lovers-3",
        "leap-lovers-1",
        "leap-lovers-2",
        "high-lovers-1",
    )
    found = writes(prior.agent, prior, FEW.clips, groups_module.seeds(0, groups_module.COMPARED))
    clips = clips_of(found, prior, "prior")
    for who, group in ((0, "step-lovers"), (4, "leap-lovers"), (5, "high-lovers")):
        worth = groups_module.worth_of(clips, groups.tastes[group])
        rows = np.flatnonzero(data.annotators.numpy() == who)
        gaps = np.diff(worth[data.pairs.numpy()[rows]], axis=1)[:, 0]
        assert data.answers.numpy()[rows].tolist() == [2 if gap == 0 else int(gap > 0) for gap in gaps]


def test_a_clip_is_never_compared_with_itself() -> None:
    pairs = drawn_pairs(3, 1000, np.random.default_rng(0))
    assert (pairs[:, 0] != pairs[:, 1]).all()
    assert set(map(tuple, pairs.tolist())) == {(a, b) for a in range(3) for b in range(3) if a != b}


def worths() -> dict[str, dict[str, Any]]:
    """Ten melodies each: those of a group's policy are worth 5 to it and nothing to others."""
    names = list(FEW.groups)
    prior = {group: np.linspace(-1, 1, 40) for group in names}
    made: dict[str, dict[str, Any]] = {
        "prior": prior,
        "btl": {g: np.full(40, 5.0 * (g == names[0])) for g in names},
    }
    return made | {own: {g: np.full(40, 5.0 * (g == own)) for g in names} for own in names}


def test_pluralism_three_ways(prior: Prior, tmp_path: Path) -> None:
    groups, made = Groups(prior, FEW, 0, tmp_path), worths()
    steerable = groups.judged(made)["preferred"]
    assert steerable["leap-lovers"] == {"prior": 1.0, "btl": 1.0, "step-lovers": 1.0, "high-lovers": 1.0}
    assert steerable["step-lovers"]["btl"] == 0.5
    mixed = groups.mixed(made)
    assert mixed["wanted"] == pytest.approx([1 / 2, 1 / 3, 1 / 6])
    assert mixed["reached"]["mixture"] == pytest.approx([1 / 2, 1 / 3, 1 / 6])
    assert mixed["distance"]["mixture"] == pytest.approx(0)
    assert mixed["reached"]["btl"] == [1, 0, 0]
    assert mixed["distance"]["btl"] == pytest.approx(1 / 2)
    covered = groups.covered(made)["coverage"]
    assert covered["one of each"] == 1.0
    assert covered["btl"] == pytest.approx(1 / 3)
    assert 0.2 < covered["prior"] < 0.35  # 1 - 0.9^3 each


def test_the_groups_run_whole(prior: Prior) -> None:
    found = disagreeing(0, dataclasses.asdict(FEW), {"run": prior.path}, "")
    assert found["accuracy"].keys() == {"btl", "dpl", "vpl"}
    assert found["kl"].keys() == {"prior", "btl", *FEW.groups}
    assert found["kl"]["prior"] == pytest.approx(0, abs=1e-6)
    assert all(found["kl"][name] > 0 for name in ("btl", *FEW.groups))
    assert set(found["coverage"]) == {"one of each", "btl", "prior"}
    assert json.loads(json.dumps(found)) == found
    dear = {name: value for name, value in QUICK.items() if name != "kl_gain"} | {"kl_coef": 1e3}
    told = dataclasses.asdict(FEW) | {
        "tuning": dear,
        "models": {kind: FEW.models[kind] for kind in ("btl", "vpl")},
    }
    priced = at_one_price(0, told, {"run": prior.path}, "")
    assert priced["accuracy"] == {kind: found["accuracy"][kind] for kind in ("btl", "vpl")}
    assert all(priced["kl"][name] < min(found["kl"][name], 0.02) for name in ("btl", *FEW.groups))


def test_one_policy_reads_for_whom_it_is(
    prior: Prior, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: dict[str, Any] = {}
    measured = Groups.measured

    def watched(self: Groups, policies: dict[str, Any]) -> Any:
        told.update(policies)
        return measured(self, policies)

    monkeypatch.setattr(Groups, "measured", watched)
    settings = dataclasses.replace(FEW, models={kind: FEW.models[kind] for kind in ("btl", "vpl")})
    found = reading(0, dataclasses.asdict(settings), {"run": prior.path}, "")
    new = [f"new {name}" for name in FEW.groups]
    assert list(told) == ["prior", "btl", *FEW.groups, *new] == list(found["kl"])
    given = [told[name] for name in (*FEW.groups, *new)]
    assert len({id(policy.policy) for policy in given}) == 1
    assert len({tuple(policy.code.tolist()) for policy in given}) == 6
    assert found["preferred"]["step-lovers"].keys() == {"prior", "btl", "leap-lovers", "high-lovers"}
    assert found["newcomers"].keys() == FEW.groups.keys()
    assert all(0 <= share <= 1 for share in found["newcomers"].values())
    assert json.loads(json.dumps(found)) == found
    whole = Groups(prior, settings, 0, tmp_path)
    whole.fitted()
    model = load_reward_model(tmp_path / "vpl").model
    known = model.codes_of_annotators().numpy().astype(np.float32)
    assert (
        told["leap-lovers"].code.tolist() == known[3].tolist()
    )  # the first of them, after three step-lovers
    codes = whole.newcomers(model)
    assert all((told[f"new {name}"].code == code.astype(np.float32)).all() for name, code in codes.items())
    monkeypatch.setitem(whole.settings.tastes, "step-lovers", "high=1")  # type: ignore[arg-type]
    assert (whole.newcomers(model)["step-lovers"] != codes["step-lovers"]).any()  # hears what they answer


# Tables


def value(gold: float, **more: float) -> dict[str, Any]:
    found: dict[str, Any] = dict.fromkeys((key for key, *_ in rlhf_tables.MEASURES), 0.15)
    return found | {"gold": gold, "samples": [[0]]} | more


def done_of(seeds: int = 3, **changed: Any) -> list[Done]:
    """Everything as it should be, with what is `changed`."""
    found = []
    for job in jobs(range(seeds)):
        work = job.work.partition(":")[2]
        rounds = [value(80.0 + 5 * i, comparisons=200 * (i + 1)) for i in range(3)]
        rounds[1] |= changed.get("second", {})
        names = list(GROUPS.groups)
        own: dict[str, Any] = {
            "prior_facts": {},
            "untuned": value(70.0),
            "by_rules": value(100.0),
            "learned": {"rounds": rounds, "first": value(82.0), "dpo": value(90.0, comparisons=600)},
            "disagreeing": {
                "accuracy": {"btl": 0.7, "dpl": 0.71, "vpl": 0.9} | changed.get("accuracy", {}),
                "kl": {},
                "preferred": {
                    g: dict.fromkeys(["btl", "prior", *names], changed.get("preferred", 0.9)) for g in names
                },
                "wanted": [0.5, 0.3, 0.2],
                "reached": {name: [0.5, 0.3, 0.2] for name in ("mixture", "btl", "prior")},
                "distance": dict.fromkeys(["mixture", "btl", "prior"], 0.0),
                "coverage": dict.fromkeys(["one of each", "btl", "prior"], 0.5),
            },
        }
        own["at_one_price"] = copy.deepcopy(own["disagreeing"])
        for g in names:
            own["disagreeing"]["preferred"][g]["btl"] = changed.get("same_kl", 0.7)
            own["at_one_price"]["kl"][g] = 0.2
        own["at_one_price"]["kl"]["btl"] = 0.01
        own["reading"] = copy.deepcopy(own["at_one_price"]) | {"newcomers": dict.fromkeys(names, 0.85)}
        for g in names:
            own["reading"]["preferred"][g]["btl"] = changed.get("read", 0.9)
        found.append(Done(job, own[work], 1.0))
    return found


def missed(done: list[Done], out: Path) -> list[str]:
    """Names of the bars that are."""
    bars = tables(done, out)[-1]
    names = [row[0] for row in bars.rows if row[-1] == "MISSED"]
    assert bars.met == (not names)
    return names


def test_what_reaches_every_bar_misses_none(tmp_path: Path) -> None:
    found = tables(done_of(), tmp_path)
    assert all(len(row) == len(table.columns) for table in found for row in table.rows)
    assert all(table.met for table in found)
    policies = [row[0] for row in found[0].rows]
    assert policies == [
        "prior",
        "round 1",
        "round 2",
        "round 3",
        "round 1's reward model, the last round's KL",
        "dpo, the same comparisons",
        "rules alone, the gold reward",
    ]
    assert found[0].rows[3][2:4] == ("600 ± 0", "90.0 ± 0.0")


def test_policies_at_one_price_have_a_table_and_a_bar_of_their_own(tmp_path: Path) -> None:
    found = tables(done_of(preferred=0.81, same_kl=0.6, read=0.82), tmp_path)
    steerable, priced, read, bars = (found[i] for i in (2, 3, 4, -1))
    assert [row[1] for row in steerable.rows] == ["60.0 ± 0.0"] * 3
    assert [row[1] for row in priced.rows] == ["81.0 ± 0.0"] * 3 + [""]
    assert [row[-1] for row in priced.rows] == ["0.200 ± 0.000"] * 3 + ["0.010 ± 0.000"]
    (bar,) = (row for row in bars.rows if row[0].startswith("policy of z preferred"))
    assert bar[1] == "0.81"
    assert [row[1] for row in read.rows] == ["82.0 ± 0.0"] * 3 + [""]
    assert [row[-2:] for row in read.rows[:3]] == [("85.0 ± 0.0", "0.200 ± 0.000")] * 3
    assert read.rows[3][-1] == "0.010 ± 0.000"
    (bar,) = (row for row in bars.rows if row[0].startswith("one policy"))
    assert bar[1:] == ("0.82", "at least 0.8", "met")
    name = "policy of z at the same KL, the least group"
    assert bars.rows[-1] == (name, "0.6", "no bar; at least 0.8 before", "")


def test_the_worst_seed_and_group_must_be_above_the_bar(tmp_path: Path) -> None:
    done = done_of()
    last = [d for d in done if d.job.work.endswith("at_one_price")][-1]
    last.value["preferred"]["high-lovers"]["btl"] = 0.79
    assert [name.partition(" ")[0] for name in missed(done, tmp_path)] == ["policy"]


def test_data_that_lacks_the_control_makes_the_tables(tmp_path: Path) -> None:
    done = done_of()
    for d in done:
        if "first" in d.value:
            del d.value["first"]
    found = tables(done, tmp_path)[0]
    assert found.rows[3][1] == "3"
    assert found.rows[4][:3] == ("round 1's reward model, the last round's KL", "0", "-")


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"second": {"gold": 79.0}}, "gold reward"),
        ({"second": {"comparisons": 601}}, "comparisons"),
        ({"second": {"kl": ROUNDS.kl_target + 0.001}}, "KL a step"),
        ({"accuracy": {"vpl": 0.79}}, "accuracy of vpl"),
        ({"accuracy": {"dpl": 0.69}}, "accuracy of dpl"),
        ({"accuracy": {"dpl": 0.91}}, "accuracy of dpl"),
        ({"preferred": 0.79}, "policy of z"),
        ({"read": 0.79}, "one policy"),
    ],
)
def test_each_bar_is_missed_alone(changed: dict[str, Any], name: str, tmp_path: Path) -> None:
    (one,) = missed(done_of(**changed), tmp_path)
    assert one.startswith(name)


def test_what_failed_is_counted_and_nothing_measured_misses(tmp_path: Path) -> None:
    broken = [dataclasses.replace(d, value=None, error="no disk") for d in done_of()]
    found = tables(broken, tmp_path)
    assert len(found[0].failed) == len(broken)
    assert not found[0].met
    assert len(missed(broken, tmp_path)) == 7


def test_there_is_a_job_for_every_part_on_every_seed() -> None:
    made = jobs(range(3))
    assert len({job.key for job in made}) == len(made) == 1 + 3 * 6
    for job in made:
        module, _, name = job.work.partition(":")
        assert callable(getattr(import_module(module), name))
        assert job.shares == "prior"
        assert json.loads(json.dumps(job.arguments)) == job.arguments


def test_rewards_are_told_step_by_step_where_models_say_them_so() -> None:
    assert ROUNDS.mode == "delta"
    assert SMALL.mode == "terminal"


def test_settings_keep_to_what_may_be_asked() -> None:
    assert ROUNDS.rounds == 3
    assert sum(ROUNDS.pairs) <= 600
    assert [ROUNDS.budget(i) for i in (1, 2, 3)] == pytest.approx([0.05, 0.1, 0.2])
    weights: Any = make_task("descant/Melody-v0").reward.weights  # type: ignore[attr-defined]
    assert TASTE.keys() < weights.keys()


def test_it_is_listed() -> None:
    assert suites.get("rlhf") is RLHF
    assert RLHF.seeds == 10


# From the command line


def test_it_runs_from_the_command_line(
    prior: Prior, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rlhf, "ROUNDS", dataclasses.replace(SMALL, pairs=[16, 16, 16], steps=1024))
    for title in rlhf.SETTINGS:
        monkeypatch.setitem(rlhf.SETTINGS, title, FEW)
    monkeypatch.setattr(studies, "run_jobs", lambda made, out, *_, **__: [call(job, out) for job in made])
    code = main(["bench", "rlhf", "--prior", prior.path, "--out", str(tmp_path), "--seeds", "1", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found[0]["failed"] == []
    assert code == int(not all(table["met"] for table in found))  # so few steps say nothing of the bars
    assert (tmp_path / "rlhf.md").stat().st_size > 0


def test_what_is_done_is_known_by_its_settings(prior: Prior, monkeypatch: pytest.MonkeyPatch) -> None:
    def keys() -> list[str]:
        return [job.key for job in jobs(range(1), Path(prior.path))]

    before = keys()
    assert keys() == before
    monkeypatch.setitem(rlhf.SETTINGS, "groups", FEW)
    same = [old == new for old, new in zip(before, keys(), strict=True)]
    assert same == [True, True, True, True, False, True, True]
