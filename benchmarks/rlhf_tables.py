"""The tables of `bench rlhf`: policies down, measures across; what groups think; pluralism three ways; the bars."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .jobs import Done
from .rlhf_settings import GROUPS, PRICE, ROUNDS
from .studies import Table, errors_of, give_or_take, interval

Value = Mapping[str, Any]
MEASURES = (
    ("comparisons", "comparisons", 0, 1),
    ("gold", "gold reward", 1, 1),
    ("preferred", "preferred to the prior, %", 1, 100),
    ("proxy", "proxy, above the prior", 2, 1),
    ("budget", "KL allowed", 2, 1),
    ("kl", "KL to the prior a step", 3, 1),
    ("log_p", "log p a step", 3, 1),
    ("distinct", "distinct, %", 1, 100),
    ("accuracy", "accuracy on the prior's pairs, %", 1, 100),
    ("accuracy_own", "on the policy's own, %", 1, 100),
)
MOST = 600  # comparisons
PREFERRED, POINTS = 0.8, 0.10  # of pairs; of accuracy
SET_ASIDE = f"no bar; at least {PREFERRED:g} before"


def values_of(done: Sequence[Done], work: str) -> dict[int, Value]:
    """What the jobs of one kind found, by seed."""
    found = [d for d in done if d.job.work.endswith(f":{work}") and not d.error]
    return {d.job.arguments["seed"]: d.value for d in found}


def cell(values: Sequence[float], digits: int, scale: int = 1) -> str:
    """Mean and half the 95 % interval; a dash where there is nothing."""
    return give_or_take(*interval([scale * value for value in values]), digits) if values else "-"


def policies_of(done: Sequence[Done], rounds: int) -> dict[str, dict[int, Value]]:
    """What was measured of each policy, by its name and the seed."""
    learned = values_of(done, "learned")
    made: dict[str, dict[int, Value]] = {"prior": values_of(done, "untuned")}
    for number in range(rounds):
        made[f"round {number + 1}"] = {seed: value["rounds"][number] for seed, value in learned.items()}
    again = {seed: value["first"] for seed, value in learned.items() if "first" in value}  # not in older data
    made["round 1's reward model, the last round's KL"] = again
    made["dpo, the same comparisons"] = {seed: value["dpo"] for seed, value in learned.items()}
    return made | {"rules alone, the gold reward": values_of(done, "by_rules")}


def rounds_table(done: Sequence[Done]) -> Table:
    """Policies down; the seeds together."""
    rows = []
    policies = policies_of(done, ROUNDS.rounds)
    for name, seeds in policies.items():
        own = seeds.values()
        cells = [cell([v[key] for v in own if key in v], digits, scale) for key, _, digits, scale in MEASURES]
        rows.append((name, str(len(seeds)), *cells))
    data = {
        name: {str(seed): {k: v for k, v in value.items() if k != "samples"} for seed, value in seeds.items()}
        for name, seeds in policies.items()
    }
    title = f"A teacher's taste in {ROUNDS.rounds} rounds; the KL must stay below {ROUNDS.kl_target:g} nats a step"
    failed = errors_of(done)
    columns = ("policy", "seeds", *(label for _, label, _, _ in MEASURES))
    return Table(title, columns, tuple(rows), data, not failed, failed)


def accuracy_table(done: Sequence[Done]) -> Table:
    """Of each kind of reward model on comparisons that were held out, and points over btl, seed by seed."""
    found = list(values_of(done, "disagreeing").values())
    rows, data = [], {}
    for kind in found[0]["accuracy"] if found else ():
        own = [value["accuracy"][kind] for value in found]
        over = [value["accuracy"][kind] - value["accuracy"]["btl"] for value in found]
        rows.append((kind, str(len(own)), cell(own, 1, 100), "" if kind == "btl" else cell(over, 1, 100)))
        data[kind] = own
    columns = ("reward model", "seeds", "accuracy, %", "points over btl")
    return Table("Three groups that disagree: reward models", columns, tuple(rows), data)


def steerable_table(done: Sequence[Done]) -> Table:
    """What each group thinks of its policy beside others, all with about the same KL."""
    found = list(values_of(done, "disagreeing").values())
    title = "Steerable, at the same KL: how often a group prefers the policy of its own z"
    return Table(title, *steered(found))


def priced_table(done: Sequence[Done]) -> Table:
    """The same of policies that all paid the same for a nat; with the KL that they came to."""
    found = list(values_of(done, "at_one_price").values())
    columns, rows, data = steered(found)
    kl = {name: cell([v["kl"][name] for v in found], 3) for name in (*GROUPS.groups, "btl")}
    told = [(*row, kl[row[0]]) for row in rows]
    told.append(("policy of btl", *("" for _ in columns[1:]), kl["btl"]))
    title = f"Steerable, at the same price, {PRICE:g} logits a nat: how often a group prefers the policy of its own z"
    return Table(title, (*columns, "KL a step"), tuple(told), data)


def reading_table(done: Sequence[Done]) -> Table:
    """The same of one policy that reads z; for somebody new of each group, too."""
    found = list(values_of(done, "reading").values())
    columns, rows, data = steered(found)
    told = [
        (
            *row,
            cell([v["newcomers"][row[0]] for v in found], 1, 100),
            cell([v["kl"][row[0]] for v in found], 3),
        )
        for row in rows
    ]
    blank = tuple("" for _ in columns)
    told.append(("policy of btl", *blank, cell([v["kl"]["btl"] for v in found], 3)))
    title = f"Steerable, one policy that reads z, {PRICE:g} logits a nat: how often a group prefers what is for it"
    columns = (*columns, "for a newcomer, over btl, %", "KL a step")
    facts = [{**one, "newcomers": v["newcomers"]} for one, v in zip(data, found, strict=True)]
    return Table(title, columns, tuple(told), facts)


def steered(found: Sequence[Value]) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...], list[Value]]:
    """Columns, rows and data: groups down, whose policies their own is preferred to across."""
    groups = list(GROUPS.groups)
    others = ("btl", "prior", *groups)
    rows = [
        (
            group,
            *(
                "" if other == group else cell([v["preferred"][group][other] for v in found], 1, 100)
                for other in others
            ),
        )
        for group in groups
    ]
    columns = ("group", *(f"over {'that of ' if o in groups else ''}{o}, %" for o in others))
    return columns, tuple(rows), [{"preferred": v["preferred"], "kl": v["kl"]} for v in found]


def plural_table(done: Sequence[Done]) -> Table:
    """Distributional and Overton."""
    found = list(values_of(done, "disagreeing").values())
    wanted = ", ".join(f"{100 * share:.0f}" for share in found[0]["wanted"]) if found else "-"
    rows = []
    for name, one in (("mixture", "one of each"), ("btl", "btl"), ("prior", "prior")):
        shares = [cell([v["reached"][name][i] for v in found], 1, 100) for i in range(len(GROUPS.groups))]
        distance, covered = [v["distance"][name] for v in found], [v["coverage"][one] for v in found]
        rows.append(
            (
                f"z mixed in the shares {wanted}" if name == "mixture" else name,
                *shares,
                cell(distance, 3),
                cell(covered, 1, 100),
            )
        )
    columns = (
        "policy",
        *(f"{g}, %" for g in GROUPS.groups),
        "distance of shares",
        "groups served by three, %",
    )
    return Table("Distributional and Overton", columns, tuple(rows), found)


def bars_table(done: Sequence[Done]) -> Table:
    """What must be reached, what was, and whether every seed that ran did."""
    learned, prior = values_of(done, "learned"), values_of(done, "untuned")
    groups = list(values_of(done, "disagreeing").values())
    rounds = [[value["rounds"][i] for value in learned.values()] for i in range(ROUNDS.rounds)]
    gold = [mean([v["gold"] for v in prior.values()])] + [mean([v["gold"] for v in own]) for own in rounds]
    every = [v for own in rounds for v in own]
    asked, kl = ([v[key] for v in every] for key in ("comparisons", "kl"))
    rows = [
        _bar("gold reward, the prior and round by round", gold, "each above the one before", _rises),
        _bar("comparisons asked", asked, f"at most {MOST}", lambda v: max(v) <= MOST, max),
        _bar(
            "KL a step of all rounds",
            kl,
            f"at most {ROUNDS.kl_target:g}",
            lambda v: max(v) <= ROUNDS.kl_target,
            max,
        ),
    ]
    vpl, dpl = ([v["accuracy"][kind] - v["accuracy"]["btl"] for v in groups] for kind in ("vpl", "dpl"))
    priced, read = (least_of(list(values_of(done, work).values())) for work in ("at_one_price", "reading"))
    rows += [
        _bar("accuracy of vpl over btl", vpl, f"at least {POINTS:g}", lambda v: mean(v) >= POINTS, mean),
        _bar(
            "accuracy of dpl over btl", dpl, "above 0, below vpl's", lambda v: 0 < mean(v) < mean(vpl), mean
        ),
        _bar(
            "policy of z preferred to btl's at the same price, the least group",
            priced,
            f"at least {PREFERRED:g}",
            lambda v: min(v) >= PREFERRED,
            min,
        ),
        _bar(
            "one policy that reads z, the least group",
            read,
            f"at least {PREFERRED:g}",
            lambda v: min(v) >= PREFERRED,
            min,
        ),
    ]
    equal = least_of(groups)
    rows.append(
        ("policy of z at the same KL, the least group", f"{min(equal):.3g}" if equal else "-", SET_ASIDE, "")
    )
    met = all(row[-1] != "MISSED" for row in rows)
    return Table("Bars", ("what", "reached", "must be", ""), tuple(rows), [list(row) for row in rows], met)


def least_of(found: Sequence[Value]) -> list[float]:
    """How often the group that prefers its own policy to that of btl least does, seed by seed."""
    return [min(v["preferred"][group]["btl"] for group in GROUPS.groups) for v in found]


def _bar(
    name: str,
    values: Sequence[float],
    goal: str,
    reached: Callable[[Sequence[float]], bool],
    summary: Callable[[Sequence[float]], float] | None = None,
) -> tuple[str, str, str, str]:
    """A row of the bars; nothing measured is missed."""
    fine = bool(values) and all(map(math.isfinite, values)) and reached(values)
    shown = (
        ", ".join(f"{v:.1f}" for v in values)
        if summary is None
        else f"{summary(values):.3g}"
        if values
        else "-"
    )
    return name, shown, goal, "met" if fine else "MISSED"


def _rises(values: Sequence[float]) -> bool:
    return all(before < after for before, after in itertools.pairwise(values))


def mean(values: Sequence[float]) -> float:
    """NaN of nothing."""
    return sum(values) / len(values) if values else math.nan
