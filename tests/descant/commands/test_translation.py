"""`descant pretrain descant/Translation-v0`, `translate`, and `evaluate` of what came of it."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sacrebleu.metrics.bleu import BLEU

from descant import load_agent
from descant.cli import main
from descant.commands.evaluate_translations import Asked, evaluate_translations
from descant.commands.translation import open_translator, split_task
from descant.runs import load_checkpoint, read_metrics
from descant.text.decoding import beam, greedy
from descant.text.grammar import generate
from descant.text.pairs import load_codecs
from descant.text.reports import paired, thoughts

ENV = "descant/Translation-v0"
WIDTHS = ["16", "64"]
LEARNING = ["--batch-size", "16", "--learning-rate", "0.01", "--warmup", "20", "--no-progress"]
SMALL = ["--model", "gru", "--hidden", *WIDTHS, *LEARNING]
GRAMMAR = ["--set", "size=300", "max_words=8", "--epoch", "300"]


def pretrain(out: Path, *more: str, code: int = 0) -> Path:
    assert main(["pretrain", ENV, *SMALL, *more, "--out", str(out)]) == code
    return out


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pretrained on the grammar, until it says something."""
    return pretrain(
        tmp_path_factory.mktemp("runs") / "a", *GRAMMAR, "--total-timesteps", "25000", "--dropout", "0"
    )


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of text; its test source has a word that training had not."""
    folder = tmp_path_factory.mktemp("text")
    for split, size in (("train", 60), ("val", 12), ("test", 12)):
        pairs = generate(split, size, max_words=8)
        for ending, side in (("en", pairs.source), ("de", pairs.target)):
            (folder / f"{split}.{ending}").write_text("\n".join(side) + "\n", encoding="utf-8")
    return folder


def stdin(monkeypatch: pytest.MonkeyPatch, content: str | bytes) -> None:
    raw = content if isinstance(content, bytes) else content.encode()
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(raw)))


# Pretraining.


def test_a_run_learns_and_says_what_its_model_is_worth(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = json.loads((run / "pretrain.json").read_text())
    records = list(read_metrics(run / "metrics.jsonl"))
    assert report["exact"] > 0.02
    assert report["nll"] < records[0]["heldout_nll"]
    assert report["nll"] == pytest.approx(min(r["heldout_nll"] for r in records), abs=1e-4)
    assert {"heldout_bleu", "heldout_exact", "heldout_accuracy"} <= records[0].keys()
    assert records[-1]["heldout_bleu"] > records[0]["heldout_bleu"]
    content = json.loads((run / "config.json").read_text())["config"]
    assert content["corpus"]["train"]["pairs"] == 300
    assert content["corpus"]["words"]["source"] == len(load_codecs(run / "vocabulary")[0])


def test_resumed_is_uninterrupted(tmp_path: Path) -> None:
    short = [*GRAMMAR[:-1], "100", "--total-timesteps"]
    whole = pretrain(tmp_path / "whole", *short, "2400")
    half = pretrain(tmp_path / "half", *short, "900")
    assert main(["pretrain", "--resume", str(half), "--total-timesteps", "2400", "--no-progress"]) == 0
    ends = [load_checkpoint(path / "checkpoints/last").weights for path in (whole, half)]
    assert ends[0].keys() == ends[1].keys()
    assert all(torch.equal(torch.as_tensor(ends[0][k]), torch.as_tensor(ends[1][k])) for k in ends[0])
    looks = [[r["heldout_bleu"] for r in read_metrics(path / "metrics.jsonl")] for path in (whole, half)]
    assert looks[0] == looks[1]


def test_a_folder_of_text(text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    some = ["--corpus", str(text), "--languages", "en", "de", "--licence", "free", "--total-timesteps", "300"]
    run = pretrain(tmp_path / "a", *some, "--json")
    report = json.loads(capsys.readouterr().out)
    assert report["train"]["licence"] == "free"
    assert report["train"]["source"]["lines"] == 60
    assert len(report["train"]["source"]["sha256"]) == 64
    assert report["pairs"] == 60
    assert main(["evaluate", str(run), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["sentences"] == 12
    assert "case:lc" in found["bleu"]["signature"]  # its words are lower-cased
    for ending in ("en", "de"):  # words that the run has never seen
        with (text / f"train.{ending}").open("a", encoding="utf-8") as file:
            file.write("quite other words\n")
    assert main(["evaluate", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == found
    assert main(["evaluate", str(run), "--set", 'languages=["de","en"]']) == 2
    assert "translates en to de, not de to en" in capsys.readouterr().err


def test_two_files(text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for ending in ("en", "de"):  # each twice, one after the other
        content = "".join(
            f"{line}\n{line}\n" for line in (text / f"train.{ending}").read_text().splitlines()[:60]
        )
        (tmp_path / f"all.{ending}").write_text(content, encoding="utf-8")
    files = ["--source", str(tmp_path / "all.en"), "--target", str(tmp_path / "all.de")]
    run = pretrain(tmp_path / "a", *files, "--total-timesteps", "300")
    lines = {s: (run / f"text/{s}.en").read_text().splitlines() for s in ("train", "val", "test")}
    assert [len(lines[s]) for s in ("train", "val", "test")] == [108, 6, 6]
    assert len({line for some in lines.values() for line in some}) == 60
    assert sum(len(set(some)) for some in lines.values()) == 60  # the same source is always for the same
    order, sources = ((tmp_path / f"all.{e}").read_text().splitlines() for e in ("de", "en"))
    targets = (run / "text/val.de").read_text().splitlines()
    assert [order[sources.index(line)] for line in lines["val"]] == targets
    moved = tmp_path / "moved"
    shutil.move(run, moved)  # the vocabulary goes with it
    capsys.readouterr()
    assert main(["translate", str(moved), str(text / "test.en"), "--skip"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 12


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--model", "lstm"], "must be gru or transformer"),
        (["--hidden", "16"], "two widths"),
        (["--source", "a"], "go together"),
        (["--source", "a", "--target", "b"], "Cannot read a"),
        (["--corpus", "nowhere"], "is no folder"),
        (["--set", "data=grammar"], "with --corpus"),
        (["--dropout", "1"], "below 1"),
        (["--label-smoothing", "-1"], "below 1"),
        (["--track", "nothing"], "nothing"),
        (["--set", "max_words=2"], ""),
    ],
)
def test_what_cannot_work_is_refused_before_a_folder_is_made(
    more: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pretrain(tmp_path / "a", *more, code=2)
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "a").exists()


def test_cuda_is_refused_where_it_is_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is CUDA")
    pretrain(tmp_path / "a", "--device", "cuda", code=2)
    assert "no CUDA on this machine" in capsys.readouterr().err


def test_melodies_have_no_gru(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pretrain", "descant/Melody-v0", "--model", "gru", "--out", str(tmp_path / "a")]) == 2
    assert "lstm or transformer" in capsys.readouterr().err


# Translating.


SENTENCES = ["the dog sees the cat.", "the small dog sleeps.", "a girl finds the house."]


def test_lines_are_translated_in_order(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    translator = open_translator(str(run))
    codec, out = translator.codecs[0], translator.codecs[1]
    sources = np.zeros((3, translator.columns), np.int32)
    for row, line in zip(sources, SENTENCES, strict=True):
        ids = codec.encode(line)
        row[: len(ids) + 1] = [*ids, 2]
    for flags, found in (
        ([], greedy(translator.network, sources, translator.limit)),
        (["--temperature", "0"], greedy(translator.network, sources, translator.limit)),
        (["--beam", "4"], beam(translator.network, sources, translator.limit, 4)),
    ):
        stdin(monkeypatch, "\n".join(SENTENCES) + "\n")
        assert main(["translate", str(run), *flags]) == 0
        assert capsys.readouterr().out.splitlines() == [out.decode(ids) for ids in found.tokens]
    stdin(monkeypatch, "\n".join(SENTENCES))
    assert main(["translate", str(run), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["source"] for row in rows] == SENTENCES
    assert all(row["score"] < 0 for row in rows)


@pytest.mark.parametrize(
    "flags", [["--temperature", "2"], ["--mbr", "4"], ["--top-k", "3"], ["--top-p", "0.9"]]
)
def test_what_is_drawn_follows_from_the_seed(
    flags: list[str], run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def out(seed: int) -> str:
        stdin(monkeypatch, "\n".join(SENTENCES * 4))
        assert main(["translate", str(run), *flags, "--seed", str(seed)]) == 0
        return capsys.readouterr().out

    assert out(0) == out(0) != out(1)


@pytest.mark.parametrize(
    ("content", "flags", "message"),
    [
        ("the dog sleeps.\nxx yy zz\n", [], "stdin:2: no word of the source is in the vocabulary"),
        ("the dog sleeps.\n\nthe cat sleeps.", [], "stdin:2: the line is empty"),
        ("the " * 5000, [], "stdin:1: the sentence has 5000 tokens, more than max_words (8)"),
        (b"the dog\n\xff\xfe\n", [], "stdin:2: the line is no UTF-8"),
        ("", [], "no sentences"),
        ("the dog.", ["--beam", "2", "--mbr", "3"], "Choose one"),
        ("the dog.", ["--beam", "0"], "--beam must be at least 1"),
        ("the dog.", ["--top-p", "0"], "top_p"),
    ],
)
def test_bad_lines_are_refused(
    content: str | bytes,
    flags: list[str],
    message: str,
    run: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    stdin(monkeypatch, content)
    assert main(["translate", str(run), *flags]) == 2
    out, error = capsys.readouterr()
    assert message in error
    assert error.count("\n") == 1
    assert not out


def test_lines_can_be_left_empty(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stdin(monkeypatch, "the dog sleeps.\nxx yy\n\n")
    assert main(["translate", str(run), "--skip"]) == 0
    out, error = capsys.readouterr()
    lines = out.split("\n")
    assert lines[0]
    assert lines[1:3] == ["", ""]
    assert "left empty: 2 of 3 lines" in error


def test_other_runs_do_not_translate(tmp_path: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--config.num-envs", "4", "--config.hidden", "8", "--config.critic-hidden", "8", "--no-progress"]
    small = [*flags, "--total-timesteps", "30"]
    assert main(["train", "CartPole-v1", *small, "--out", str(tmp_path / "pole")]) == 0
    data = ["--set", "size=20", "max_words=8"]
    assert main(["train", ENV, *small, *data, "--out", str(tmp_path / "flat")]) == 0
    capsys.readouterr()
    for name, message in (("pole", "does not translate"), ("flat", "no encoder"), ("none", "is no run")):
        assert main(["translate", str(tmp_path / name)]) == 2
        assert message in capsys.readouterr().err
    assert main(["evaluate", str(tmp_path / "flat"), "--episodes", "4"]) == 0  # by its return
    assert "mean return" in capsys.readouterr().out
    changed = tmp_path / "changed"
    shutil.copytree(run, changed)
    words = json.loads((changed / "vocabulary/source.json").read_text())
    words["words"] = words["words"][1:]
    (changed / "vocabulary/source.json").write_text(json.dumps(words))
    assert main(["translate", str(changed)]) == 2
    assert "vocabularies of" in capsys.readouterr().err


# Evaluating.


def test_a_run_is_measured(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(run), "--samples", "3"]) == 0
    shown = capsys.readouterr().out
    report = evaluate_translations(str(run), Asked(samples=3))
    assert report["bleu"]["signature"] in shown
    assert f"{report['chrf']['score']:.2f}" in shown
    assert len(report["samples"]) == 3
    assert shown.count("  translation  ") == 3
    translator = open_translator(str(run))
    task = split_task(translator, "test", {})
    tokens = greedy(translator.network, task.pairs.sources, translator.limit).tokens
    texts = [task.pairs.codecs[1].decode(ids) for ids in tokens]
    assert report["bleu"]["score"] == BLEU().corpus_score(texts, [list(task.pairs.text.target)]).score
    low, high = report["bleu"]["interval"]
    assert low < report["bleu"]["score"] < high
    right = task.pairs.exact(np.arange(len(tokens)), tokens)
    assert report["exact"] == right.mean()
    lengths = np.array([len(ids) for ids in tokens])
    assert report["eos"] == pytest.approx((lengths + 1 < translator.limit).mean())
    assert report["length_ratio"] == pytest.approx(lengths.sum() / task.pairs.references.lengths[:, 0].sum())
    words = [word for ids in tokens for word in ids]
    assert report["distinct_1"] == pytest.approx(len(set(words)) / len(words))
    assert report["bleu_chrf_gap"] == report["bleu"]["score"] - report["chrf"]["score"]


def test_what_the_policy_thinks_is_what_it_acted_by(run: Path) -> None:
    translator = open_translator(str(run))
    pairs = split_task(translator, "test", {"size": 40}).pairs
    found = greedy(translator.network, pairs.sources, translator.limit)
    own = thoughts(translator.network, pairs, found.tokens, translator.limit, translator.network)
    steps = sum(min(len(ids) + 1, translator.limit - 1) for ids in found.tokens)
    assert own["nll"] == pytest.approx(-found.scores.sum() / steps, abs=1e-4)
    assert own["kl"] == pytest.approx(0, abs=1e-6)
    assert own["prior_perplexity"] == pytest.approx(np.exp(own["nll"]))
    assert 0 < own["entropy"] < np.log(translator.network.shape.target)


def test_two_runs_are_tested_against_each_other(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    worse = pretrain(tmp_path / "worse", *GRAMMAR, "--total-timesteps", "300", "--seed", "1")
    capsys.readouterr()
    flags = ["--against", str(worse), "--prior", str(worse), "--set", "size=100", "--json"]
    assert main(["evaluate", str(run), *flags]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["against"]["bleu"]["ahead"] > 0
    assert report["against"]["bleu"]["p"] < 0.05
    assert report["kl"] > 0.01
    assert report["against"]["bleu"]["ahead"] == pytest.approx(
        report["bleu"]["score"] - report["against"]["bleu"]["score"]
    )
    other = pretrain(tmp_path / "other", "--set", "size=40", "max_words=9", "--total-timesteps", "100")
    for flag in ("--against", "--prior"):
        assert main(["evaluate", str(run), flag, str(other)]) == 2
        assert "give a run on the same text" in capsys.readouterr().err
    assert main(["evaluate", str(run), "--set", "max_words=9"]) == 2
    assert "was trained on other sentences" in capsys.readouterr().err


def test_the_same_translations_are_alike(run: Path) -> None:
    pairs = split_task(open_translator(str(run)), "test", {"size": 30}).pairs
    texts = list(pairs.text.target)
    assert paired(pairs, texts, texts, 50)["bleu"]["p"] == 1.0


def test_a_run_goes_on_with_reinforcement_and_knows_its_prior(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    form = [
        "--config.recurrent",
        "--config.trunk",
        "gru",
        "--config.hidden",
        *WIDTHS,
        "--config.num-envs",
        "16",
    ]
    kept = ["--config.init", str(run), "--config.prior", str(run), "--config.kl-coef", "0.1"]
    out = tmp_path / "rloo"
    some = ["--set", "size=50", "max_words=8", "--total-timesteps", "300", "--no-progress", "--out", str(out)]
    assert main(["train", ENV, "--agent", "rloo", *form, *kept, *some]) == 0
    capsys.readouterr()
    assert (out / "vocabulary/target.json").exists()
    assert main(["evaluate", str(out), "--json", "--set", "size=40"]) == 0
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert report["prior"] == str(run)
    assert report["kl"] >= 0
    assert load_agent(out).name == "rloo"
