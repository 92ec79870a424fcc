"""Several ranks that train one policy: the same as one rank, to the tolerance of sums in another order."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ..ranks import CASES, UPDATES, launch, show, trained


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which two ranks have written."""
    folder = tmp_path_factory.mktemp("ranks")
    show(folder)
    for done in launch(["-P", str(Path(__file__).parent.parent / "ranks.py"), str(folder)]):
        assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("case", CASES)
def test_two_ranks_learn_what_one_does(case: str, two: Path) -> None:
    weights, records = trained(case, two)
    for rank in (0, 1):
        found = load_file(two / f"{case} {rank}")
        assert found.keys() == weights.keys()
        for name, value in weights.items():
            torch.testing.assert_close(
                found[name], value, rtol=1e-3, atol=2e-5, msg=lambda m, n=name: f"{n}: {m}"
            )
        told = json.loads((two / f"records {rank}").read_text())[case]
        assert len(told) == len(records) == UPDATES
        for mine, theirs in zip(records, told, strict=True):
            assert mine.keys() == theirs.keys()
            values = np.array([[mine[name], theirs[name]] for name in mine])
            np.testing.assert_allclose(*values.T, rtol=2e-3, atol=1e-5, err_msg=" ".join(mine))
