"""Speed of networks that translate: what is timed is what it says, and what is missing is said."""

from __future__ import annotations

from pathlib import Path

import pytest

import descant.benchmarks.translation_speed as speed
from descant.text.vocabularies import EOS, PAD


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WORDS": 30, "SENTENCES": 8, "BATCH": 4, "ROUNDS": 1}.items():
        monkeypatch.setattr(speed, name, value)
    monkeypatch.setattr(speed, "HIDDEN", {"transformer": (8, 8), "gru": (8, 8)})


def test_all_sentences_are_learned_and_written(tmp_path: Path) -> None:
    data = speed.sentences()
    assert ((data.sources == EOS).sum(axis=1) == 1).all()
    assert ((data.targets != PAD).sum(axis=1) >= 7).all()
    agent = speed.learner("gru", data, tmp_path)
    before = agent.networks["policy"].model.target.weight.detach().clone()
    assert speed.teach(agent, data) == data.lengths.sum()
    assert agent.updates == 2
    assert (agent.networks["policy"].model.target.weight != before).any()
    assert speed.write(agent, data) == 4 * 30


def test_rows_are_tokens_a_second_and_ratios() -> None:
    speeds = {"transformer": [300.0, 900.0], "gru": [200.0, 500.0], "marian": [100.0, 600.0]}
    found = {row.name: row for row in speed.rows(speeds)}
    assert found["translation, gru, written"].value == 500
    trained = found["translation, transformer / Marian, trained"]
    written = found["translation, transformer / Marian, written"]
    assert (trained.value, trained.bar, trained.met) == (3.0, 1.0, True)
    assert (written.value, written.bar, written.met) == (1.5, 2.0, False)
    del speeds["marian"]
    missing = speed.rows(speeds)[-2:]
    assert all(row.value is None and row.met and "not installed" in row.detail for row in missing)


def test_everything_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "find_spec", lambda name: None)
    monkeypatch.setattr(speed, "rate", lambda work: float(work()))
    values = {row.name: row.value for row in speed.measure()}
    assert values["translation, gru, written"] == 120
    assert values["translation, gru, trained"] == speed.sentences().lengths.sum()
