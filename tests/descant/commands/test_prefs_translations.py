"""`descant prefs new` of a run that translates: two translations of a sentence, which can be shown and played again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from descant.cli import main
from descant.errors import DescantError
from descant.preferences.episodes import play_episodes
from descant.preferences.records import Clip
from descant.preferences.rendering import view
from descant.preferences.store import Store
from descant.runs.folders import RunFolder
from descant.shells import make_task
from descant.text.vocabularies import EOS

ENV = "descant/Translation-v0"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A translator that has learned next to nothing."""
    out = tmp_path_factory.mktemp("runs") / "a"
    small = ["--model", "gru", "--hidden", "8", "16", "--batch-size", "16", "--epoch", "64", "--no-progress"]
    options = ["--set", "size=64", "max_words=6", "--total-timesteps", "300"]
    assert main(["pretrain", ENV, *small, *options, "--out", str(out)]) == 0
    return out


def clips_of(store: Path, run: Path, *more: str) -> list[Clip]:
    assert main(["prefs", "new", str(store), f"gru={run}", *more]) == 0
    with Store(store, read_only=True) as kept:
        return list(kept.clips())


def held_out(run: Path, **more: Any) -> dict[str, Any]:
    return RunFolder.open(run).config["env_options"] | {"split": "val"} | more


def test_each_sentence_is_drawn_twice_and_shown_under_its_source(run: Path, tmp_path: Path) -> None:
    clips = clips_of(tmp_path / "a.db", run, "--n", "20", "--temperature", "2")
    pairs: Any = make_task(ENV, **held_out(run)).pairs  # type: ignore[attr-defined]
    rows = [clip.arguments["pairs"][0] for clip in clips]
    assert len(set(rows)) == 10
    assert all(rows.count(row) == 2 for row in set(rows))
    for clip in clips:
        assert clip.arguments["source"] == pairs.text.source[clip.arguments["pairs"][0]]
        assert clip.tokens[-1] == EOS
        assert clip.text == pairs.codecs[1].decode(clip.tokens[:-1])
        shown = view(clip)
        assert shown.prompt == clip.arguments["source"]
        assert shown.told["text"] == clip.text
        assert clip.source == "gru"
    again = clips_of(tmp_path / "b.db", run, "--n", "20", "--temperature", "2")
    assert [clip.hash for clip in again] == [clip.hash for clip in clips]
    other = clips_of(tmp_path / "c.db", run, "--n", "20", "--temperature", "2", "--seed", "1")
    assert {clip.hash for clip in other} != {clip.hash for clip in clips}


def test_pairs_are_of_one_sentence_and_can_be_learned_from(run: Path, tmp_path: Path) -> None:
    store = tmp_path / "a.db"
    clips = {clip.hash: clip for clip in clips_of(store, run, "--n", "9", "--temperature", "2")}
    assert len(clips) == 9
    assert main(["prefs", "pairs", str(store), "--n", "4", "--repeat", "0"]) == 0
    with Store(store) as kept:
        for pair in kept.pairs():
            assert clips[pair.a].arguments == clips[pair.b].arguments
    env = gymnasium.make_vec(ENV, num_envs=1, **held_out(run))
    played = play_episodes(list(clips.values()), env)
    for row, clip in enumerate(clips.values()):
        assert tuple(played.actions[played.valid[:, row], row].tolist()) == clip.tokens


def test_sentences_of_another_split_are_not_taken_for_them(run: Path, tmp_path: Path) -> None:
    clips = clips_of(tmp_path / "a.db", run, "--n", "4")
    env = gymnasium.make_vec(ENV, num_envs=1, **held_out(run, split="train"))
    with pytest.raises(DescantError):
        play_episodes(clips, env)
    task = make_task(ENV, **held_out(run, split="train"))
    with pytest.raises(DescantError, match="make the environment with the data and the split"):
        task.reset(np.random.default_rng(0), 1, dict(clips[0].arguments))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--n", "1000"], "sentences out, two clips each: ask for --n"),
        (["--temperature", "0"], "--temperature must be above 0"),
    ],
)
def test_what_cant_be_drawn_is_refused(
    run: Path, tmp_path: Path, more: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prefs", "new", str(tmp_path / "a.db"), str(run), *more]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "a.db").exists()


def test_the_clips_are_exported_whole(run: Path, tmp_path: Path) -> None:
    clips = clips_of(tmp_path / "a.db", run, "--n", "4")
    assert main(["prefs", "export", str(tmp_path / "a.db"), "--out", str(tmp_path / "a.jsonl")]) == 0
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [line["text"] for line in lines if line["type"] == "clip"] == [clip.text for clip in clips]
