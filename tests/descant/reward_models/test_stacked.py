"""Models side by side are what they would be one by one; padding says nothing; steps sum to the whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces

from descant.errors import DescantError
from descant.policies.networks import make_memory
from descant.reward_models.stacked import Ensemble, Items, StackedLSTM, StackedTransformer

SPACE = spaces.MultiDiscrete([5, 4])
SHAPES = [("mlp", (12, 8)), ("lstm", (12, 8)), ("transformer", (8, 8)), ("mlp", ()), ("mlp", (8,))]


def items(n: int = 6, steps: int = 7) -> Items:
    rng = np.random.default_rng(0)
    columns = rng.integers(0, [5, 4], (n, steps, 2))
    return Items(torch.from_numpy(columns), torch.from_numpy(rng.integers(1, steps + 1, n)))


@pytest.mark.parametrize("kind", ["lstm", "transformer"])
def test_stacked_trunks_are_the_policies_own(kind: str) -> None:
    torch.manual_seed(0)
    stacked = StackedLSTM(3, 8, 8) if kind == "lstm" else StackedTransformer(3, (8, 8))
    x, starts = torch.randn(3, 5, 4, 8), torch.zeros(5, 4, dtype=torch.bool)
    starts[0] = True
    out = stacked(x)
    for model in range(3):
        alone = make_memory(kind, (8, 8))
        alone.load_state_dict(
            {name: stacked.stack[name.replace(".", "_")][model] for name in alone.state_dict()}
        )
        torch.testing.assert_close(out[model], alone(x[model], starts, None)[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("trunk", "hidden"), SHAPES)
@pytest.mark.parametrize("per_step", [False, True])
def test_no_model_sees_another(trunk: str, hidden: tuple[int, ...], per_step: bool) -> None:
    torch.manual_seed(0)
    ensemble = Ensemble(SPACE, 3, 2, hidden, trunk, per_step)
    out = ensemble(items())
    assert out.shape == (3, 6, 2)
    assert (out[0] - out[1]).abs().min() > 1e-6
    out[1].sum().backward()
    for name, weight in ensemble.named_parameters():
        assert weight.grad is not None, name
        width = weight.shape[-1] // 3
        if name.startswith("encoder"):
            others = torch.cat([weight.grad[..., :width], weight.grad[..., 2 * width :]], -1)
        else:
            others = weight.grad[[0, 2]]
        assert others.abs().max() == 0, name
        if not name.endswith("biases.0"):
            assert weight.grad.abs().max() > 0, name


@pytest.mark.parametrize(("trunk", "hidden"), SHAPES)
@pytest.mark.parametrize("per_step", [False, True])
def test_padding_and_company_change_nothing(trunk: str, hidden: tuple[int, ...], per_step: bool) -> None:
    torch.manual_seed(0)
    ensemble, several = Ensemble(SPACE, 2, 1, hidden, trunk, per_step), items()
    together = ensemble(several)
    for row in range(len(several)):
        alone = ensemble(several.take(torch.tensor([row])))
        torch.testing.assert_close(together[:, row : row + 1], alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("trunk", ["mlp", "lstm", "transformer"])
def test_steps_sum_to_the_whole_and_look_back_alone(trunk: str) -> None:
    torch.manual_seed(0)
    ensemble = Ensemble(SPACE, 2, 1, (8, 8), trunk, per_step=True)
    one = items().take(torch.tensor([0]))
    one = Items(one.columns, torch.tensor([one.columns.shape[1]]))
    steps = ensemble.steps(one)[..., 0]
    torch.testing.assert_close(steps.sum(1), ensemble(one)[:, 0, 0])
    for length in range(1, steps.shape[1] + 1):
        cut = Items(one.columns[:, :length], torch.tensor([length]))
        torch.testing.assert_close(ensemble(cut)[:, 0, 0], steps[:, :length].sum(1), atol=1e-5, rtol=1e-4)
    with pytest.raises(DescantError, match="per_step"):
        Ensemble(SPACE, 2, 1, (8, 8), trunk).steps(one)


def test_a_trunk_that_is_none_is_refused() -> None:
    with pytest.raises(DescantError, match="lstm"):
        Ensemble(SPACE, trunk="lstn")
    with pytest.raises(DescantError, match="hidden"):
        Ensemble(SPACE, hidden=(), trunk="lstm")
