"""Decoding: what is drawn has the probability that it is scored with, and beams find what there is to find."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from descant.errors import DescantError
from descant.makers import make_agent
from descant.policies.sentences import Shape
from descant.policies.translators import TranslationNetwork
from descant.text import decoding
from descant.text.bleu import sentence_bleu
from descant.text.decoding import Drawing, beam, draw, greedy, least_risk, minimum_bayes_risk
from descant.text.vocabularies import BOS, EOS, PAD, UNK, Vocabulary

LIMIT = 4
WORDS = (4, 5, 6)
SOURCES = np.array([[4, 5, EOS, PAD], [6, EOS, PAD, PAD], [5, 5, 4, EOS]])


def tiny(trunk: str, seed: int = 1) -> TranslationNetwork:
    """Seven ids, of which three are words; far from uniform."""
    torch.manual_seed(seed)
    hidden = (8, 8) if trunk == "gru" else (8, 8, 8)
    network = TranslationNetwork(Shape(7, 7, 4, LIMIT), {"policy": 7}, hidden, trunk)
    for parameter in network.parameters():
        parameter.data.add_(0.4 * torch.randn_like(parameter))
    return network


def everything() -> list[list[int]]:
    """All translations that fit, EOS left out."""
    lengths = range(1, LIMIT)
    return [list(words) for n in lengths for words in itertools.product(WORDS, repeat=n)]


def log_prob(network: TranslationNetwork, source: Any, tokens: list[int]) -> float:
    """By whole sentences, of a translation with its EOS, the last being sure where the limit asks for it."""
    inputs = torch.tensor([[BOS, *tokens]])
    with torch.no_grad():
        memory = network.model.encode(torch.as_tensor(source)[None])
        features = network.model.decode(memory, inputs)[0][0]
        found = network.headed(features, torch.arange(len(features)))["policy"].log_softmax(-1)
    path = [*tokens, EOS] if len(tokens) < LIMIT - 1 else tokens
    return float(sum(found[t, word] for t, word in enumerate(path)))


trunks = pytest.mark.parametrize("trunk", ["gru", "transformer"])


@trunks
@pytest.mark.parametrize("penalty", [0.0, 0.6, 1.0, 2.0])
def test_a_beam_of_full_width_is_exhaustive_search(trunk: str, penalty: float) -> None:
    answers = set()
    for seed in range(4):
        network = tiny(trunk, seed)
        found = beam(network, SOURCES, LIMIT, 60, penalty)
        for source, tokens, score in zip(SOURCES, found.tokens, found.scores, strict=True):
            scores = {tuple(t): log_prob(network, source, t) / (len(t) + 1) ** penalty for t in everything()}
            best = max(scores, key=lambda t: scores[t])
            assert tuple(tokens) == best
            assert score == pytest.approx(scores[best], abs=1e-4)
            answers.add(best)
    assert len(answers) > 2


def slow_beam(network: TranslationNetwork, source: Any, width: int, penalty: float) -> list[int]:
    """By the definition: a hypothesis that ends keeps its place."""
    beams: list[list[int]] = [[]]
    ended: list[list[int]] = []
    while beams:
        longer = [(prefix, word) for prefix in beams for word in (EOS, *WORDS) if prefix or word != EOS]
        if len(beams[0]) == LIMIT - 1:
            longer = [(prefix, EOS) for prefix in beams]
        scores = [_path(network, source, [*prefix, word]) for prefix, word in longer]
        order = np.argsort(scores)[::-1][: width - len(ended)]
        ended += [longer[i][0] for i in order if longer[i][1] == EOS]
        beams = [[*longer[i][0], longer[i][1]] for i in order if longer[i][1] != EOS]
    return max(ended, key=lambda t: log_prob(network, source, t) / (len(t) + 1) ** penalty)


def _path(network: TranslationNetwork, source: Any, tokens: list[int]) -> float:
    """Log-probability of a path, an EOS that the limit asks for being sure."""
    if tokens[-1] == EOS:
        return log_prob(network, source, tokens[:-1])
    with torch.no_grad():
        inputs = torch.tensor([[BOS, *tokens[:-1]]])
        features = network.model.decode(network.model.encode(torch.as_tensor(source)[None]), inputs)[0][0]
        found = network.headed(features, torch.arange(len(features)))["policy"].log_softmax(-1)
    return float(sum(found[t, word] for t, word in enumerate(tokens)))


@trunks
def test_a_narrow_beam_finds_what_its_definition_does(trunk: str) -> None:
    for seed in range(8):
        network = tiny(trunk, seed)
        for width, penalty in (
            (2, 0.0),
            (2, 2.0),
            (3, 2.0),
        ):  # those that end early win, and those that end late
            found = beam(network, SOURCES, LIMIT, width, penalty).tokens
            assert found == [slow_beam(network, source, width, penalty) for source in SOURCES]


@trunks
@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_a_beam_of_one_is_greedy(trunk: str, penalty: float) -> None:
    for seed in range(4):
        network = tiny(trunk, seed)
        one, likeliest = beam(network, SOURCES, LIMIT, 1, penalty), greedy(network, SOURCES, LIMIT)
        assert one.tokens == likeliest.tokens
        lengths = np.array([len(tokens) + 1 for tokens in one.tokens])
        np.testing.assert_allclose(one.scores * lengths**penalty, likeliest.scores, atol=1e-5)


@trunks
def test_wider_beams_score_higher_and_every_score_is_the_networks(trunk: str) -> None:
    network = tiny(trunk, 2)
    before = np.full(3, -np.inf)
    for width in (1, 2, 4, 60):
        found = beam(network, SOURCES, LIMIT, width, 0.0)
        for source, tokens, score in zip(SOURCES, found.tokens, found.scores, strict=True):
            assert score == pytest.approx(log_prob(network, source, tokens), abs=1e-4)
        before = found.scores
    assert (before >= beam(network, SOURCES, LIMIT, 1, 0.0).scores - 1e-5).all()


@trunks
@pytest.mark.parametrize(
    "drawing", [Drawing(), Drawing(0.5), Drawing(2.0, top_k=2), Drawing(1.0, top_p=0.7)], ids=str
)
def test_what_is_drawn_comes_as_often_as_its_score_says(trunk: str, drawing: Drawing) -> None:
    network, n = tiny(trunk), 6000
    found = draw(network, np.repeat(SOURCES[:1], n, 0), LIMIT, drawing, torch.Generator().manual_seed(0))
    chances = {tuple(t): float(np.exp(s)) for t, s in zip(found.tokens, found.scores, strict=True)}
    counts = Counter(map(tuple, found.tokens))
    assert sum(chances.values()) <= 1 + 1e-4
    assert sum(chances.values()) > 0.9
    for tokens, chance in chances.items():
        assert abs(counts[tokens] / n - chance) < 4.5 * (chance / n) ** 0.5 + 1e-4, tokens
    if drawing == Drawing():
        for tokens, chance in itertools.islice(chances.items(), 8):
            assert np.log(chance) == pytest.approx(log_prob(network, SOURCES[0], list(tokens)), abs=1e-4)


def test_drawing_by_hand() -> None:
    log_probs = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]]))
    assert Drawing(top_k=2)(log_probs).exp()[0].tolist() == pytest.approx([0.625, 0.375, 0, 0], abs=1e-6)
    assert Drawing(top_p=0.6)(log_probs).exp()[0].tolist() == pytest.approx([0.625, 0.375, 0, 0], abs=1e-6)
    assert Drawing(top_p=0.49)(log_probs).exp()[0].tolist() == pytest.approx([1, 0, 0, 0], abs=1e-6)
    assert Drawing(top_p=0.01)(log_probs).exp()[0].tolist() == pytest.approx([1, 0, 0, 0], abs=1e-6)
    squares = np.array([0.25, 0.09, 0.0225, 0.0025])
    assert Drawing(0.5)(log_probs).exp()[0].tolist() == pytest.approx(list(squares / squares.sum()), abs=1e-5)
    for wrong in ({"temperature": -1.0}, {"top_k": -1}, {"top_p": 0.0}, {"top_p": 1.1}):
        with pytest.raises(DescantError, match="must be"):
            Drawing(**wrong)


def test_nothing_forbidden_is_written_and_the_last_token_is_eos() -> None:
    for trunk in ("gru", "transformer"):
        network = tiny(trunk)
        found = draw(
            network, np.repeat(SOURCES, 100, 0), LIMIT, Drawing(5.0), torch.Generator().manual_seed(0)
        )
        assert {word for tokens in found.tokens for word in tokens} <= set(WORDS)
        lengths = {len(tokens) for tokens in found.tokens}
        assert lengths == {1, 2, 3}


@trunks
def test_batches_and_what_ends_early_change_nothing(trunk: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network, sources = tiny(trunk), np.repeat(SOURCES, 5, 0)[np.random.default_rng(0).permutation(15)]
    whole = [greedy(network, sources, LIMIT), beam(network, sources, LIMIT, 3)]
    for name, value in (("BATCH", 4), ("ROWS", 6), ("SHRINK", 0.0)):
        monkeypatch.setattr(decoding, name, value)
        parts = [greedy(network, sources, LIMIT), beam(network, sources, LIMIT, 3)]
        for one, two in zip(whole, parts, strict=True):
            assert one.tokens == two.tokens
            np.testing.assert_allclose(one.scores, two.scores, atol=1e-5)


@trunks
def test_it_writes_what_the_agent_plays(trunk: str) -> None:
    env = gymnasium.make_vec("descant/Translation-v0", num_envs=6, size=30, max_words=8)
    hidden = (8, 16) if trunk == "gru" else (16, 16)
    agent: Any = make_agent("rloo", env, recurrent=True, trunk=trunk, hidden=hidden, group_size=2)
    seen, _ = env.reset(options={"pairs": np.arange(6)})
    found = greedy(agent.networks["policy"], seen["source"], 9)
    state, written = None, [[] for _ in range(6)]
    starts, done = np.ones(6, bool), np.zeros(6, bool)
    while not done.all():
        actions, state = agent.predict(seen, state, starts, True, env.action_masks())
        for row in np.flatnonzero(~done):
            written[row].append(int(actions[row]))
        seen, _, ended, cut, _ = env.step(actions)
        done |= ended | cut
        starts = np.zeros(6, bool)
    assert [[*tokens, EOS] for tokens in found.tokens] == written


def test_least_risk_is_the_one_nearest_to_all() -> None:
    candidates = [[4, 5, 6, 7], [4, 5, 6, 8], [4, 5, 6, 8], [9, 10], [4, 5, 6, 7, 11]]
    best, score = least_risk(candidates)
    means = [np.mean([sentence_bleu([c], [[r]])[0] for r in candidates]) for c in candidates]
    assert best == candidates[int(np.argmax(means))]
    assert score == pytest.approx(max(means))
    network = tiny("gru")
    found = minimum_bayes_risk(network, SOURCES, LIMIT, 16, torch.Generator().manual_seed(0))
    assert len(found.tokens) == 3
    again = draw(network, np.repeat(SOURCES, 16, 0), LIMIT, None, torch.Generator().manual_seed(0))
    assert found.tokens[1] == least_risk(again.tokens[16:32])[0]


def test_bad_numbers_are_refused() -> None:
    network = tiny("gru")
    for call in (
        lambda: beam(network, SOURCES, LIMIT, 0),
        lambda: beam(network, SOURCES, LIMIT, 2, -1.0),
        lambda: minimum_bayes_risk(network, SOURCES, LIMIT, 0),
    ):
        with pytest.raises(DescantError):
            call()


def test_sources_are_encoded_with_what_is_wrong() -> None:
    codec = Vocabulary(["a", "b"])
    found, faults = decoding.encode_sources(codec, ["a b", "", "c d", "a c", "a a a a"], 4)
    assert found[0].tolist() == [4, 5, EOS, PAD]
    assert found[3].tolist() == [4, UNK, EOS, PAD]
    assert [bool(fault) for fault in faults] == [False, True, True, False, True]
    assert "4 tokens" in faults[4]
    assert "no word" in faults[2]
