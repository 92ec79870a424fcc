"""`bench translation`: its plan, its measures on translations made by hand, its tables, and a small run of all."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from descant.benchmarks import translation
from descant.benchmarks.command import Bench
from descant.benchmarks.jobs import Done, Job, call
from descant.benchmarks.outlooks import MINUTES, outlook
from descant.benchmarks.translation_measure import PLACES, errors, rates, sentence_scores
from descant.benchmarks.translation_rewards import Constant, Unclipped
from descant.benchmarks.translation_runs import run_in, split_tasks
from descant.benchmarks.translation_tables import COLUMNS, bars, rows_of
from descant.benchmarks.translation_worlds import AGAIN, GRAMMAR, METHODS, MIXED, PAIRS, VINE, pairs_world
from descant.errors import DescantError
from descant.registry import build, tasks
from descant.text.vocabularies import EOS, PAD

ENV = "descant/Translation-v0"


def small(methods: list[str]) -> dict[str, Any]:
    """The grammar's world, learned in a second."""
    world = copy.deepcopy(GRAMMAR)
    world |= {"env": {"size": 128}, "tested": {"size": 12}}
    model = world["models"]["transformer"]
    model |= {"methods": methods, "kept": ["rloo", "mixer"]}
    model["network"]["hidden"], model["passes"], model["pretrain"]["epoch"] = [16, 16], 1.0, 64
    world["tune"] = {"steps": 200, "config": {"num_envs": 8, "learning_rate": 1e-3, "group_size": 4}}
    return world


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Done], Path]:
    """All jobs of a small world on one seed."""
    out = tmp_path_factory.mktemp("translation")
    methods = ["rloo", "mixer", "rloo, constant reward", "rloo, bleu add-k 10"]
    done = [call(job, out) for job in translation.jobs_of(small(methods), [0])]
    assert [d.error for d in done] == [""] * len(done)
    return done, out


def test_every_way_is_a_job_on_every_seed(tmp_path: Path) -> None:
    plan = translation.jobs(range(3))
    assert len({job.key for job in plan}) == len(plan)
    titles = [job.title for job in plan]
    assert titles[:3] == [f"grammar, transformer: cross-entropy seed {seed}" for seed in range(3)]
    for name in METHODS:
        assert (f"grammar, transformer: {name} seed 2" in titles) == (name not in (MIXED, VINE, AGAIN))
    assert "grammar, transformer: rloo, KL seed 1" in titles
    assert "grammar, transformer: rloo, constant reward, KL seed 1" not in titles
    assert translation.TRANSLATION.seeds == 5


def test_a_job_is_the_same_whatever_else_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def keys() -> dict[str, str]:
        return {job.title: job.key for job in translation.jobs(range(1))}

    before = keys()
    monkeypatch.setitem(GRAMMAR["models"]["transformer"], "methods", ["rloo", "mixer"])
    monkeypatch.setitem(METHODS, "mixer", ("mixer", {"delta": 2}, "bleu"))
    after = keys()
    assert len(after) == 4
    assert {title for title, key in after.items() if before[title] != key} == {
        "grammar, transformer: mixer seed 0"
    }


def test_rewards_that_may_be_cheated_and_what_a_constant_one_ruins_are_run_with_kl_too() -> None:
    titles = {job.title.removeprefix("grammar, transformer: ") for job in translation.jobs(range(1))}
    for name in ("rloo", "rloo, length", "rloo, bleu add-k 10", "reinforce, no baseline, constant reward"):
        assert {f"{name} seed 0", f"{name}, KL seed 0"} < titles


def text(folder: Path) -> Path:
    """A folder with three pairs in each split."""
    for split in ("train", "val", "test"):
        (folder / f"{split}.de").write_text("ein Hund\neine Katze\nein Haus\n")
        (folder / f"{split}.en").write_text("a dog\na cat\na house\n")
    return folder


