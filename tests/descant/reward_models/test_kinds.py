"""Models that know of disagreement: distributions of scores, codes of annotators, a head for each."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch
from gymnasium import spaces

from descant.errors import DescantError
from descant.reward_models.comparisons import Comparisons, make_comparisons
from descant.reward_models.dpl import DPL, DPLConfig, categorical_preference, normal_preference
from descant.reward_models.fitting import fit
from descant.reward_models.models import RewardModel, make_model, right
from descant.reward_models.per_user import PerUserConfig
from descant.reward_models.saving import load_reward_model, save_reward_model
from descant.reward_models.stacked import Items
from descant.reward_models.views import PlainView
from descant.reward_models.vpl import VPL, Posterior, VPLConfig

LINE = spaces.Box(-np.inf, np.inf, (1,))


def divided(people: int = 12, each: int = 40, seed: int = 0) -> Comparisons:
    """Every second annotator likes what is high, the others what is low."""
    rng = np.random.default_rng(seed)
    points = rng.random((people, each, 2))
    high = points[..., 0] > points[..., 1]
    answers = np.where(high == (np.arange(people) % 2 == 0)[:, None], 0, 1).ravel()
    items = Items(
        torch.from_numpy(points.reshape(-1, 1, 1)).float(), torch.ones(points.size, dtype=torch.int64)
    )
    return make_comparisons(
        items, np.arange(points.size).reshape(-1, 2), answers, np.repeat(np.arange(people), each)
    )


SMALL = VPLConfig(hidden=(16,), width=16, dimensions=3, epochs=15, learning_rate=1e-2)


def test_normal_preferences_are_those_of_the_difference() -> None:
    gap, variance = (
        torch.tensor([0.7, -2.0], dtype=torch.float64),
        torch.tensor([1.5, 0.3], dtype=torch.float64),
    )
    expected = scipy.stats.norm.logsf(0, loc=gap.numpy(), scale=np.sqrt(variance.numpy()))
    np.testing.assert_allclose(normal_preference(gap, variance).numpy(), expected, rtol=1e-12)


def test_categorical_preferences_count_all_places() -> None:
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(5), 2)
    expected = sum(
        p[i] * q[j] * (1.0 if i > j else 0.5 if i == j else 0.0) for i in range(5) for j in range(5)
    )
    logs = (torch.from_numpy(np.log(each)) for each in (p, q))
    assert float(categorical_preference(*logs)) == pytest.approx(np.log(expected), abs=1e-12)


def test_gradients_of_preferences_are_their_differences() -> None:
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 7, 5, generator=rng, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: categorical_preference(*x.log_softmax(-1)), logits)
    gap = torch.tensor([0.7, -2.0, -9.0], dtype=torch.float64, requires_grad=True)
    variance = torch.tensor([1.5, 0.3, 1.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(normal_preference, (gap, variance))
    first, second = logits.log_softmax(-1)
    both = categorical_preference(first, second).exp() + categorical_preference(second, first).exp()
    torch.testing.assert_close(both, torch.ones_like(both))


@pytest.mark.parametrize("family", ["mean-variance", "categorical"])
def test_one_order_is_learned_as_a_distribution(family: str) -> None:
    points = np.random.default_rng(0).random((1_500, 2))
    answers = np.where(np.abs(points[:, 0] - 0.5) < np.abs(points[:, 1] - 0.5), 0, 1)
    items = Items(torch.from_numpy(points.reshape(-1, 1, 1)).float(), torch.ones(3_000, dtype=torch.int64))
    config = DPLConfig(models=2, hidden=(16, 16), family=family, epochs=12, learning_rate=1e-2)  # type: ignore[arg-type]
    fitted = fit("dpl", LINE, make_comparisons(items, np.arange(3_000).reshape(-1, 2), answers), config)
    assert min(fitted.report["accuracy_of_each"]) > 0.85


@pytest.mark.parametrize("family", ["mean-variance", "categorical"])
def test_what_divides_people_has_a_spread(family: str) -> None:
    # One side of the line is liked by all; on the other, half like it most and half least.
    rng = np.random.default_rng(0)
    points, kinder = rng.random((3_000, 2)), rng.random(3_000) < 0.5
    worth = np.where(points > 0.5, np.where(kinder[:, None], 3.0, -3.0), points)
    answers = np.where(worth[:, 0] > worth[:, 1], 0, 1)
    items = Items(torch.from_numpy(points.reshape(-1, 1, 1)).float(), torch.ones(6_000, dtype=torch.int64))
    config = DPLConfig(models=1, hidden=(16, 16), family=family, epochs=8, learning_rate=1e-2)  # type: ignore[arg-type]
    fitted = fit("dpl", LINE, make_comparisons(items, np.arange(6_000).reshape(-1, 2), answers), config).model
    assert isinstance(fitted, DPL)
    with torch.no_grad():
        spread = fitted.moments(
            Items(torch.tensor([0.2, 0.8]).view(2, 1, 1), torch.ones(2, dtype=torch.int64))
        )[1][0]
    assert spread[1] > 2 * spread[0]


def test_the_encoder_is_odd_and_minds_neither_order_nor_company() -> None:
    model, data = make_model("vpl", LINE, SMALL, ["x"]), divided(3, 7)
    assert isinstance(model, VPL)
    with torch.no_grad():
        found = model.posterior(data)
        turned = model.posterior(dataclasses.replace(data, answers=1 - data.answers))
        mixed = model.posterior(data.take(torch.from_numpy(np.random.default_rng(0).permutation(21))))
        alone = data.take(torch.arange(14, 21))
        alone = model.posterior(dataclasses.replace(alone, annotators=torch.zeros(7, dtype=torch.int64)))
        tied = model.posterior(dataclasses.replace(data, answers=torch.full((21,), 2)))
    assert found.mean.abs().min() > 0
    torch.testing.assert_close(turned.mean, -found.mean)
    torch.testing.assert_close(turned.log_variance, found.log_variance)
    torch.testing.assert_close(mixed.mean, found.mean)
    torch.testing.assert_close(alone.mean[:, 0], found.mean[:, 2])
    assert tied.mean.abs().max() < 1e-6  # what was not decided says nothing


def test_what_is_predicted_is_in_no_context() -> None:
    model, rng = make_model("vpl", LINE, SMALL, ["x"]), torch.Generator().manual_seed(0)
    assert isinstance(model, VPL)
    data = divided(4, 50)
    sizes = set()
    for batch in model.batches(data, rng):
        seen = batch.pairs[:, 0] // 2 // 50  # whose comparison it is
        for draw in range(32):
            own = batch.annotators == draw
            assert len(set(seen[own].tolist())) == 1
            assert len(set(batch.pairs[own, 0].tolist())) == int(own.sum())  # none twice
            assert int((own & (batch.groups == 0)).sum()) == SMALL.predicted
        sizes.add(int((batch.groups == 1).sum()) // 32)
        losses = model.losses(batch, rng, 0.5)
        assert (losses[:, batch.groups == 1] == 0).all()
        assert (losses[:, batch.groups == 0] > 0).all()
    assert len(sizes) > 5
    assert {1 <= size <= SMALL.context for size in sizes} == {True}
    # An answer in the context moves the loss through z alone; one that is predicted moves no z.
    one = next(iter(model.batches(data, rng)))
    other = dataclasses.replace(one, answers=torch.where(one.groups == 0, 1 - one.answers, one.answers))
    plain = dataclasses.replace(SMALL, flips=0.0)
    model.config = plain
    both = [model.losses(each, torch.Generator().manual_seed(1), 0.0) for each in (one, other)]
    gap = both[0] - both[1]
    chances = (-torch.stack(both)[:, :, one.groups == 0] * SMALL.predicted * 32 / len(one)).exp().sum(0)
    assert gap[:, one.groups == 0].abs().max() > 0
    torch.testing.assert_close(chances, torch.ones_like(chances))  # P(a) + P(b) by the same z


def test_opposite_tastes_turn_what_is_shown_and_what_is_asked() -> None:
    model, rng = make_model("vpl", LINE, SMALL, ["x"]), torch.Generator().manual_seed(0)
    assert isinstance(model, VPL)
    batch = next(iter(model.batches(divided(4, 50), rng)))
    turned = dataclasses.replace(batch, answers=1 - batch.answers)
    plain = model.losses(turned, torch.Generator().manual_seed(1), 0.0)
    model.config = dataclasses.replace(SMALL, opposite=1.0)
    torch.testing.assert_close(model.losses(batch, torch.Generator().manual_seed(1), 0.0), plain)


@pytest.mark.parametrize("each", [1, 2, 5])
def test_those_who_judged_little_are_learned_from(each: int) -> None:
    model, rng = make_model("vpl", LINE, SMALL, ["x"]), torch.Generator().manual_seed(0)
    assert isinstance(model, VPL)
    for batch in model.batches(divided(4, each), rng):
        shown, asked = (torch.bincount(batch.annotators[batch.groups == g], minlength=32) for g in (1, 0))
        assert (shown <= each // 2).all()
        assert (asked >= 1).all()
        assert torch.isfinite(model.losses(batch, rng, 1.0)).all()


def test_scores_of_annotators_have_one_scale() -> None:
    plain = fit("vpl", LINE, divided(24), SMALL).model
    shares = fit("vpl", LINE, divided(24), dataclasses.replace(SMALL, scaling="spo")).model
    items = Items(torch.linspace(0, 1, 400).view(-1, 1, 1), torch.ones(400, dtype=torch.int64))
    for who in ("0", "1"):
        scores, won = plain.scores(items, who)[0], shares.scores(items, who)[0]
        assert abs(float(scores.mean())) < 0.15 * float(scores.std())  # what was judged was drawn evenly
        expected = (scores[:, None] - scores).sigmoid().mean(1)
        torch.testing.assert_close(won, expected, atol=0.08, rtol=0)  # by 256 references, not all
    everybody = torch.stack([plain.scores(items, name)[0] for name in plain.named]).mean(0)
    torch.testing.assert_close(plain.scores(items)[0], everybody)


def test_kl_is_that_of_normals() -> None:
    mean, log_variance = torch.tensor([0.3, -1.0]), torch.tensor([0.4, -2.0])
    ours = Posterior(mean, log_variance).kl()
    one = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    theirs = torch.distributions.kl_divergence(one, torch.distributions.Normal(torch.zeros(2), torch.ones(2)))
    torch.testing.assert_close(ours, theirs)


def test_a_code_tells_those_who_disagree_apart(tmp_path: Path) -> None:
    fitted = fit("vpl", LINE, divided(24), SMALL)
    model = fitted.model
    assert isinstance(model, VPL)
    assert fitted.report["accuracy"]["value"] > 0.9
    new = divided(10, 30, seed=5)
    place = torch.arange(len(new)) % 30
    context, asked = new.take(torch.nonzero(place < 4)[:, 0]), new.take(torch.nonzero(place >= 4)[:, 0])
    with torch.no_grad():
        codes = model.posterior(context).mean
        odds = model.odds(asked, codes, asked.annotators)
        assert torch.equal(odds, model.odds(asked, codes[:, asked.annotators]))
    assert float(((odds[0] > 0) == (asked.answers == 0)).float().mean()) > 0.9
    says = model.says(context)
    assert (says["active"] >= 1, says["collapsed"], says["advice"]) == (True, False, "")
    scores = [
        model.scores(Items(torch.tensor([[[0.1]], [[0.9]]]), torch.ones(2).long()), str(i))[0] for i in (0, 1)
    ]
    assert scores[0][1] - scores[0][0] > 1 < scores[1][0] - scores[1][1]
    view = PlainView({"width": 1})
    save_reward_model(tmp_path / "m", fitted, view)
    items = Items(torch.rand(5, 1, 1), torch.ones(5, dtype=torch.int64))
    assert np.array_equal(
        load_reward_model(tmp_path / "m").scores(items, "1"), model.scores(items, "1").double().numpy()
    )
    with pytest.raises(DescantError, match="no annotator 'nobody'"):
        model.scores(items, "nobody")


def test_features_can_be_learned_by_heads_first() -> None:
    plain = make_model("vpl", LINE, SMALL, ("a", "b"))
    assert plain.first() is None
    config = dataclasses.replace(SMALL, models=2, pretrained=4, noise=0.1, seed=5)
    model = make_model("vpl", LINE, config, ("a", "b"))
    heads = model.first()
    assert heads is not None
    assert (heads.kind, heads.named) == ("per-user", ("a", "b"))
    assert (heads.config.epochs, heads.config.dimensions, heads.config.hidden) == (4, 16, (16,))
    assert (heads.config.models, heads.config.noise, heads.config.seed) == (2, 0.1, 5)
    model.begin(heads)
    own, learned = (m.state_dict() for m in (model, heads))
    features = [name for name in learned if name.startswith("features.")]
    assert features
    assert all(torch.equal(own[name], learned[name]) for name in features)


def test_a_fit_begins_with_what_heads_have_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[RewardModel] = []
    monkeypatch.setattr(VPL, "begin", lambda self, learned: told.append(learned))
    data = divided()
    fit("vpl", LINE, data, dataclasses.replace(SMALL, epochs=1, pretrained=40))
    (heads,) = told
    with torch.no_grad():
        assert right(heads.log_odds(data)[0], data.answers).mean() > 0.9
    fit("vpl", LINE, data, dataclasses.replace(SMALL, epochs=1))
    assert len(told) == 1


def test_a_beta_that_collapses_the_code_is_noticed() -> None:
    model = fit("vpl", LINE, divided(24), dataclasses.replace(SMALL, beta=100.0, warmup=0.0)).model
    assert isinstance(model, VPL)
    says = model.says(divided(10, 4, seed=5))
    assert says["collapsed"]
    assert "beta 100" in says["advice"]
    new = divided(40, 12, seed=5)
    with torch.no_grad():
        posterior = model.posterior(new)
    drawn = model.odds(new, posterior.draw(torch.Generator().manual_seed(0)), new.annotators)
    told = float(((drawn[0] > 0) == (new.answers == 0)).float().mean())
    assert told < 0.6  # half like what is high: a code that says nothing leaves chance
    assert float(posterior.kl().sum(-1).mean()) < 0.01


def test_questions_are_chosen_that_tell_of_the_code() -> None:
    model = fit("vpl", LINE, divided(24), SMALL).model
    assert isinstance(model, VPL)
    points = torch.tensor([0.5, 0.5, 0.05, 0.95]).view(4, 1, 1)
    items = Items(points, torch.ones(4, dtype=torch.int64))
    nothing = divided(1, 1)  # a tie: nothing is known yet
    context = dataclasses.replace(nothing, answers=torch.full((1,), 2))
    assert model.choose(context, items, np.array([[0, 1], [2, 3]])).tolist() == [1]
    assert model.choose(context, items, np.array([[2, 3], [0, 1]])).tolist() == [0]


def test_heads_of_annotators(tmp_path: Path) -> None:
    config = PerUserConfig(models=2, hidden=(16,), dimensions=3, epochs=30, learning_rate=1e-2)
    fitted = fit("per-user", LINE, divided(), config)
    assert fitted.report["accuracy"]["value"] > 0.9
    items = Items(torch.tensor([[[0.1]], [[0.9]]]), torch.ones(2, dtype=torch.int64))
    high, low = (fitted.model.scores(items, name) for name in ("0", "1"))
    assert (high[:, 1] > high[:, 0]).all()
    assert (low[:, 1] < low[:, 0]).all()
    new = divided(2, 8, seed=3)
    for who in (0, 1):
        head = fitted.model.head(new.take(torch.nonzero(new.annotators == who)[:, 0]))  # type: ignore[operator]
        with torch.no_grad():
            scores = fitted.model.with_head(items, head)  # type: ignore[operator]
        assert ((scores[:, 1] > scores[:, 0]) == (who == 0)).all()
    save_reward_model(tmp_path / "m", fitted, PlainView({"width": 1}))
    assert np.array_equal(load_reward_model(tmp_path / "m").scores(items, "1"), low.double().numpy())


def test_settings_that_make_no_sense_are_refused() -> None:
    for make in (
        lambda: VPLConfig(dimensions=0),
        lambda: VPLConfig(beta=-1.0),
        lambda: VPLConfig(scaling="sp"),  # type: ignore[arg-type]
        lambda: VPLConfig(pretrained=-1),
        lambda: DPLConfig(family="normal"),  # type: ignore[arg-type]
        lambda: DPLConfig(atoms=1),
        lambda: PerUserConfig(pull=-1.0),
    ):
        with pytest.raises(DescantError):
            make()
