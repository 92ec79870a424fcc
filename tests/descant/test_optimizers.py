"""Adam: torch's own to the last bit."""

from __future__ import annotations

import pytest
import torch

from descant.optimizers import Adam


def layers(kind: torch.dtype) -> torch.nn.Sequential:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Linear(8, 2)).to(kind)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_steps_are_torchs(kind: torch.dtype) -> None:
    mine, torchs = layers(kind), layers(kind)
    optimizers = (
        Adam(mine.parameters(), lr=0.1, eps=1e-5),
        torch.optim.Adam(torchs.parameters(), lr=0.1, eps=1e-5, fused=True),
    )
    for i in range(6):
        for net, optimizer in zip((mine, torchs), optimizers, strict=True):
            optimizer.zero_grad()
            net = net if i % 3 else net[0]  # now and then a layer is not learned
            net(torch.arange(6, dtype=kind).view(2, 3) + i).square().sum().backward()
            optimizer.param_groups[0]["lr"] = 0.1 / (i + 1)
            optimizer.step()
    for ours, theirs in zip(mine.parameters(), torchs.parameters(), strict=True):
        assert torch.equal(ours, theirs)
        own, other = (opt.state[p] for opt, p in zip(optimizers, (ours, theirs), strict=True))
        assert own.keys() == other.keys()
        assert all(torch.equal(own[k], other[k]) and own[k].dtype == other[k].dtype for k in own)


def test_gradients_are_dropped() -> None:
    net = layers(torch.float32)
    net(torch.ones(1, 3)).sum().backward()
    optimizer = Adam(net.parameters(), lr=0.1, eps=1e-5)
    optimizer.zero_grad()
    before = [p.clone() for p in net.parameters()]
    assert all(p.grad is None for p in net.parameters())
    optimizer.step()  # nothing to learn
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), before, strict=True))
    assert not optimizer.state