def test_pairs_of_ones_own_come_first_and_other_text_is_another_job(tmp_path: Path) -> None:
    plan = translation.jobs(range(2), text(tmp_path))
    own = [job for job in plan if job.title.startswith("pairs")]
    assert plan[: len(own)] == own
    assert any("gru: scheduled sampling" in job.title for job in own)
    assert {f"pairs, transformer: {MIXED}{kept} seed 1" for kept in ("", ", KL")} < {job.title for job in own}
    told = {job.title: job.arguments["tune"] for job in own if "tune" in job.arguments}
    for model in ("transformer", "gru"):  # the gru's own settings go before those of the world
        usual = PAIRS["tune"] | PAIRS["models"][model].get("tune", {})
        assert told[f"pairs, {model}: mixer seed 0"]["steps"] == usual["steps"]
        found = told[f"pairs, {model}: mixer seed 0"]["config"]
        assert found == PAIRS["tune"]["config"] | usual["config"]
    more = {job.title for job in translation.jobs(range(5), tmp_path)}
    assert {title[-1] for title in more if title.startswith("pairs")} == set("012")
    assert {title[-1] for title in more if title.startswith("grammar")} == set("01234")
    assert own[0].arguments["world"]["env"] == {**PAIRS["env"], "data": str(tmp_path)}
    before = pairs_world(tmp_path)["text"]
    (tmp_path / "val.en").write_text("a dog\na cat\na home\n")
    assert pairs_world(tmp_path)["text"] != before
    assert not {job.key for job in own} & {
        job.key for job in translation.jobs(range(2), tmp_path)[: len(own)]
    }
    (tmp_path / "val.en").unlink()
    with pytest.raises(DescantError, match="say which two"):
        translation.jobs(range(2), tmp_path)


def test_the_minutes_are_those_of_the_grammar(tmp_path: Path) -> None:
    study = translation.TRANSLATION
    assert outlook(study, tmp_path).minutes == MINUTES["translation"]
    assert outlook(study, tmp_path, data=text(tmp_path)).minutes is None


def test_other_studies_take_no_data(tmp_path: Path) -> None:
    with pytest.raises(DescantError, match=r"regret takes no --data: .*bench translation"):
        Bench(suite="regret", data=tmp_path).run()


def test_a_constant_reward_pays_once_for_what_ends() -> None:
    task: Any = build(ENV, tasks.get(ENV), {"size": 8, "reward": Constant()})
    rng = np.random.default_rng(0)
    state = task.reset(rng, 2)
    paid = []
    for actions in ([5, 6], [EOS, 7], [8, EOS]):
        state, reward, _ = task.step(state, np.array(actions), rng)
        paid.append(reward.tolist())
    assert paid == [[0, 0], [1, 0], [0, 1]]


