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
from descant.reward_models.models import make_model
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


SMALL = VPLConfig(hidden=(16,), width=16, dimensions=3, epochs=30, patience=0, beta=0.02, learning_rate=1e-2)


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
        odds = model.odds(asked, model.posterior(context).mean[:, asked.annotators])
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


def test_a_beta_that_collapses_the_code_is_noticed() -> None:
    model = fit("vpl", LINE, divided(24), dataclasses.replace(SMALL, beta=100.0, warmup=0.0)).model
    assert isinstance(model, VPL)
    says = model.says(divided(10, 4, seed=5))
    assert says["collapsed"]
    assert "beta 100" in says["advice"]


def test_questions_are_chosen_that_tell_of_the_code() -> None:
    model = fit("vpl", LINE, divided(24), SMALL).model
    assert isinstance(model, VPL)
    points = torch.tensor([0.5, 0.5, 0.05, 0.95]).view(4, 1, 1)
    items = Items(points, torch.ones(4, dtype=torch.int64))
    context = divided(1, 1)
    assert model.choose(context, items, np.array([[0, 1], [2, 3]])).tolist() == [1]


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
        lambda: DPLConfig(family="normal"),  # type: ignore[arg-type]
        lambda: DPLConfig(atoms=1),
        lambda: PerUserConfig(pull=-1.0),
    ):
        with pytest.raises(DescantError):
            make()
