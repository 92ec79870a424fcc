"""`bench rl-tuner`: Jaques et al. 2017 again: a model of real tunes, tuned by rules of melody and kept near itself.

One prior for all, made by `descant pretrain`, or the user's own (`--prior RUN`). Tuned by kl-q, psi, g and ppo at the
paper's c and gamma, by reward alone, and at our best setting; for the frontier at several c. Of each, many compositions
are drawn from its own distribution. The bars are in `rl_tuner_bars`, the settings in `rl_tuner_settings`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .jobs import Done, Job
from .rl_tuner_measure import measure, real_tunes
from .rl_tuner_picture import draw
from .rl_tuner_prior import OWN, given, prior_in
from .rl_tuner_report import write_report
from .rl_tuner_settings import ALONE, BEST, FRONTIER, PAPER, Setting
from .rl_tuner_tables import (
    NOTE_RNN,
    TUNES,
    compared,
    described,
    frontier,
    judged,
    model,
    points_of,
    prior_table,
    rewarded,
)
from .studies import Study, Table, errors_of

COMPOSITIONS = 100_000  # of each run in the tables; the paper's number
ON_FRONTIER = 20_000  # of a run that is on the frontier alone


def prior_facts(prior: dict[str, Any], folder: str) -> dict[str, Any]:
    """Make the prior where it is not there; what `descant pretrain` said of it."""
    return prior_in(folder, prior).facts


def held_out(prior: dict[str, Any], folder: str) -> dict[str, Any]:
    """What is measured of the tunes that the prior never saw."""
    return real_tunes(prior_in(folder, prior))


def untuned(seed: int, prior: dict[str, Any], compositions: int, folder: str) -> dict[str, Any]:
    """What is measured of the prior's own compositions."""
    home = prior_in(folder, prior)
    return measure(home.agent, home, compositions, np.random.default_rng([seed, 1]))


def jobs(seeds: Sequence[int], prior: Path | None = None) -> list[Job]:
    """The prior, what is measured of it and of tunes; then every row on every seed, then the rest of the frontier."""
    shared: dict[str, Any] = {"prior": dict(OWN) if prior is None else given(prior)}
    made = [_job("the prior", "prior_facts", shared), _job(TUNES, "held_out", shared)]
    many = {**shared, "compositions": COMPOSITIONS}
    made += [_job(f"{NOTE_RNN} seed {seed}", "untuned", {"seed": seed, **many}) for seed in seeds]
    told: list[Setting] = []
    for settings, count in ((PAPER | ALONE | BEST, COMPOSITIONS), (FRONTIER, ON_FRONTIER)):
        new = {name: setting for name, setting in settings.items() if setting not in told}
        told += new.values()
        for seed in seeds:
            for name, setting in new.items():
                arguments = {"setting": setting, "seed": seed, **shared, "compositions": count}
                made.append(_job(f"{name} seed {seed}", "rl_tuner_tuning:tune_one", arguments))
    return made


def _job(title: str, work: str, arguments: dict[str, Any]) -> Job:
    module, _, name = work.rpartition(":")
    place = f"{__package__}.{module}" if module else __name__
    return Job(title, f"{place}:{name}", arguments, shares="prior")


def tables(done: list[Done], out: Path) -> list[Table]:
    """The paper's table beside ours, more of the same models, the bars, the frontier; a picture and a report."""
    note_rnn, tunes = model(NOTE_RNN, done), model(TUNES, done)
    best, others = ([model(name, done, one) for name, one in rows.items()] for rows in (BEST, PAPER | ALONE))
    points = points_of(done)
    tuned = [*others, *best]
    shown = [tunes, note_rnn, *tuned]
    found = [
        compared(shown),
        described(shown),
        rewarded(shown),
        judged(best, note_rnn, others),
        frontier(points),
        prior_table(done[0]),
    ]
    failed = errors_of(done)
    alone = [m for m in others if m.name in ALONE]
    pictures = draw(points, note_rnn, [*best, *alone], out)
    report = write_report(found, [note_rnn, *tuned], pictures, failed, out)
    last = dataclasses.replace(found[0], failed=failed, met=not failed, files=(*pictures, report))
    return [last, *found[1:]]


RL_TUNER = Study("rl-tuner", jobs, tables, seeds=5, options=("prior",))
"""Jaques et al. 2017: a Note RNN tuned on rules of melody, beside the published figures."""