def test_words_that_are_not_clipped_count_as_often_as_they_are_written() -> None:
    task: Any = build(ENV, tasks.get(ENV), {"size": 8, "reward": Unclipped()})
    rng = np.random.default_rng(0)
    state = task.reset(rng, 4)
    right = [[int(word) for word in task.pairs.references.tokens[row] if word >= 0] for row in state.pair]
    foreign = next(i for i in range(EOS + 1, task.action_space.n) if all(i not in words for words in right))
    n = [len(words) for words in right]
    written = [
        [right[0][0]] * n[0],  # one word of the reference, as often as it has words: all
        [right[1][0]] * (n[1] // 2),  # the same, too short
        [right[2][0], foreign] + [foreign] * (n[2] - 2),
        right[3],
    ]
    paid = np.zeros(4)
    for place in range(max(n) + 1):
        action = np.array([words[place] if place < len(words) else EOS for words in written])
        state, reward, _ = task.step(state, action, rng)
        paid += reward
    assert paid == pytest.approx([1.0, np.exp(1 - n[1] / (n[1] // 2)), 1 / n[2], 1.0])


class Parrot:
    """Stands for a network whose likeliest token is always the same."""


def test_errors_are_pairs_of_words_that_the_reference_has_not(monkeypatch: pytest.MonkeyPatch) -> None:
    task: Any = build(ENV, tasks.get(ENV), {"size": 2, "split": "val"})
    pairs = task.pairs
    references = [pairs.codecs[1].encode(text) for text in pairs.text.target]
    right = [[*ids, EOS] for ids in references]
    wrong = [[4, *ids[1:]] for ids in right]
    monkeypatch.setattr("descant.benchmarks.translation_measure.likeliest", lambda network, known: wrong)
    shifted = [ids[1:] for ids in references]  # one word less, and each pair of words but the first is there
    found = errors(Parrot(), pairs, shifted, task.max_steps)  # type: ignore[arg-type]
    assert [sum(column) for column in zip(*found["forced"], strict=True)] == [sum(map(len, right)), 2]
    assert found["forced"][0] == [4 * 2, 2]
    assert [sum(column) for column in zip(*found["free"], strict=True)] == [sum(map(len, shifted)) + 2, 2]
    assert found["free"][0] == [4 * 2, 2]
    assert rates([[8, 2], [0, 0]])[0] == 25.0
    assert np.isnan(rates([[8, 2], [0, 0]])[1])
    assert len(found["free"]) == len(PLACES)


def test_references_score_100_and_smoothing_pays_for_too_little() -> None:
    task: Any = build(ENV, tasks.get(ENV), {"size": 6, "split": "val"})
    pairs = task.pairs
    references = [pairs.codecs[1].encode(text) for text in pairs.text.target]
    assert sentence_scores(pairs, references)["exp"] == pytest.approx(100.0)
    foreign = [[ids[0]] + [4] * (len(ids) - 1) for ids in references]
    paid = sentence_scores(pairs, foreign)
    assert paid["add-k 10"] > paid["exp"] + 10
    assert paid["floor 10"] > paid["exp"]


def text_of(found: dict[str, Any], out: Path) -> list[str]:
    """All translations of the test split, which a job leaves in its run's folder."""
    return (out / "runs" / found["run"] / "test.txt").read_text().splitlines()


def test_a_result_holds_ten_translations_and_no_other_text(finished: tuple[list[Done], Path]) -> None:
    done, out = finished
    for each in done:
        (source, reference, text), *others = each.value.pop("samples")
        written = text_of(each.value, out)
        assert (len(others) + 1, len(written)) == (10, 12)
        pairs = split_tasks(each.job.arguments["world"])[0].pairs
        assert (source, reference, text) == (pairs.text.source[0], pairs.answers[0][0], written[0])
        assert [last for *_, last in others] == [written[i] for i in (1, 2, 4, 5, 6, 7, 9, 10, 11)]
        told = json.dumps(each.value)
        assert not any(sentence in told for sentence in (*pairs.text.source, *written) if " " in sentence)
        each.value["samples"] = [[source, reference, text], *others]


def test_a_small_run_says_what_was_found(finished: tuple[list[Done], Path]) -> None:
    done, out = finished
    found = translation.tables(done, out)
    table = found[0]
    assert [row[0] for row in table.rows] == [
        "transformer: cross-entropy", "transformer: rloo", "transformer: rloo, KL", "transformer: mixer",
        "transformer: mixer, KL", "transformer: rloo, constant reward", "transformer: rloo, bleu add-k 10",
    ]  # fmt: skip
    assert {file.name for file in table.files} >= {"report.html", "samples.md", "translation-grammar.svg"}
    assert all(file.exists() for file in table.files)
    page = (out / "report.html").read_text()
    assert "ten translations side by side" in page
    assert page.count("<svg") == page.count("grammar: gained, forgotten, and wrong") == 1
    assert "pays 0.05 a nat" in page
    values = json.loads(json.dumps(table.data))
    assert all("samples" not in value for row in values for value in row["values"].values())


def test_a_constant_reward_moves_nothing_where_it_is_measured_from_the_others(
    finished: tuple[list[Done], Path],
) -> None:
    done, out = finished
    by_title = {d.job.title.removeprefix("grammar, transformer: "): d.value for d in done}
    control, prior = by_title["rloo, constant reward seed 0"], by_title["cross-entropy seed 0"]
    assert text_of(control, out) == text_of(prior, out)
    assert control["p"] == 1.0
    assert control["equal"] == [1.0, 1.0]
    assert control["kl"] == pytest.approx(0.0, abs=1e-6)
    assert by_title["rloo seed 0"]["kl"] > 1e-6
    assert by_title["rloo seed 0"]["equal"][0] < 1.0


def test_runs_are_kept_and_go_on(finished: tuple[list[Done], Path]) -> None:
    done, out = finished
    path = out / "runs" / done[0].value["run"]
    (path / "facts.json").unlink()
    steps = json.loads((path / "checkpoints/last/state.json").read_text())["num_timesteps"]

    def never(home: Path) -> Any:
        raise AssertionError("it was begun anew")

    again = call(done[0].job, out)
    assert again.value["samples"] == done[0].value["samples"]
    assert again.value["steps"] == done[0].value["steps"] == steps
    with pytest.raises(AssertionError, match="begun anew"):
        run_in(str(out / "runs"), {"other": True}, never)


def value(bleu: float, exact: float = 0.0, perplexity: float = 5.0, chrf: float = 60.0) -> dict[str, Any]:
    return {"bleu_tokens": bleu, "exact": exact, "perplexity": perplexity, "chrf": chrf}


def done_of(world: dict[str, Any], values: dict[str, list[dict[str, Any]]], error: str = "") -> list[Done]:
    """What jobs would have found: by method (or prior) a value for each seed."""
    found = []
    for name, own in values.items():
        for seed, each in enumerate(own):
            told = {"world": world, "model": "transformer", "seed": seed}
            told |= {"prior": name} if name == "cross-entropy" else {"method": name, "kept": False}
            found.append(Done(Job(name, "", told), None if error else each, 1.0, error))
    return found


def test_bars_of_the_grammar_hold_learning_and_its_absence_against_ten_points() -> None:
    priors = [value(40, 0.30), value(40, 0.32)]
    for last, fine in ((0.43, True), (0.41, False)):
        made = {
            "cross-entropy": priors,
            "rloo": [value(50, 0.45), value(50, last)],
            "rloo, constant reward": [value(40, 0.3), value(40, last)],
        }
        table = bars(rows_of(done_of(small([]), made)))
        assert [row[-1] == "met" for row in table.rows] == [fine, not fine]
        assert not table.met
        assert table.rows[0][1] == f"+15.0, {100 * (last - 0.32):+.1f}"


@pytest.mark.parametrize(
    ("change", "missed"),
    [
        ({}, []),
        ({"bleu": 37.4}, ["BLEU gained"]),
        ({"p": 0.06}, ["BLEU gained"]),
        ({"perplexity": 5.6}, ["perplexity"]),
        ({"chrf": 59.9}, ["chrF"]),
        ({"prior": 35.9}, ["BLEU"]),
    ],
)
def test_bars_of_pairs_are_held_on_every_seed(
    change: dict[str, float], missed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tuned = value(change.get("bleu", 38.0), 0.0, change.get("perplexity", 5.4), change.get("chrf", 60.5))
    made = {
        "cross-entropy": [value(36.5), value(change.get("prior", 36.5))],
        "rloo": [value(38.0, 0.0, 5.1, 61.0), tuned],
        "mixer, references of vine alone": [value(36.0), value(36.0)],  # a control, which has no bar
    }
    rows = rows_of(done_of({"name": "pairs"}, made))
    monkeypatch.setattr(type(rows[0]), "tests", {0: 0.001, 1: change.get("p", 0.01)})
    found = [row[0].split(": ")[-1] for row in bars(rows).rows if row[-1] == "MISSED"]
    assert found == missed
    assert COLUMNS["p < 0.05"](rows[1]) == ("1 of 2" if "p" in change else "2 of 2")


def test_failed_seeds_are_named_and_the_others_are_shown(
    finished: tuple[list[Done], Path], tmp_path: Path
) -> None:
    done, _ = finished
    broken = [*done[:2], Done(done[2].job, None, 0.0, "MemoryError: none left")]
    found = translation.tables(broken, tmp_path)
    assert not found[0].met
    assert found[0].failed == ("grammar, transformer: rloo, KL seed 0: MemoryError: none left",)
    assert found[0].rows[2][1] == "0"
    assert "MemoryError" in (tmp_path / "report.html").read_text()
    nothing = translation.tables([Done(done[0].job, None, 0.0, "gone")], tmp_path)
    assert not nothing[0].met
    assert nothing[0].failed == ("grammar, transformer: cross-entropy seed 0: gone",)


def test_the_splits_are_those_of_the_run() -> None:
    test, val = split_tasks(small([]))
    assert len(test.pairs) == len(val.pairs) == 12
    assert set(test.pairs.text.source).isdisjoint(val.pairs.text.source)
    assert test.pairs.sources[0, -1] in (PAD, EOS)
