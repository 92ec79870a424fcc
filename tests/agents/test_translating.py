"""Agents that translate: what they learn from is what they did, whole sentences at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from descant.agents.bc import BC, cloning_loss, warmed
from descant.control import policy_log_probs
from descant.errors import DescantError
from descant.makers import load_agent, make_agent
from descant.rollouts import Rollout
from descant.text.examples import Examples, examples_of
from descant.text.pairs import load_pairs
from descant.text.vocabularies import EOS, PAD, UNK

from .on_policy_checks import same, weights_of

GRU = {"recurrent": True, "trunk": "gru", "hidden": (8, 16)}
TRANSFORMER = {"recurrent": True, "trunk": "transformer", "hidden": (16, 16)}
DATA = {"size": 40, "max_words": 8}
ROWS = {"reinforce": {}, "rloo": {"group_size": 4}, "grpo": {"group_size": 4}, "actor-critic": {}, "ppo": {}}


def env(n: int = 8, **options: Any) -> Any:
    return gymnasium.make_vec("descant/Translation-v0", num_envs=n, **DATA, **options)


def options_of(name: str) -> dict[str, Any]:
    own: dict[str, Any] = dict(ROWS[name])
    if name in ("reinforce", "actor-critic", "ppo"):
        own["critic_hidden"] = (8, 8)
    return own


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("data")
    for split, name in (("train", "train"), ("val", "valid")):
        pairs = load_pairs(split=split, **DATA)
        examples_of(pairs, pairs.max_words + 1).save(folder / f"{name}.safetensors")
    return {"data": str(folder / "train.safetensors"), "heldout": str(folder / "valid.safetensors")}


@pytest.mark.parametrize("name", list(ROWS))
@pytest.mark.parametrize("form", [GRU, TRANSFORMER], ids=["gru", "transformer"])
def test_agents_learn_and_go_on_exactly(name: str, form: dict[str, Any], tmp_path: Path) -> None:
    options = {**form, **options_of(name), "seed": 3}
    whole = make_agent(name, env(), **options).learn(600)
    half = make_agent(name, env(), **options)
    before = weights_of(half)
    half.learn(600, callback=lambda agent: agent.num_timesteps < 250)
    assert not same(before, weights_of(half))
    assert half.num_timesteps < whole.num_timesteps
    half.save(tmp_path / "half")
    resumed = load_agent(tmp_path / "half", env()).learn(600)
    assert same(weights_of(whole), weights_of(resumed))


@pytest.mark.parametrize("form", [GRU, TRANSFORMER], ids=["gru", "transformer"])
def test_what_is_learned_from_is_what_acted(form: dict[str, Any]) -> None:
    agent = make_agent("rloo", env(), **form, group_size=4)
    seen: list[torch.Tensor] = []
    rollout = agent.collector.episodes(agent.recording_actor(seen), seed=1)
    acted = torch.stack(seen).numpy()[rollout.valid]
    found = policy_log_probs(agent.networks["policy"], rollout)
    allowed = rollout.masks[rollout.valid]
    np.testing.assert_allclose(found[rollout.valid][allowed], acted[allowed], rtol=1e-4, atol=1e-4)
    assert (found[~rollout.valid] == 0).all()


@pytest.mark.parametrize("name", ["ppo", "actor-critic"])
@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
@pytest.mark.parametrize("shared", [True, False])
def test_values_of_rollouts_are_those_of_their_observations(name: str, mode: str, shared: bool) -> None:
    made = env(4, autoreset_mode=mode, max_length=6, force_eos=False)
    agent = make_agent(name, made, **GRU, critic_hidden=(8, 8), shared=shared, n_steps=11)
    agent.roll(agent.collector)
    batch = agent.roll(agent.collector)
    rollout, network = batch.rollout, agent.networks[agent.critic]
    assert len(rollout.cut)

    def value(observation: Any) -> Any:
        one = {k: torch.as_tensor(np.asarray(v))[None] for k, v in observation.items()}
        return float(network(one)["value"][0, 0].detach())

    for t, row in np.argwhere(rollout.valid):
        seen = {key: part[t, row] for key, part in rollout.observations.items()}
        np.testing.assert_allclose(batch.values[t, row], value(seen), atol=1e-5)
    for k, (t, row) in enumerate(rollout.cut):
        np.testing.assert_allclose(batch.following[t, row], value(rollout.cut_observations[k]), atol=1e-5)
    going_on = np.flatnonzero(rollout.valid[-1] & ~rollout.terminated[-1] & ~rollout.truncated[-1])
    assert len(going_on)
    for row in going_on:
        seen = {key: part[row] for key, part in rollout.last_observation.items()}
        np.testing.assert_allclose(batch.following[-1, row], value(seen), atol=1e-5)


@pytest.mark.parametrize("name", ["reinforce", "actor-critic"])
def test_a_critic_reads_no_sentence_that_follows(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = {"collect": "episodes"} if name == "actor-critic" else {}
    agent = make_agent(name, env(6), **GRU, **config, critic_hidden=(8, 8))
    agent.networks["policy"].bias.data[EOS] += 3.0  # some are over before others
    model, read = agent.networks["critic"].model, []
    encode = model.encode
    monkeypatch.setattr(model, "encode", lambda source: (read.append(len(source)), encode(source))[1])
    agent.learn(1)
    assert sum(read) == 2 * 6  # to say what each is worth, and to learn from it


def test_a_critic_of_its_own_translates_too() -> None:
    for name in ("reinforce", "ppo"):
        agent = make_agent(name, env(), **GRU, critic_hidden=(8, 8))
        assert agent.networks["critic"].cached
        with pytest.raises(DescantError, match="two widths"):
            make_agent(name, env(), **GRU, critic_hidden=(8,))


def test_a_pretrained_policy_is_prior_and_first_weights(files: dict[str, str], tmp_path: Path) -> None:
    taught = make_agent("bc", env(1), **files, **GRU, epoch=16, seed=2).learn(300)
    taught.save(tmp_path / "taught")
    run = str(tmp_path / "taught")
    agent = make_agent("rloo", env(), **GRU, group_size=4, init=run, prior=run, kl_coef=0.1)
    records: list[dict[str, float]] = []

    class Tracker:
        def log(self, step: int, record: dict[str, float]) -> None:
            records.append(record)

    agent.learn(200, tracker=Tracker())
    assert abs(records[0]["kl"]) < 1e-4
    assert records[-1]["kl"] > 1e-6
    rollout = agent.collector.episodes(agent.recording_actor([]), seed=1)
    found = agent.control.log_prior(rollout)
    for t in (0, 3):
        seen = {key: part[t] for key, part in rollout.observations.items()}
        own = agent.control.prior.log_probs(seen, None, rollout.masks[t])
        rows = rollout.valid[t]
        np.testing.assert_allclose(found[t][rows], np.where(rollout.masks[t], own, -1e9)[rows], atol=1e-4)
    with pytest.raises(DescantError, match="another network"):
        make_agent("rloo", env(), **TRANSFORMER, group_size=4, init=run)


# Behaviour cloning.


def test_examples_are_the_episodes_of_the_environment(files: dict[str, str]) -> None:
    made = env(3)
    space = made.single_observation_space
    shown = Examples.load(files["data"], space)
    assert shown is not None
    rows = np.array([4, 0, 7])
    taken = shown.take(rows)
    seen, _ = made.reset(options={"pairs": rows})
    for t in range(len(taken.actions)):
        valid = taken.valid[t]
        for key, part in seen.items():
            np.testing.assert_array_equal(part[valid], taken.observations[key][t][valid], err_msg=key)
        assert made.action_masks()[np.arange(3), taken.actions[t]][valid].all()
        seen, *_ = made.step(np.where(valid, taken.actions[t], EOS))
    np.testing.assert_array_equal(taken.valid.sum(axis=0), shown.lengths[rows])
    assert (taken.actions[taken.valid.sum(axis=0) - 1, [0, 1, 2]] == EOS).all()
    np.testing.assert_array_equal(shown.actions[:, 4][: len(taken.actions)], taken.actions[:, 0])
    assert shown.steps == shown.valid.sum() == shown.lengths.sum()


def test_unknown_words_are_gone_on_from_but_not_learned() -> None:
    shown = Examples(np.array([[5, EOS]], np.int32), np.array([[6, UNK, 7, EOS, PAD]], np.int32))
    taken = shown.take(np.array([0]))
    assert taken.valid[:, 0].tolist() == [True, False, True, True]
    assert taken.observations["target"][2, 0].tolist() == [6, UNK, PAD, PAD, PAD]
    assert shown.steps == 3


def test_files_that_do_not_fit_are_refused(files: dict[str, str], tmp_path: Path) -> None:
    longer = gymnasium.make_vec("descant/Translation-v0", num_envs=1, size=40, max_words=9)
    agent = make_agent("bc", longer, **files, **GRU)
    with pytest.raises(DescantError, match="do not fit the environment"):
        agent.learn(10)
    (tmp_path / "none").write_bytes(b"nothing")
    with pytest.raises(DescantError, match="holds no demonstrations"):
        make_agent("bc", env(1), data=str(tmp_path / "none"), **GRU).learn(10)
    with pytest.raises(DescantError, match="holds no translations"):
        make_agent("bc", env(1), data=str(tmp_path / "none"), **GRU, scheduled_sampling=0.5).learn(10)
    pairs = load_pairs(**DATA)
    with pytest.raises(DescantError, match="raise it"):
        examples_of(pairs, 2)
    assert (examples_of(pairs, 6).lengths <= 6).all()


MORE: list[dict[str, Any]] = [
    {},
    {"dropout": 0.3, "label_smoothing": 0.1, "warmup": 5, "lr_schedule": "inverse-sqrt"},
    {"scheduled_sampling": 0.7},
]


@pytest.mark.parametrize("more", MORE)
def test_cloning_learns_and_goes_on_exactly(
    files: dict[str, str], more: dict[str, Any], tmp_path: Path
) -> None:
    options = {**files, **GRU, "epoch": 16, "batch_size": 8, "learning_rate": 0.01, "seed": 1, **more}
    whole = make_agent("bc", env(1), **options)
    first = whole.measure(whole.rows(whole.shown(whole.collector))[1])["heldout_nll"]
    whole.learn(1200)
    assert whole.best_nll < first - 0.3
    half = make_agent("bc", env(1), **options)
    half.learn(1200, callback=lambda agent: agent.num_timesteps < 500)
    half.save(tmp_path / "half")
    assert not half.networks["policy"].training
    resumed = BC.load(tmp_path / "half", env(1)).learn(1200)
    assert same(weights_of(whole), weights_of(resumed))


def test_options_change_what_is_learned(files: dict[str, str]) -> None:
    def learned(**more: Any) -> Any:
        options: dict[str, Any] = {"epoch": 16, "batch_size": 8, **more}
        return weights_of(make_agent("bc", env(1), **files, **GRU, **options).learn(300))

    plain = learned()
    for more in ({"dropout": 0.3}, {"label_smoothing": 0.1}, {"warmup": 5}, {"scheduled_sampling": 1.0}):
        assert not same(plain, learned(**more)), more


def test_the_rate_warms_up_and_falls() -> None:
    assert [warmed(i, 4, False) for i in (0, 1, 3, 9)] == [0.25, 0.5, 1.0, 1.0]
    assert warmed(15, 4, True) == 0.5
    assert warmed(7, 0, False) == 1.0


def test_smoothing_by_hand() -> None:
    logits = torch.tensor([[0.0, 1.0, -1e9, 2.0]])
    log_probs = logits.log_softmax(-1)
    own = -log_probs[0, 1]
    spread = -(log_probs[0, 0] + log_probs[0, 1] + log_probs[0, 3]) / 3
    assert float(cloning_loss(log_probs[:, 1], log_probs, 0.2)) == pytest.approx(
        float(0.8 * own + 0.2 * spread)
    )
    assert float(cloning_loss(log_probs[:, 1])) == pytest.approx(float(own))


def test_scheduled_sampling_writes_on_from_its_own_words(files: dict[str, str]) -> None:
    agent = make_agent("bc", env(1), **files, **GRU, scheduled_sampling=1.0)
    shown = agent.shown(agent.collector)
    rows = np.arange(12)
    batch: Rollout = shown.take(rows)
    targets = shown.targets[rows]
    with torch.no_grad():
        agent.networks["policy"].bias[EOS] = 3.0  # which it would often end with
    written = agent._written(batch, targets, 1.0)
    inside = np.arange(targets.shape[1])[None] < shown.lengths[rows][:, None] - 1
    assert (written[inside] != targets[inside]).mean() > 0.4
    np.testing.assert_array_equal(written[~inside], targets[~inside])
    assert not np.isin(written[inside], [PAD, EOS, UNK]).any()
    np.testing.assert_array_equal(agent._written(batch, targets, 0.0), targets)
    mixed = shown.take(rows, written)
    np.testing.assert_array_equal(mixed.actions, batch.actions)
    t = 2
    np.testing.assert_array_equal(mixed.observations["target"][t][:, :t], written[:, :t])


def test_batches_hold_translations_of_like_length(files: dict[str, str]) -> None:
    agent = make_agent("bc", env(1), **files, **GRU, batch_size=8)
    shown = agent.shown(agent.collector)
    rows = agent.drawn(shown, np.arange(40))
    assert sorted(rows) == list(range(40))
    spans = [np.ptp(shown.lengths[rows[i : i + 8]]) for i in range(0, 40, 8)]
    assert np.mean(spans) < 0.6 * np.ptp(shown.lengths)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"warmup": -1}, "warmup must be"),
        ({"dropout": 1.0}, "below 1"),
        ({"label_smoothing": 1.0}, "below 1"),
        ({"lr_schedule": "inverse-sqrt"}, "pass warmup"),
        ({"lr_schedule": "cosine"}, "must be constant"),
        ({"device": "tpu"}, "cpu or cuda"),
        ({"precision": "bfloat16", "recurrent": False, "trunk": "lstm"}, "networks that translate"),
        ({"dropout": 0.1, "recurrent": False, "trunk": "lstm"}, "for translation"),
    ],
)
def test_bad_options_are_refused(files: dict[str, str], options: dict[str, Any], message: str) -> None:
    with pytest.raises(DescantError, match=message):
        make_agent("bc", env(1), **files, **{**GRU, **options})


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA")
def test_cuda_is_refused_where_there_is_none(files: dict[str, str]) -> None:
    with pytest.raises(DescantError, match="no CUDA on this machine"):
        make_agent("bc", env(1), **files, **GRU, device="cuda")


def test_bfloat16_learns_about_the_same(files: dict[str, str]) -> None:
    def loss(precision: str) -> float:
        options: dict[str, Any] = {
            "epoch": 16,
            "batch_size": 8,
            "learning_rate": 0.01,
            "precision": precision,
        }
        agent: Any = make_agent("bc", env(1), **files, **TRANSFORMER, **options).learn(400)
        assert not agent.networks["policy"].autocast
        return float(agent.best_nll)

    assert loss("bfloat16") == pytest.approx(loss("float32"), abs=0.2)
    assert loss("bfloat16") != loss("float32")
