"""Corpora: read, cached, cut into windows and split by tune."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import descant.music.corpora
from descant.errors import DescantError
from descant.music.corpora import Corpus, corpus_files, read_corpus
from descant.music.corpus_cache import load_corpus
from descant.music.melodies import HOLD, notes_of
from descant.music.windows import TEST, TRAIN, VALID, cut, observations, tune_splits

NOTES = "CDEFGAB"


def abc(number: int, body: str, key: str = "C") -> str:
    return f"X:{number}\nT:Tune {number}\nM:4/4\nL:1/8\nK:{key}\n{body}\n"


def random_tunes(folder: Path, count: int = 60, seed: int = 0) -> Path:
    """Files of tunes of six bars each."""
    rng = np.random.default_rng(seed)
    folder.mkdir(exist_ok=True)
    for file in range(3):
        bars = ["|".join("".join(rng.choice(list(NOTES), 8)) for _ in range(6)) for _ in range(count // 3)]
        text = "\n".join(abc(i, body) for i, body in enumerate(bars, start=1))
        (folder / f"{file}.abc").write_text(text)
    return folder


def same(one: Corpus, two: Corpus) -> bool:
    arrays = ("offsets", "actions", "sounding", "on_grid", "bars")
    plain = (one.titles, one.skipped, one.reports) == (two.titles, two.skipped, two.reports)
    return plain and all(np.array_equal(getattr(one, name), getattr(two, name)) for name in arrays)


def test_a_folder_is_read_bad_files_reported_duplicates_kept_once(tmp_path: Path) -> None:
    folder = random_tunes(tmp_path / "a")
    (folder / "bad.mid").write_bytes(b"no")
    (folder / "more.abc").write_text(abc(1, "[CE]8") + abc(2, "CDEF GABc|c8") + abc(3, "GABc defg|g8", "F"))
    (folder / "again.abc").write_text(abc(1, "DEFG ABcd|d8", "D"))  # the same in D, read before more.abc
    (folder / "readme.txt").write_text("not a tune")
    corpus = read_corpus(corpus_files(str(folder)), workers=1)
    assert len(corpus) == 60 + 2
    assert corpus.skipped == {"unreadable": 1, "polyphonic": 1, "duplicate": 1}
    assert any("bad.mid" in report for report in corpus.reports)
    assert any("more.abc" in report and "chords" in report for report in corpus.reports)


def test_processes_read_what_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = corpus_files(str(random_tunes(tmp_path / "a")))
    alone = read_corpus(files, workers=1)
    monkeypatch.setattr(descant.music.corpora, "SMALL", 0)
    monkeypatch.setattr(descant.music.corpora, "BATCH_BYTES", 1)
    assert same(alone, read_corpus(files, workers=2))


def test_the_cache_gives_back_what_was_read_until_a_file_changes(tmp_path: Path) -> None:
    folder, reads = random_tunes(tmp_path / "a"), []

    def read(*arguments: Any) -> Corpus:
        reads.append(1)
        return read_corpus(*arguments)

    first = load_corpus(str(folder), tmp_path / "cache", read=read)
    assert same(first, load_corpus(str(folder), tmp_path / "cache", read=read))
    assert len(reads) == 1
    (kept,) = (tmp_path / "cache/corpora").iterdir()
    kept.write_bytes(kept.read_bytes()[:100])  # damaged: read again
    assert same(first, load_corpus(str(folder), tmp_path / "cache", read=read))
    assert len(reads) == 2
    (folder / "0.abc").write_text(abc(1, "CDEF GABc|c8"))
    assert len(load_corpus(str(folder), tmp_path / "cache", read=read)) == 41


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("esen", "Did you mean 'essen'"),
        ("essen,oneil", "Did you mean 'oneills'"),
        ("", "no corpus"),
        (",", "no corpus"),
    ],
)
def test_an_unknown_name_is_refused(spec: str, message: str) -> None:
    with pytest.raises(DescantError, match=message):
        corpus_files(spec)


def test_without_music21_the_command_that_installs_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DescantError, match=r"pip install 'descant\[corpora\]'"):
        corpus_files("essen")


def test_folders_without_tunes_and_corpora_without_a_usable_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DescantError, match="has no tune files"):
        corpus_files(str(tmp_path))
    (tmp_path / "a.abc").write_text(abc(1, "[CE]8"))
    with pytest.raises(DescantError, match=r"No tune .* The first: a.abc: 'Tune 1' has chords"):
        read_corpus(corpus_files(str(tmp_path / "a.abc")))


def test_a_collection_of_music21(music21: Any) -> None:
    """A file of its songs, all usable, in the key they were brought to."""
    path = Path(music21.__path__[0]) / "corpus/essenFolksong/han2.abc"
    corpus = read_corpus([path])
    assert corpus.skipped.keys() <= {"duplicate"}
    assert len(corpus) > 500
    notes = corpus.actions[corpus.actions >= 2]
    assert np.isin((notes - 2) % 12, (0, 2, 4, 5, 7, 9, 11)).mean() > 0.98


# Windows.


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return read_corpus(corpus_files(str(random_tunes(tmp_path_factory.mktemp("corpus") / "a"))), workers=1)


def test_windows_begin_with_bars_and_lie_within_their_tune(corpus: Corpus) -> None:
    windows = cut(corpus, 32, share=0.2)
    assert len(windows.actions) == 60 * 5  # six bars of 16 steps, windows of two
    for actions, tune in zip(windows.actions, windows.tunes, strict=True):
        whole = corpus.tune(int(tune))
        assert any(np.array_equal(actions, whole[i : i + 32]) for i in range(0, 96, 16))
    assert len(cut(corpus, 32, stride=2, share=0.2).actions) == 60 * 3


def test_all_windows_of_a_tune_are_of_one_split_drawn_from_its_content(
    corpus: Corpus, tmp_path: Path
) -> None:
    splits = tune_splits(corpus, share=0.2)
    windows = cut(corpus, share=0.2)
    np.testing.assert_array_equal(windows.splits, splits[windows.tunes])
    assert {int(s) for s in splits} == {TRAIN, VALID, TEST}
    files = corpus_files(str(random_tunes(tmp_path / "a")))
    turned = read_corpus(files[::-1], workers=1)
    by_content = {corpus.tune(i).tobytes(): splits[i] for i in range(len(corpus))}
    turned_splits = tune_splits(turned, share=0.2)
    assert all(by_content[turned.tune(i).tobytes()] == turned_splits[i] for i in range(len(turned)))
    assert not np.array_equal(tune_splits(corpus, 1, 0.2), splits)


def test_nothing_that_is_measured_on_was_seen_in_training(tmp_path: Path) -> None:
    """Tunes that share phrases, and each of them once more under another name and in another key."""
    rng = np.random.default_rng(3)
    phrases = ["".join(rng.choice(list(NOTES), 8)) for _ in range(12)]
    bodies = ["|".join(rng.choice(phrases, 6)) for _ in range(60)]
    texts = [abc(i, body) for i, body in enumerate(bodies, start=1)]
    up = str.maketrans(NOTES, "DEFGABc")  # in D the same melody, a tone higher
    texts += [abc(i, body.translate(up), "D") for i, body in enumerate(bodies, start=61)]
    (tmp_path / "a.abc").write_text("".join(texts))
    corpus = read_corpus([tmp_path / "a.abc"], workers=1)
    assert corpus.skipped == {"duplicate": 60}
    for seed in range(5):
        windows = cut(corpus, 32, seed=seed, share=0.2)
        seen = {row.tobytes() for row in windows.of(TRAIN)}
        assert len(seen) < sum(map(len, map(windows.of, (TRAIN, VALID, TEST))))
        assert not seen & {row.tobytes() for split in (VALID, TEST) for row in windows.of(split)}
        assert not {row.tobytes() for row in windows.of(VALID)} & {row.tobytes() for row in windows.of(TEST)}
        sides = [set(windows.tunes[windows.splits == split].tolist()) for split in (TRAIN, VALID, TEST)]
        assert all(not sides[a] & sides[b] for a, b in ((0, 1), (0, 2), (1, 2)))


def test_shares_are_those_asked_for(corpus: Corpus) -> None:
    many = [tune_splits(corpus, seed, 0.2) for seed in range(50)]
    counts = np.bincount(np.concatenate(many)) / (50 * len(corpus))
    np.testing.assert_allclose(counts, [0.6, 0.2, 0.2], atol=0.03)


def corpus_of(tmp_path: Path, *bodies: str) -> Corpus:
    (tmp_path / "a.abc").write_text("".join(abc(i, body) for i, body in enumerate(bodies, start=1)))
    return read_corpus([tmp_path / "a.abc"])


def cut_all(corpus: Corpus, steps: int) -> Any:
    """Windows whatever their split."""
    import descant.music.windows as windows

    starts, tunes = windows._starts(corpus, steps, 1)
    return starts, tunes


def test_equal_windows_are_kept_once_in_train_if_anywhere(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    common = "CDEF GABc|cBAG FEDC|"
    bodies = [common + "|".join("".join(rng.choice(list(NOTES), 8)) for _ in range(3)) for _ in range(40)]
    corpus = corpus_of(tmp_path, *bodies)
    seed = next(seed for seed in range(99) if tune_splits(corpus, seed, 0.2)[0] != TRAIN)
    windows = cut(corpus, 32, seed=seed, share=0.2)
    first = corpus.tune(0)[:32]
    found = (windows.actions == first).all(axis=1)
    assert found.sum() == 1
    assert windows.splits[found] == TRAIN
    assert len(np.unique(windows.actions, axis=0)) == len(windows.actions)


def test_a_note_that_goes_on_begins_its_window_and_off_grid_windows_are_left_out(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    rest = ["|".join("".join(rng.choice(list(NOTES), 8)) for _ in range(2)) for _ in range(40)]
    corpus = corpus_of(tmp_path, "C8-|C4D4|(3EFG A6|B8|", *rest)
    starts, tunes = cut_all(corpus, 16)
    own = starts[tunes == 0]
    assert own.tolist() == [0, 16, 48]
    windows = cut(corpus, 16, share=0.2)
    held = windows.actions[(windows.tunes == 0)]
    assert any([n.midi for n in notes_of(w)] == [60, 62] and w[0] != HOLD for w in held)


def test_too_small_a_corpus_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DescantError, match="no window of 32 steps for"):
        cut(corpus_of(tmp_path, "CDEF GABc|cBAG FEDC|"))
    with pytest.raises(DescantError, match="1 or more"):
        cut(corpus_of(tmp_path, "CDEF GABc|cBAG FEDC|"), stride=0)


def test_observations_are_the_last_action_and_the_step() -> None:
    seen = observations(np.array([[5, 1, 0], [7, 8, 9]], np.int8))
    assert seen.shape == (3, 2, 2)
    assert seen[:, 0].tolist() == [[0, 0], [6, 1], [2, 2]]
    assert seen[:, 1].tolist() == [[0, 0], [8, 1], [9, 2]]
