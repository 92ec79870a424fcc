"""`bench over-optimisation`: a reward model is maximised, and what it stands for rises, then falls.

Worlds in which everything is listed: a gold reward, a prior, comparisons of sequences of the prior by the gold reward,
some with the wrong answer, and reward models fitted to them. A proxy (one model, or what an ensemble agrees on) is
maximised by exact tilting of the prior, by best of n and by reinforcement learning; gold and proxy are measured exactly
over the KL to the prior. After Gao, Schulman and Hilton, *Scaling laws for reward model overoptimization*, 2022, whose
two forms are fitted, and Coste et al., *Reward model ensembles help mitigate overoptimization*, 2023.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from descant.tasks import Floats

from .jobs import Done, Job
from .overoptimisation_fits import FORMS, Fit, fit_form
from .overoptimisation_picture import draw
from .overoptimisation_policies import best_of, learned, point, tilted_to
from .overoptimisation_report import write_report
from .overoptimisation_worlds import World, compare, fit_scores, make_world, proxies_of
from .studies import Study, Table, errors_of, give_or_take, interval

WORLD = {
    "tokens": 4,
    "steps": 5,
    "unary_scale": 0.0,
    "pair_scale": 0.0,
    "triple_scale": 1.0,
    "prior_temperature": 0.75,
}
FITTED: dict[str, Any] = {
    "comparisons": 300,
    "draws": 2,  # sets of comparisons of a world, each with an ensemble of its own
    "models": 5,
    "hidden": [64],
    "spread": 7.0,  # of the first weights
    "epochs": 40,
    "batch_size": 64,
    "learning_rate": 6e-3,
    "weight_decay": 0.01,
    "penalty": 1.0,
}
RL: dict[str, Any] = {
    "coef": "kl_coef",
    "steps": 30_000,
    "num_envs": 256,
    "n_steps": 5,
    "hidden": [64, 64],
    "critic_hidden": [64, 64],
    "learning_rate": 3e-3,
    "gamma": 1.0,
    "ent_coef": 0.0,
    "ent_coef_final": 0.0,
}
AGENT = "ppo"
CS = (1.0, 0.5, 0.25, 0.1)
TRAINED = 8  # worlds in which the agent is trained too: the first of those that are asked for
WORLDS = 60
LEARNED = ("single", "mean - variance")  # proxies that the agent is trained on, with the most mistakes
FLIPPED = (0.0, 0.25)
KLS = (0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 10.0)
NS = tuple(2**k for k in range(1, 14))
MIDDLE, END = 4.0, 10.0  # nats between which the gold reward must fall for the single model
PROXIES = ("single", "mean", "minimum", "mean - variance")
EXACT, BEST = "exact tilting", "best of n"
BAR = "mean - variance"  # the ensemble that must end above the single model


def measure_world(
    seed: int, world: dict[str, Any], fitted: dict[str, Any], rl: dict[str, Any] | None, flipped: list[float]
) -> list[dict[str, Any]]:
    """All curves of a world: a dict for each share of mistakes and proxy, of points [KL, gold, proxy] by way.

    Of several draws of comparisons the points are means; the agent is trained on the first, where `rl` is given.
    """
    made = make_world(seed, world)
    chances = [np.random.default_rng([seed, draw]) for _ in flipped for draw in range(fitted["draws"])]
    shares = np.repeat(flipped, fitted["draws"])
    asked = [
        compare(made, fitted["comparisons"], share, chance)
        for share, chance in zip(shares, chances, strict=True)
    ]
    pairs, first = (np.stack(part) for part in zip(*asked, strict=True))
    scores = fit_scores(made, pairs, first, fitted, seed)
    found = []
    for share in flipped:
        draws = [proxies_of(own, made.log_prior, fitted["penalty"]) for own in scores[shares == share]]
        for name in PROXIES:
            proxies = np.stack([draw[name] for draw in draws])
            entry = {"flipped": share, "proxy": name, **curves_of(made, proxies)}
            if rl is not None and name in LEARNED and share == max(flipped):
                entry[AGENT] = learned(made, proxies[0], CS, AGENT, rl, seed)
            found.append(entry)
    return found


def curves_of(world: World, proxies: Floats) -> dict[str, Any]:
    """Points by way, means over proxies float[D, S], and how far these agree with gold under the prior."""
    exact = [
        [point(policy, world, proxy) for policy in policies]
        for policies, proxy in zip(tilted_to(world.log_prior, proxies, KLS), proxies, strict=True)
    ]
    best = [[point(best_of(n, world.log_prior, proxy), world, proxy) for n in NS] for proxy in proxies]
    agreed = (proxies * world.gold) @ np.exp(world.log_prior)
    return {
        "correlation": float(agreed.mean()),
        EXACT: np.mean(exact, axis=0).tolist(),
        BEST: np.mean(best, axis=0).tolist(),
    }


def jobs(seeds: Sequence[int]) -> list[Job]:
    """A world a seed; those with an agent to train first."""
    shared = {"world": WORLD, "fitted": FITTED, "flipped": list(FLIPPED)}
    return [
        Job(
            f"world {seed}",
            f"{__name__}:measure_world",
            {"seed": seed, "rl": RL if number < TRAINED else None, **shared},
        )
        for number, seed in enumerate(seeds)
    ]


def tables(done: list[Done], out: Path) -> list[Table]:
    """What becomes of gold and proxy by the proxy, and how well the two forms fit; a picture and report.html."""
    fine, failed = [d.value for d in done if not d.error], errors_of(done)
    curves = collected(fine)
    found = [ends_table(curves), fits_table(curves)] if fine else []
    files = draw(curves, out) if fine else ()
    first = found[0] if found else Table("Over-optimisation", (), (), None)
    rest = found[1:]
    first = Table(
        **{**vars(first), "met": first.met and bool(fine) and not failed, "failed": failed, "files": files}
    )
    page = write_report([first, *rest], files, len(fine), out)
    return [Table(**{**vars(first), "files": (*files, page)}), *rest]


Curves = dict[tuple[float, str, str], Floats]  # by flipped, proxy and way: float[worlds, points, 3]


def collected(worlds: Sequence[list[dict[str, Any]]]) -> Curves:
    """The curves of all worlds together."""
    found: dict[tuple[float, str, str], list[Any]] = {}
    for world in worlds:
        for entry in world:
            for way in (EXACT, BEST, AGENT):
                if way in entry:
                    found.setdefault((entry["flipped"], entry["proxy"], way), []).append(entry[way])
    return {key: np.array(values) for key, values in found.items()}


def ends_table(curves: Curves) -> Table:
    """Gold and proxy at `MIDDLE` and `END` nats by exact tilting; the bars, each by the interval over worlds."""
    columns = (
        "flipped", "proxy", f"gold at {MIDDLE:g} nats", f"gold at {END:g} nats", f"proxy at {MIDDLE:g} nats",
        f"proxy at {END:g} nats", "gold falls by", "ends above single by",
    )  # fmt: skip
    middle, end = KLS.index(MIDDLE), KLS.index(END)
    rows, data, met = [], [], True
    for (flipped, name, way), points in curves.items():
        if way != EXACT:
            continue
        gold, proxy = points[..., 1], points[..., 2]
        falls = interval((gold[:, middle] - gold[:, end]).tolist())
        above = interval((gold[:, end] - curves[(flipped, "single", EXACT)][:, end, 1]).tolist())
        rises = interval((proxy[:, end] - proxy[:, middle]).tolist())
        noisy = flipped == max(FLIPPED)
        missed = (noisy and name == "single" and not (falls[1] > 0 and rises[1] > 0)) or (
            noisy and name == BAR and not above[1] > 0
        )
        met = met and not missed
        cells = [spread(interval(v[:, at].tolist())) for v in (gold, proxy) for at in (middle, end)]
        verdict = "" if name == "single" else spread(above)
        bar = "  MISSED" if missed else ""
        rows.append((f"{flipped:.0%}", name, *cells, spread(falls), verdict + bar))
        data.append(
            {
                "flipped": flipped, "proxy": name, "worlds": len(points), "falls": falls, "rises": rises,
                "above": above, "mean": points.mean(axis=0).tolist(), "missed": missed,
            }
        )  # fmt: skip
    title = "Maximised by exact tilting: gold and proxy, in deviations under the prior"
    return Table(title, columns, tuple(rows), data, met)


def fits_table(curves: Curves) -> Table:
    """Gao et al.'s two forms fitted to gold, the mean over worlds, of each way, proxy and share of mistakes."""
    columns = (
        "way",
        "flipped",
        "proxy",
        *(f"{name}: alpha, beta" for name in FORMS),
        *(f"R2 of {n}" for n in FORMS),
    )
    rows, data = [], []
    for (flipped, name, way), points in sorted(curves.items(), key=lambda item: (item[0][2], item[0][0])):
        mean = points.mean(axis=0)
        fits: dict[str, Fit] = {form: fit_form(form, mean[:, 0], mean[:, 1]) for form in FORMS}
        cells = [f"{fit.alpha:.3f}, {fit.beta:.3f}" for fit in fits.values()]
        rows.append((way, f"{flipped:.0%}", name, *cells, *(f"{fit.r2:.3f}" for fit in fits.values())))
        data.append(
            {"way": way, "flipped": flipped, "proxy": name, "fits": {k: vars(f) for k, f in fits.items()}}
        )
    return Table("Forms of Gao et al. 2022, d = sqrt(KL)", columns, tuple(rows), data)


def spread(found: tuple[float, float, float]) -> str:
    """Mean and half the 95 % interval over worlds."""
    return give_or_take(*found, 3)


OVER_OPTIMISATION = Study("over-optimisation", jobs, tables, seeds=WORLDS)
"""Gold reward against proxy over KL: exact tilting, best of n and ppo; single reward models and ensembles."""
