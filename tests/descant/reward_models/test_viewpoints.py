"""How the notes of a melody relate, against melodies worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from descant.music.melodies import HOLD, NOTE_OFF, action_of
from descant.reward_models.viewpoints import INTERVALS, LONGEST, SIZES, WIDEST, viewpoints
from descant.reward_models.views import view_of
from descant.shells import make_task

NONE = INTERVALS - 1  # no interval
C, D, A, HIGH = (action_of(midi) for midi in (60, 62, 57, 83))
LINE = np.array([[HOLD, C, HOLD, D, NOTE_OFF, A, A, HIGH]])
SEEN = {
    "last": [0, 0, C, C, D, D, A, A],
    "the one before it": [0, 0, 0, 0, C, C, D, A],
    "since the last": [LONGEST, LONGEST, 1, 2, 1, 2, 1, 1],
    "since the one before it": [LONGEST, LONGEST, LONGEST, LONGEST, 3, 4, 3, 2],
    "above the tonic, D": [12, 10, 12, 0, 12, 7, 7, 9],
    "from the last": [NONE, NONE, NONE, WIDEST + 2, NONE, WIDEST - 5, WIDEST, 2 * WIDEST],
    "between the two before": [NONE, NONE, NONE, NONE, WIDEST + 2, WIDEST + 2, WIDEST - 5, WIDEST],
}


@pytest.mark.parametrize("place", range(len(SIZES)), ids=list(SEEN))
def test_each_viewpoint_is_as_worked_out(place: int) -> None:
    assert viewpoints(LINE, tonic=2)[place].tolist() == [list(SEEN.values())[place]]


def test_what_is_long_ago_counts_as_a_bar() -> None:
    line = np.full((1, 20), HOLD)
    line[0, 0] = C
    assert viewpoints(line, 0)[2][0].tolist() == [LONGEST, *range(1, 17), *[LONGEST] * 3]


def test_rows_know_nothing_of_each_other() -> None:
    rng = np.random.default_rng(0)
    lines = rng.integers(0, 38, (20, 32))
    together = np.stack(viewpoints(lines, 5))
    alone = np.stack([np.stack(viewpoints(line[None], 5))[:, 0] for line in lines], axis=1)
    assert (together == alone).all()
    assert (together >= 0).all()
    assert (together.max((1, 2)) < SIZES).all()


def test_a_melody_moved_with_its_key_relates_the_same() -> None:
    rng = np.random.default_rng(1)
    line = rng.integers(0, 30, (5, 32))
    up = np.where(line > 1, line + 3, line)
    before, after = viewpoints(line, 4), viewpoints(up, 7)
    assert all((one == other).all() for one, other in zip(before[2:], after[2:], strict=True))


def test_reward_models_of_melodies_see_them_in_the_key_of_the_melody() -> None:
    task = make_task("descant/Melody-v0", key="G")
    rng = np.random.default_rng(0)
    state, done = task.reset(rng, 4, None), False
    while not done:
        state, _, ended = task.step(state, rng.integers(0, 38, 4), rng)
        done = bool(ended.all())
    view = view_of("descant/Melody-v0", state)
    items = view.items(state)
    own = np.stack(viewpoints(state.written.astype(np.int64), 7), axis=-1)
    assert (items.columns.numpy()[..., -len(SIZES) :] == own).all()
    assert (items.columns.numpy().max((0, 1)) < view.space.nvec).all()  # type: ignore[attr-defined]
