"""`descant prefs`: from runs and compositions to pairs, teachers' judgements, agreement, ratings, and out and in."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from descant.cli import main
from descant.commands.prefs import PARTS
from descant.preferences.clips import COUNTERPOINT, MELODY, score_of, words_of
from descant.preferences.store import Store

SMALL = ["--config.num-envs", "4", "--config.hidden", "8", "--config.critic-hidden", "8", "--no-progress"]


@pytest.fixture(scope="module")
def melodies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run on melodies, and what it composed in D dorian."""
    folder = tmp_path_factory.mktemp("melodies")
    run = str(folder / "tunes")
    tiny = [*SMALL, "--set", "steps=8", "--total-timesteps", "30"]
    assert main(["train", MELODY, "--agent", "reinforce", *tiny, "--out", run]) == 0
    asked = ["compose", run, "--n", "3", "--key", "D", "--mode", "dorian", "--out", str(folder / "composed")]
    assert main(asked) == 0
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with pairs of what `exact` and `random` compose, for all."""
    path = tmp_path_factory.mktemp("made") / "taste.db"
    assert main(["prefs", "new", str(path), "exact", "chance=random", "--n", "24"]) == 0
    assert main(["prefs", "pairs", str(path), "--n", "12", "--repeat", "0.25"]) == 0
    return path


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Path:
    """A copy of it to write in."""
    return Path(shutil.copy(made, tmp_path / "taste.db"))


def asked(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    """What `descant prefs ... --json` prints."""
    capsys.readouterr()
    assert main(["prefs", *arguments, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line of a command that is refused."""
    capsys.readouterr()
    assert main(["prefs", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1, captured.err
    return captured.err


@pytest.mark.parametrize("part", sorted(PARTS))
def test_the_help_of_every_part_has_an_example(part: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prefs", part, "--help"]) == 0
    assert f"\nExample: descant prefs {part} " in capsys.readouterr().out


def test_runs_and_compositions_become_clips(
    melodies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "a.db")
    made = asked(capsys, "new", path, f"mine={melodies / 'tunes'}", str(melodies / "composed"), "--n", "5")
    assert made["added"] == {"mine": 5, "composed": 3}
    with Store(path) as store:
        clips = list(store.clips())
    assert {clip.environment for clip in clips} == {MELODY}
    mine, composed = clips[:5], clips[5:]
    assert {tuple(sorted(clip.arguments.items())) for clip in mine} == {
        (("key", "C"), ("mode", "major"), ("steps", 8))
    }
    told = json.loads((melodies / "composed" / "melodies.json").read_text())
    assert [clip.metadata["shift"] for clip in composed] == [told["transposed"]] * 3
    for clip, melody in zip(composed, told["melodies"], strict=True):
        score = score_of(clip)
        assert score is not None
        notes = [word.split(":")[0] for word in melody["notes"].split()]
        assert [str(n.pitch) if n.pitch else "R" for n in score.voices[0].notes] == notes


def test_composed_counterpoints_become_clips(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(tmp_path / "composed")
    assert main(["compose", "exact", "--cantus", "dorian", "--position", "below", "--out", folder]) == 0
    asked(capsys, "new", str(tmp_path / "a.db"), folder)
    with Store(tmp_path / "a.db") as store:
        (clip,) = store.clips()
    kept = json.loads((tmp_path / "composed" / "counterpoint-below.json").read_text())
    assert (clip.environment, clip.source) == (COUNTERPOINT, "composed")
    assert clip.arguments == {"cantus": "D4 F4 E4 D4 G4 F4 A4 G4 F4 E4 D4", "position": "below"}
    assert (
        words_of(clip)
        == f"Cantus firmus: {clip.arguments['cantus']}. Counterpoint: {' '.join(kept['counterpoint'])}"
    )


def test_pairs_are_of_one_problem_and_of_different_sources(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Store(store) as opened:
        clips = {clip.hash: clip for clip in opened.clips()}
        pairs = list(opened.pairs())
    assert {clip.source for clip in clips.values()} == {"exact", "chance"}
    assert (len(pairs), sum(pair.repeats is not None for pair in pairs)) == (15, 3)
    for pair in pairs:
        a, b = clips[pair.a], clips[pair.b]
        assert a.arguments == b.arguments
        assert a.source != b.source
    more = asked(capsys, "pairs", str(store), "--n", "5", "--between", "any", "--repeat", "0")
    assert (more["added"], more["pairs"]) == (5, 20)


def test_scores_of_a_model_choose_pairs(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Store(store) as opened:
        hashes = [clip.hash for clip in opened.clips()]
    scores = {"model_hash": "m1", "scores": {hash: [float(i), -float(i)] for i, hash in enumerate(hashes)}}
    (tmp_path / "scores.json").write_text(json.dumps(scores))
    told = ["--strategy", "information", "--scores", str(tmp_path / "scores.json")]
    asked(capsys, "pairs", str(store), "--n", "2", "--repeat", "0", *told)
    with Store(store) as opened:
        assert [(p.strategy, p.model_hash) for p in opened.pairs()][-2:] == [("information", "m1")] * 2
    asked(capsys, "label", str(store), "--teacher", "tying", "--tie-within", "99")
    for more, ties in ([], 15), (["--chosen"], 17):  # what a model chose is left out of ratings
        assert [row["ties"] for row in asked(capsys, "leaderboard", str(store), *more)] == [ties] * 2
    assert main(["prefs", "leaderboard", str(store)]) == 0
    assert "Left out: 2 judgements" in capsys.readouterr().out
    assert "no --scores" in refused(capsys, "pairs", str(store), *told[2:])
    for wrong in ("[]", '{"scores": {}}', '{"scores": 1}', "{"):
        (tmp_path / "scores.json").write_text(wrong)
        assert "scores" in refused(capsys, "pairs", str(store), *told)


def test_a_teacher_judges_and_the_better_model_leads(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    judged = asked(
        capsys, "label", str(store), "--teacher", "perfect", "--taste", "fux", "--annotator", "ann"
    )
    assert sum(judged["judged"]["ann"].values()) == 15
    assert asked(capsys, "label", str(store), "--teacher", "perfect", "--annotator", "ann")["judged"] == {
        "ann": {}
    }
    rows = asked(capsys, "leaderboard", str(store))
    assert [row["source"] for row in rows] == ["exact", "chance"]
    assert rows[0]["wins"] == 15
    assert rows[0]["low"] > 0 > rows[1]["high"]
    groups = asked(
        capsys, "label", str(store), "--population", "high-lovers:2,low-lovers", "--temperature", "0.01"
    )
    assert sorted(groups["judged"]) == ["high-lovers-1", "high-lovers-2", "low-lovers-1"]
    found = asked(capsys, "agreement", str(store))
    kappas = {tuple(row["annotators"]): row["value"] for row in found["between"]["cohen"]}
    assert kappas["high-lovers-1", "high-lovers-2"] > 0.5
    assert kappas["high-lovers-1", "low-lovers-1"] < -0.5
    assert found["consistency"]["by_annotator"]["ann"]["value"] == 1.0


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_what_goes_out_comes_in(
    store: Path, tmp_path: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["prefs", "label", str(store), "--teacher", "noisy"])
    out = str(tmp_path / "out")
    counts = asked(capsys, "export", str(store), "--out", out, "--format", form)
    assert (counts["pairs"], counts["judgements"]) == (15, 15)
    report = asked(capsys, "import", str(tmp_path / "new.db"), out)
    assert report["added"] == {"clip": counts["clips"], "pair": 15, "judgement": 15}
    with Store(store) as before, Store(tmp_path / "new.db") as after:
        assert list(before.judgements()) == list(after.judgements())
    if form == "jsonl":
        with open(out, "a") as file:
            file.write("broken\n")
        again = asked(capsys, "import", str(tmp_path / "new.db"), out, code=1)
        assert (again["skipped"], sum(again["added"].values())) == (1, 0)


def test_tables_are_printed(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prefs", "leaderboard", str(store)]) == 0
    assert "No judgement compares" in capsys.readouterr().out
    assert main(["prefs", "label", str(store), "--teacher", "tying", "--tie-within", "99"]) == 0
    assert capsys.readouterr().out == "tying                15 tie\n"
    assert main(["prefs", "agreement", str(store)]) == 0
    out = capsys.readouterr().out
    assert "15 judgements of 1 annotators, 0 skips" in out
    assert "answers alike when repeated\n  all                  1.000  [0.439, 1.000]  n = 3" in out
    assert main(["prefs", "leaderboard", str(store)]) == 0
    out = capsys.readouterr().out
    assert "exact" in out
    assert "+0.00" in out
    assert main(["prefs", "export", str(store), "--out", str(store.parent / "x.jsonl")]) == 0
    assert "15 pairs, 15 judgements to" in capsys.readouterr().out
    assert main(["prefs", "label", str(store), "--teacher", "perfect"]) == 0
    assert main(["prefs", "label", str(store), "--teacher", "perfect", "--annotator", "like"]) == 0
    capsys.readouterr()
    assert main(["prefs", "agreement", str(store)]) == 0
    assert "1.000  (no interval: all answers agree)  n = 12  like and perfect" in capsys.readouterr().out


def test_a_store_is_added_to_only_when_asked(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "pass --add" in refused(capsys, "new", str(store), "exact")
    added = asked(capsys, "new", str(store), "random", "--n", "3", "--seed", "7", "--add")
    assert added["added"] == {"random": 3}
    assert main(["prefs", "new", str(store), "random", "--n", "3", "--seed", "7", "--add"]) == 0
    assert "random               0 clips (3 more were alike, or there already)" in capsys.readouterr().out


def test_bad_input_is_one_line(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gone, path = str(tmp_path / "gone.db"), str(store)
    assert "make one with descant prefs new" in refused(capsys, "pairs", gone)
    assert "is no run" in refused(capsys, "new", gone, "nothing")
    assert "--n must be at least 1" in refused(capsys, "new", gone, "exact", "--n", "0")
    assert "Did you mean 'random'" in refused(capsys, "pairs", path, "--strategy", "randon")
    assert "0 to 1" in refused(capsys, "pairs", path, "--repeat", "2")
    assert "pass --scores" in refused(capsys, "pairs", path, "--strategy", "uncertainty")
    assert "Did you mean 'noisy'" in refused(capsys, "label", path, "--teacher", "noise")
    assert "Did you mean 'steps'" in refused(capsys, "label", path, "--teacher", "noisy", "--taste", "stepps")
    assert "give one of them" in refused(
        capsys, "label", path, "--population", "low-lovers", "--annotator", "x"
    )
    assert "0 to 1" in refused(capsys, "label", path, "--teacher", "mistaken", "--mistake", "3")
    assert "give 1 to 80" in refused(capsys, "label", path, "--teacher", "noisy", "--annotator", "")
    for option in ("annotator", "temperature", "mistake", "skip-below", "tie-within", "gamma", "limit"):
        assert f"--{option} is for teachers" in refused(capsys, "label", path, f"--{option}", "1")
    assert "Cannot read" in refused(capsys, "import", path, gone)
    assert "the store itself" in refused(capsys, "export", path, "--out", path)
    assert "Cannot read" in refused(capsys, "import", gone, str(tmp_path / "nothing.jsonl"))
    assert f"descant prefs export {path} --out" in refused(capsys, "import", gone, path)
    assert f"descant prefs export {path} --out" in refused(capsys, "import", path, path)
    (tmp_path / "no-csv").mkdir()
    assert "has none of clips.csv" in refused(capsys, "import", gone, str(tmp_path / "no-csv"))
    assert not (tmp_path / "gone.db").exists()
    (tmp_path / "composed").mkdir()
    (tmp_path / "composed" / "melodies.json").write_text('{"key": "C"}')
    assert "compose it again" in refused(capsys, "new", gone, str(tmp_path / "composed"))
    assert refused(capsys, "new", gone, str(tmp_path))
    assert not (tmp_path / "gone.db").exists()
