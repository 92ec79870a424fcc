"""How fast reward models are fitted, beside `imitation`'s preference trainer on the same network, data and batches.

`imitation` needs an older Gymnasium, so it has an environment of its own, whose python the user names; without one
the rows have no ratio. Both fit a sum over 16 steps of a network of two layers of 64 to 512 comparisons, 32 at a time,
with Adam; each side has a process of one thread, a pass to warm up, and then the median of three; seconds are the
processor's. An ensemble's models count as one on either side: its rate is that of comparisons seen by all five.
"""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from descant.errors import DescantError
from descant.reward_models.comparisons import Comparisons, Split, make_comparisons
from descant.reward_models.fitting import descend
from descant.reward_models.models import Config, make_model
from descant.reward_models.stacked import Items

from .speed_rows import Row

STEPS, WIDTH, PAIRS, BATCH, EPOCHS, ROUNDS = 16, 7, 512, 32, 1, 3
ENSEMBLES = (1, 5)
MISSING = "no python that has imitation was given (--imitation)"
INSTALL = "give that of an environment with pip install imitation==1.0.1."
THEIRS = """
import json, sys, time
import gymnasium, numpy, torch
from imitation.algorithms import preference_comparisons as pc
from imitation.data.types import TrajectoryWithRew
from imitation.rewards import reward_nets

steps, width, pairs, batch, epochs, rounds, models = map(int, sys.argv[1:])
torch.set_num_threads(1)
rng = numpy.random.default_rng(0)
observations = gymnasium.spaces.Box(-numpy.inf, numpy.inf, (width,))
made = [reward_nets.BasicRewardNet(observations, gymnasium.spaces.Discrete(2), hid_sizes=(64, 64), use_action=False)
        for _ in range(models)]
net = made[0] if models == 1 else reward_nets.RewardEnsemble(observations, gymnasium.spaces.Discrete(2), made)

def fragment():
    seen = rng.normal(size=(steps + 1, width)).astype(numpy.float32)
    worth = seen[:-1].sum(1).astype(numpy.float32)
    return TrajectoryWithRew(obs=seen, acts=numpy.zeros(steps, int), infos=None, terminal=True, rews=worth)

compared = [(fragment(), fragment()) for _ in range(pairs)]
data = pc.PreferenceDataset()
data.push(compared, numpy.array([float(a.rews.sum() > b.rews.sum()) for a, b in compared], numpy.float32))
trainer = pc._make_reward_trainer(pc.PreferenceModel(net), pc.CrossEntropyRewardLoss(), rng,
                                  {"batch_size": batch, "epochs": epochs, "lr": 1e-3})
rates = []
for _ in range(rounds + 1):
    begin = time.process_time()
    trainer.train(data)
    rates.append(pairs * epochs / (time.process_time() - begin))
print(json.dumps(rates[1:]))
"""


def measure(python: str | None) -> list[Row]:
    """A row for one network and one for five; a ratio if the python of an environment with `imitation` is given."""
    return [row(models, python) for models in ENSEMBLES]


def row(models: int, python: str | None) -> Row:
    """Comparisons a second over imitation's, the processor's."""
    title = f"reward models / imitation, {'one network' if models == 1 else f'an ensemble of {models}'}"
    own = median(ours(models))
    if python is None:
        return Row(title, None, "x", bar=10.0, detail=f"{own:,.0f} comparisons/s; {MISSING}")
    theirs = median(of_imitation(python, models))
    detail = f"{own:,.0f} against {theirs:,.0f} comparisons/s"
    return Row(title, own / theirs, "x", bar=10.0, detail=detail, sides=(own, theirs))


def given(python: Path) -> str:
    """The path, if it is a python that has `imitation`; else DescantError."""
    code = "import importlib.util, sys; sys.exit(importlib.util.find_spec('imitation') is None)"
    try:
        subprocess.run([str(python), "-c", code], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise DescantError(f"{python} is no python that has imitation: {INSTALL}") from error
    return str(python.absolute())


def comparisons() -> Comparisons:
    """Sequences of drawn points; what is preferred has the larger sum."""
    points = np.random.default_rng(0).normal(size=(2 * PAIRS, STEPS, WIDTH))
    worth, pairs = points.sum((1, 2)), np.arange(2 * PAIRS).reshape(-1, 2)
    items = Items(torch.from_numpy(points).float(), torch.full((2 * PAIRS,), STEPS))
    return make_comparisons(items, pairs, (worth[pairs[:, 0]] < worth[pairs[:, 1]]).astype(int))


def ours(models: int) -> list[float]:
    """Comparisons a second, of each round."""
    data, space = comparisons(), spaces.Box(-np.inf, np.inf, (WIDTH,))
    config = Config(
        models=models, per_step=True, batch_size=BATCH, epochs=EPOCHS, patience=0, learning_rate=1e-3
    )
    few, rates, threads = data.take(torch.arange(8)), [], torch.get_num_threads()
    torch.set_num_threads(1)
    for _ in range(ROUNDS + 1):
        model = make_model("btl", space, config)
        begin = time.process_time()
        descend(model, Split(data, few, few))
        rates.append(PAIRS * EPOCHS / (time.process_time() - begin))
    torch.set_num_threads(threads)
    return rates[1:]


def of_imitation(python: str, models: int) -> list[float]:
    """The same of imitation's trainer; DescantError where that python has none."""
    numbers = [STEPS, WIDTH, PAIRS, BATCH, EPOCHS, ROUNDS, models]
    try:
        done = subprocess.run(
            [python, "-c", THEIRS, *map(str, numbers)], capture_output=True, text=True, check=True
        )
        rates: Any = json.loads(done.stdout.strip().splitlines()[-1])
    except (OSError, subprocess.CalledProcessError, ValueError, IndexError) as error:
        said = getattr(error, "stderr", None) or str(error)
        raise DescantError(
            f"{python} can't run imitation's trainer ({said.strip().splitlines()[-1]}): {INSTALL}"
        ) from error
    return [float(rate) for rate in rates]
