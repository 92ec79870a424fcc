"""Linear layers: the larger ones, which go another way, are the same as torch's, and so are their gradients."""

from __future__ import annotations

import pytest
import torch

from descant.policies import linear as linears
from descant.policies.linear import LARGE, linear

SHAPES = {"large": (128, 256, 80), "small": (7, 5, 3)}


def parts(shape: tuple[int, int, int], kind: torch.dtype = torch.float32) -> list[torch.Tensor]:
    rows, taken, given = shape
    torch.manual_seed(0)
    made = [torch.randn(rows, taken), torch.randn(given, taken) / 16, torch.randn(given)]
    return [part.to(kind).requires_grad_() for part in made]


@pytest.mark.parametrize("kind", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("size", SHAPES)
def test_a_layer_and_its_gradients_are_torchs(size: str, kind: torch.dtype) -> None:
    rows, taken, given = SHAPES[size]
    assert (rows * taken * given >= LARGE) == (size == "large")
    x, weight, bias = parts((rows, taken, given), kind)
    ours, theirs = linear(x, weight, bias), torch.nn.functional.linear(x, weight, bias)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    pull = torch.randn(rows, given).to(kind)
    for mine, other in zip(
        torch.autograd.grad((ours * pull).sum(), (x, weight, bias)),
        torch.autograd.grad((theirs * pull).sum(), (x, weight, bias)),
        strict=True,
    ):
        torch.testing.assert_close(mine, other, atol=1e-4, rtol=1e-4)
    with torch.inference_mode():
        torch.testing.assert_close(linear(x, weight, bias), theirs.detach(), atol=1e-5, rtol=1e-5)


def test_a_gradient_that_is_one_number_spread_out_is_taken_too() -> None:
    x, weight, bias = parts(SHAPES["large"])
    linear(x, weight, bias).sum().backward()
    assert bias.grad is not None
    torch.testing.assert_close(bias.grad, torch.full_like(bias, 128))
    assert weight.grad is not None
    torch.testing.assert_close(weight.grad, x.detach().sum(0).expand_as(weight), atol=1e-4, rtol=1e-4)


def test_only_what_is_large_goes_another_way(monkeypatch: pytest.MonkeyPatch) -> None:
    if not linears.ONEDNN:
        pytest.skip("this torch was built without oneDNN")
    seen: list[int] = []
    whole = linears._onednn

    def watched(x: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        seen.append(len(x))
        return whole(x, *rest)

    monkeypatch.setattr(linears, "_onednn", watched)
    with torch.no_grad():
        for shape in SHAPES.values():
            linear(*parts(shape))
        linear(*parts(SHAPES["large"], torch.float64))
    assert seen == [128]
