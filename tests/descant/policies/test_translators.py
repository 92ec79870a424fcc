"""Networks that translate: asked step by step, for whole sentences, or of one observation, they say the same."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from descant.errors import DescantError
from descant.policies import translators
from descant.policies.categorical import MASKED, masked_log_softmax, sample
from descant.policies.encoders import flatten_time, to_tensor
from descant.policies.gru_translators import backwards
from descant.policies.making import critic_trunk, make_network
from descant.policies.networks import Network
from descant.policies.sentences import sentence_shape, sentences_of
from descant.policies.translators import TranslationNetwork
from descant.rollouts import Collector, Rollout
from descant.text.vocabularies import BOS, EOS, PAD, UNK

FORMS = [("gru", (8, 16)), ("transformer", (16, 16, 16))]
forms = pytest.mark.parametrize(("trunk", "hidden"), FORMS)


def envs(n: int = 5, mode: str = "NextStep", **options: Any) -> Any:
    return gymnasium.make_vec(
        "descant/Translation-v0", num_envs=n, size=40, max_words=9, autoreset_mode=mode, **options
    )


def network(env: Any, trunk: str, hidden: tuple[int, ...], dropout: float = 0.0) -> TranslationNetwork:
    torch.manual_seed(0)
    heads = {"policy": int(env.single_action_space.n), "value": 1}
    made = make_network(env.single_observation_space, heads, hidden, True, trunk, dropout=dropout)
    assert isinstance(made, TranslationNetwork)
    for parameter in made.parameters():  # far from where rounding hides what is wrong
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    return made


def acted(
    made: TranslationNetwork, env: Any, steps: int, seed: int = 3, begun: int = 0
) -> tuple[Rollout, dict[str, torch.Tensor]]:
    """A rollout of `steps` steps after `begun` others, and the heads float[T, N, ...] while acting."""
    generator = torch.Generator().manual_seed(seed)
    collector, state, seen = Collector(env), None, []
    collector.reset(seed=seed)

    def act(observation: Any, masks: Any, starts: Any) -> Any:
        nonlocal state
        with torch.inference_mode():
            heads, state = made.step(to_tensor(observation), torch.as_tensor(starts), state)
            seen.append({kind: head.clone() for kind, head in heads.items()})
            return sample(masked_log_softmax(heads["policy"], torch.as_tensor(masks)), generator).numpy()

    for count in (begun, steps):
        if count:
            seen.clear()
            state = None
            rollout = collector.steps(count, act)
    return rollout, {kind: torch.stack([heads[kind] for heads in seen]) for kind in seen[0]}


@forms
@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_steps_and_whole_sentences_agree(trunk: str, hidden: tuple[int, ...], mode: str) -> None:
    env = envs(mode=mode)
    made = network(env, trunk, hidden)
    rollout, stepped = acted(made, env, 25, begun=4)  # which begins and ends within sentences
    assert rollout.starts[1:].any()
    assert not rollout.starts[0].all()
    seen = to_tensor(rollout.observations)
    with torch.no_grad():
        whole = made.outputs(seen, torch.as_tensor(rollout.starts))
        alone = made(flatten_time(seen))
    for kind, head in stepped.items():
        torch.testing.assert_close(whole[kind], head, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(alone[kind].view(head.shape), head, rtol=1e-4, atol=1e-4)
    assert stepped["value"].std() > 0.05


@forms
def test_only_valid_steps_are_worked_out(trunk: str, hidden: tuple[int, ...]) -> None:
    env = envs()
    made = network(env, trunk, hidden)
    rollout, stepped = acted(made, env, 25)
    valid = torch.as_tensor(rollout.valid)
    assert not valid.all()
    found = made.valid_outputs(to_tensor(rollout.observations), torch.as_tensor(rollout.starts), valid)
    torch.testing.assert_close(found["policy"], stepped["policy"][valid], rtol=1e-4, atol=1e-4)


@forms
def test_how_many_sentences_are_read_at_once_changes_nothing(
    trunk: str, hidden: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    env = envs(7)
    made = network(env, trunk, hidden)
    made.bias.data[EOS] += 3.0  # type: ignore[union-attr]
    rollout, _ = acted(made, env, 25)
    told = (to_tensor(rollout.observations), torch.as_tensor(rollout.starts), torch.as_tensor(rollout.valid))
    lengths = rollout.observations["position"][rollout.terminated & rollout.valid]
    assert len(set(lengths.tolist())) > 2
    found = []
    for together in (1, 3, 1000):
        monkeypatch.setattr(translators, "TOGETHER", together)
        found.append(made.valid_outputs(*told))
    for other in found[1:]:
        for kind, head in found[0].items():
            torch.testing.assert_close(other[kind], head, rtol=1e-4, atol=1e-4)
    nothing = made.valid_outputs(*told[:2], torch.zeros_like(told[2]))
    assert {kind: tuple(head.shape) for kind, head in nothing.items()} == {
        kind: (0, head.shape[1]) for kind, head in found[0].items()
    }


@forms
def test_a_source_that_many_rows_show_is_read_once(
    trunk: str, hidden: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    env = envs(8)
    made = network(env, trunk, hidden)
    encode, read, generator = made.model.encode, [], torch.Generator().manual_seed(1)

    def counted(source: torch.Tensor) -> Any:
        read.append(len(source))
        return encode(source)

    def learned() -> tuple[list[torch.Tensor], Rollout]:
        """What is said of a rollout while acting, of it whole, and the gradient of the latter."""
        read.clear()
        generator.manual_seed(1)
        acted: list[torch.Tensor] = []
        state: Any = None

        def act(observation: Any, masks: Any, starts: Any) -> Any:
            nonlocal state
            with torch.inference_mode():
                heads, state = made.step(to_tensor(observation), torch.as_tensor(starts), state)
                acted.append(heads["policy"].clone())
                log_probs = masked_log_softmax(heads["policy"], torch.as_tensor(masks))
                return sample(log_probs, generator).numpy()

        rollout = Collector(env).episodes(act, seed=4, options={"group_size": 4})
        seen, valid = to_tensor(rollout.observations), torch.as_tensor(rollout.valid)
        whole = made.valid_outputs(seen, torch.as_tensor(rollout.starts), valid)
        made.zero_grad()
        (whole["policy"].log_softmax(-1)[:, 5].sum() + whole["value"].square().sum()).backward()
        gradients = [parameter.grad.clone() for parameter in made.parameters() if parameter.grad is not None]
        return [torch.stack(acted)[valid], whole["policy"], whole["value"], *gradients], rollout

    monkeypatch.setattr(made.model, "encode", counted)
    once, rollout = learned()
    assert len(np.unique(rollout.observations["source"][0], axis=0)) == 2
    assert read == [2, 2]  # acting, then whole
    monkeypatch.setattr(translators, "TOGETHER", 3)  # also where a group is cut
    again, _ = learned()
    assert read == [2, 2]
    monkeypatch.setattr(translators, "EQUAL", 5)
    often, _ = learned()
    assert read == [8, 3, 3, 2]
    for found in (once, again):
        for one, two in zip(found, often, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)
    monkeypatch.setattr(translators, "EQUAL", 4)
    made.train()  # dropout is another for each row
    learned()
    assert read == [8, 3, 3, 2]


@forms
def test_a_state_that_does_not_belong_to_what_is_seen_does_no_harm(
    trunk: str, hidden: tuple[int, ...]
) -> None:
    env = envs()
    made = network(env, trunk, hidden)
    rollout, _ = acted(made, env, 6)
    seen = [
        {k: torch.as_tensor(v[t]) for k, v in rollout.observations.items()} for t in range(len(rollout.valid))
    ]
    starts = torch.zeros(5, dtype=torch.bool)
    with torch.inference_mode():
        expected = made(seen[4])["policy"]
        for wrong in (None, 0, 2, 5):  # nothing, the start, some steps before, the step after
            state = None if wrong is None else made.step(seen[wrong], starts, None)[1]
            torch.testing.assert_close(
                made.step(seen[4], starts, state)[0]["policy"], expected, rtol=1e-4, atol=1e-4
            )
        _, state = made.step(seen[3], starts, None)
        other = {k: v.flip(0) for k, v in seen[4].items()}  # rows change places
        torch.testing.assert_close(
            made.step(other, starts, state)[0]["policy"], expected.flip(0), rtol=1e-4, atol=1e-4
        )
        _, state = made.step(seen[3], starts, None)
        other = {k: v.clone() for k, v in seen[4].items()}  # another source, the same words written
        other["source"][:, 0] = 9
        torch.testing.assert_close(
            made.step(other, starts, state)[0]["policy"], made(other)["policy"], rtol=1e-4, atol=1e-4
        )
        # The same length and source, but another word in the middle.
        _, state = made.step(seen[3], starts, None)
        changed = {k: v.clone() for k, v in seen[4].items()}
        changed["target"][:, 1] = 9
        torch.testing.assert_close(
            made.step(changed, starts, state)[0]["policy"], made(changed)["policy"], rtol=1e-4, atol=1e-4
        )


@forms
def test_rows_that_are_over_are_left_behind(
    trunk: str, hidden: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    env = envs(12)
    made = network(env, trunk, hidden)
    rows, encoded, seen, generator, state = [], [], [], torch.Generator().manual_seed(1), None
    once, encode = made.model.step, made.model.encode
    with torch.no_grad():
        made.bias[EOS] = 4.0  # type: ignore[index]

    def counted(memory: Any, past: Any, token: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
        rows.append(len(token))
        return once(memory, past, token, place)  # type: ignore[no-any-return]

    def read(source: torch.Tensor) -> Any:
        encoded.append(len(source))
        return encode(source)

    def act(observation: Any, masks: Any, starts: Any) -> Any:
        nonlocal state
        with torch.inference_mode():
            heads, state = made.step(to_tensor(observation), torch.as_tensor(starts), state)
            seen.append({kind: head.clone() for kind, head in heads.items()})
            return sample(masked_log_softmax(heads["policy"], torch.as_tensor(masks)), generator).numpy()

    monkeypatch.setattr(made.model, "step", counted)
    monkeypatch.setattr(made.model, "encode", read)
    rollout = Collector(env).episodes(act, seed=2)
    monkeypatch.undo()
    valid = torch.as_tensor(rollout.valid)
    going = valid.sum(dim=1).tolist()
    assert len(set(going)) > 3
    assert encoded == [12]  # the sentences that follow are not read
    last = [12, 12, *going[:-2]]  # who is over is known one step later, and believed after two
    assert all(now <= max(past, going[0] * 0.25) / 0.75 for now, past in zip(rows, last, strict=True))
    assert rows[-1] < 9
    with torch.no_grad():
        whole = made.outputs(to_tensor(rollout.observations), torch.as_tensor(rollout.starts))
    for kind in whole:
        found = torch.stack([heads[kind] for heads in seen])
        torch.testing.assert_close(whole[kind][valid], found[valid], rtol=1e-4, atol=1e-4)
    # What was kept of some rows does no harm to others, nor to more of them.
    assert state is not None
    assert len(state.rows) < state.size == 12
    some, starts = {k: torch.as_tensor(v[1]) for k, v in rollout.observations.items()}, torch.zeros(12).bool()
    with torch.inference_mode():
        again = made.step(some, starts, state)[0]["policy"]
        torch.testing.assert_close(again, made(some)["policy"], rtol=1e-4, atol=1e-4)


@forms
def test_copies_of_what_was_read_go_on_as_if_they_had_read_it(trunk: str, hidden: tuple[int, ...]) -> None:
    env = envs(4)
    made = network(env, trunk, hidden)
    rollout, _ = acted(made, env, 6)
    whole = {key: torch.as_tensor(part[5]) for key, part in rollout.observations.items()}
    whole["position"], rows = torch.tensor([5, 5, 4, 2]), torch.tensor([1, 0, 3, 1, 2, 1, 1])
    whole["target"] = torch.randint(4, 12, whole["target"].shape)
    lengths = torch.tensor([5, 2, 2, 0, 4, 3, 5])
    shown = {
        "source": whole["source"][rows],
        "target": whole["target"][rows].clone(),
        "position": lengths.clone(),
    }
    with torch.inference_mode():
        state: Any = made.branched(whole, rows, lengths)
        catching_up = 0 if trunk == "transformer" else len(rows)
        assert int((state.consumed != lengths + 1).sum()) == catching_up
        for _ in range(3):
            each = torch.arange(len(rows))
            shown["target"][each, shown["position"]] = torch.randint(4, 12, (len(rows),))
            shown["position"] = shown["position"] + 1
            for row, length in enumerate(shown["position"].tolist()):
                shown["target"][row, length:] = PAD
            heads, state = made.step(shown, torch.zeros(len(rows), dtype=torch.bool), state)
            fresh, _ = made.step(shown, torch.zeros(len(rows), dtype=torch.bool), None)
            for kind, head in heads.items():
                torch.testing.assert_close(head, fresh[kind], atol=1e-5, rtol=1e-4)


@forms
def test_words_that_come_later_and_padding_change_nothing(trunk: str, hidden: tuple[int, ...]) -> None:
    env = envs()
    made = network(env, trunk, hidden)
    source = torch.tensor([[5, 6, 7, EOS, PAD, PAD], [5, 6, EOS, PAD, PAD, PAD]])
    inputs = torch.tensor([[BOS, 4, 5, 6], [BOS, 4, 5, 6]])
    with torch.no_grad():
        one = made.model.decode(made.model.encode(source), inputs)[0]
        inputs[:, 3] = 8
        two = made.model.decode(made.model.encode(source), inputs)[0]
        torch.testing.assert_close(one[:, :3], two[:, :3])
        assert (one[:, 3] - two[:, 3]).abs().max() > 0.01
        short = made.model.decode(made.model.encode(source[1:, :3]), inputs[1:])[0]
        torch.testing.assert_close(short, two[1:], rtol=1e-5, atol=1e-5)


@forms
def test_every_weight_gets_a_gradient_and_the_words_are_the_last_layer(
    trunk: str, hidden: tuple[int, ...]
) -> None:
    env = envs()
    made = network(env, trunk, hidden)
    rollout, _ = acted(made, env, 12)
    heads = made.outputs(to_tensor(rollout.observations), torch.as_tensor(rollout.starts))
    logits = heads["policy"]
    (logits.log_softmax(-1)[..., 5].sum() + heads["value"].sum()).backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    assert not any(name.startswith("heads.policy") for name, _ in made.named_parameters())
    never = torch.tensor([30])
    assert not (rollout.observations["target"] == 30).any()
    assert made.model.target.weight.grad[never].abs().sum() > 0  # though nobody wrote it


@forms
def test_special_words_have_no_chance(trunk: str, hidden: tuple[int, ...]) -> None:
    env = envs()
    made = network(env, trunk, hidden)
    rollout, stepped = acted(made, env, 12)
    policy, first = stepped["policy"], torch.as_tensor(rollout.observations["position"] == 0)
    assert (policy[..., [PAD, BOS, UNK]] < MASKED / 2).all()
    assert (policy[first][:, EOS] < MASKED / 2).all()
    assert (policy[~first][:, EOS] > MASKED / 2).all()
    assert (policy[..., UNK + 1 :] > MASKED / 2).all()


@forms
def test_dropout_is_off_but_in_training(trunk: str, hidden: tuple[int, ...]) -> None:
    env = envs()
    made = network(env, trunk, hidden, dropout=0.5)
    rollout, stepped = acted(made, env, 8)
    seen, starts = to_tensor(rollout.observations), torch.as_tensor(rollout.starts)
    torch.testing.assert_close(made.outputs(seen, starts)["policy"], stepped["policy"], rtol=1e-4, atol=1e-4)
    made.train()
    assert (made.outputs(seen, starts)["policy"] - stepped["policy"]).abs().max() > 0.01


def test_sentences_are_found_once_each() -> None:
    # Two rows: one goes on from before the rollout and another begins; the other is one sentence.
    words = np.array([[11, 12, 13], [21, 22, 23], [31, 32, 33]])
    plan = [[(0, 1), (2, 0)], [(0, 2), (2, 1)], [(1, 0), (2, 2)], [(1, 1), (2, 3)]]
    position = np.array([[p for _, p in step] for step in plan])
    target = np.array(
        [[[w if i < p else PAD for i, w in enumerate(words[s])] for s, p in step] for step in plan]
    )
    source = np.array([[[5 + s, EOS, PAD] for s, _ in step] for step in plan])
    seen = to_tensor({"position": position, "source": source, "target": target})
    found = sentences_of(seen, torch.ones(4, 2, dtype=torch.bool))
    assert len(found.source) == 3
    assert found.source.shape[1] == 2
    shown = {tuple(row.tolist()) for row in found.inputs}
    assert shown == {(BOS, 11, 12, PAD), (BOS, 21, PAD, PAD), (BOS, 31, 32, 33)}
    for (t, n), row, place in zip(np.ndindex(4, 2), found.row.tolist(), found.place.tolist(), strict=True):
        s, p = plan[t][n]
        assert place == p
        assert found.source[row, 0] == 5 + s
        assert found.inputs[row, 1 : p + 1].tolist() == words[s, :p].tolist()
    wanted = torch.zeros(4, 2, dtype=torch.bool)
    wanted[1, 0] = wanted[2, 1] = True
    few = sentences_of(seen, wanted)
    assert few.inputs.tolist() == [[BOS, 11, 12], [BOS, 31, 32]]


def test_steps_of_other_sentences_are_kept_apart() -> None:
    position = np.array([[1, 1, 1, 2], [2, 2, 3, 3]])  # the last row alone goes on
    target = np.array([[[8, 0, 0]] * 3 + [[8, 9, 0]], [[8, 9, 0], [7, 9, 0], [8, 9, 9], [8, 9, 4]]])
    source = np.array([[[5, EOS]] * 4, [[6, EOS], [5, EOS], [5, EOS], [5, EOS]]])
    seen = to_tensor({"position": position, "source": source, "target": target})
    found = sentences_of(seen, torch.ones(2, 4, dtype=torch.bool))
    assert len(found.source) == 7
    assert found.row[3] == found.row[7]
    assert found.source[found.row].tolist() == source.reshape(8, 2).tolist()


def test_the_way_back_begins_with_the_last_word() -> None:
    visible = torch.tensor([[True, True, True, False], [True, False, False, False]])
    assert backwards(visible).tolist() == [[2, 1, 0, 3], [0, 1, 2, 3]]


def test_networks_are_chosen_by_the_space() -> None:
    space = envs().single_observation_space
    heads = {"policy": 4}
    shape = sentence_shape(space)
    assert shape is not None
    assert type(make_network(space, heads)) is Network
    assert type(make_network(space, heads, (8, 8), True, "lstm")) is Network
    assert critic_trunk(space) == "gru"
    plain = gymnasium.spaces.MultiDiscrete([3, 3])
    assert sentence_shape(plain) is None
    assert sentence_shape(gymnasium.spaces.Dict({**space.spaces, "more": plain})) is None
    assert critic_trunk(plain) == "lstm"
    assert type(make_network(plain, heads, (8, 8), True, "transformer")) is Network
    for options, message in (
        ({"trunk": "gru", "recurrent": True}, "The trunk gru is for translation"),
        ({"dropout": 0.1}, "dropout is for translation"),
    ):
        with pytest.raises(DescantError, match=message):
            make_network(plain, heads, (8, 8), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("trunk", "hidden", "message"),
    [
        ("gru", (8,), "must name two widths"),
        ("gru", (8, 12), "multiple of 8"),
        ("transformer", (16,), "once for each layer"),
        ("transformer", (16, 8), "one width"),
        ("transformer", (12, 12), "multiple of 8"),
        ("lstmm", (8, 16), "Unknown trunk"),
    ],
)
def test_bad_shapes_are_refused(trunk: str, hidden: tuple[int, ...], message: str) -> None:
    shape = sentence_shape(envs().single_observation_space)
    assert shape is not None
    with pytest.raises(DescantError, match=message):
        TranslationNetwork(shape, {"value": 1}, hidden, trunk)


@forms
def test_the_loss_of_sentences_is_that_of_their_heads(trunk: str, hidden: tuple[int, ...]) -> None:
    env = envs()
    made = network(env, trunk, hidden)
    rollout, _ = acted(made, env, 25)
    seen, valid, actions = (
        to_tensor(rollout.observations),
        torch.as_tensor(rollout.valid),
        torch.as_tensor(rollout.actions),
    )
    log_probs = masked_log_softmax(made.at(seen, valid)["policy"])
    taken = log_probs.gather(1, actions[valid][:, None])[:, 0]
    allowed = log_probs > MASKED / 2
    spread = torch.where(allowed, log_probs, 0.0).sum(1) / allowed.sum(1)
    true = -(0.9 * taken + 0.1 * spread).mean()
    mine = made.cross_entropy(seen, valid, actions, 0.1)
    torch.testing.assert_close(mine, true)
    parameters = [p for name, p in made.named_parameters() if not name.startswith("heads")]
    for a, b in zip(
        torch.autograd.grad(mine, parameters), torch.autograd.grad(true, parameters), strict=True
    ):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-3)
