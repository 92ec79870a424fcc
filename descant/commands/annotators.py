"""Policies for an annotator: runs tuned for one, and runs that read whom they are for.

Their reward is `preference` with the option `annotator`, a name, or `annotators`, several names or "all".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from descant.conditioning import Given, beneath, conditions_of
from descant.errors import DescantError, did_you_mean
from descant.makers import make_reward
from descant.runs.folders import CONFIG, RunFolder

EVERY = "all"
SHOWN = 12  # names in a message


def run_for(place: str, annotator: str, anybody: bool = False) -> str:
    """The run tuned for an annotator: `place` itself, or one of the runs in it; DescantError names those there are.

    With `anybody` it is the one that reads whom it is for, whoever that is.
    """
    folder = Path(place)
    places = [folder] if (folder / CONFIG).is_file() else sorted(p.parent for p in folder.glob(f"*/{CONFIG}"))
    found: dict[str, list[Path]] = {}
    for path in places:
        several, names = annotators_of(path)
        for name in [annotator] if anybody and several else names:
            found.setdefault(name, []).append(path)
    if not found:
        raise DescantError(
            f"{place} holds no run that was tuned for an annotator: descant train descant/Melody-v0 --set "
            f'\'reward={{"name": "preference", "path": "models/taste", "annotator": "{annotator}"}}\' makes one.'
        )
    if annotator not in found:
        raise DescantError(
            f"{place} has no run for the annotator {annotator!r}.{did_you_mean(annotator, found)}"
        )
    if len(found[annotator]) > 1:
        runs = ", ".join(map(str, found[annotator]))
        raise DescantError(f"Several runs were tuned for {annotator}: name one of {runs}.")
    return str(found[annotator][0])


def annotators_of(run: Path) -> tuple[bool, list[str]]:
    """Whether a run reads whom it is for, and for whom it can be; nobody where its reward asks for no one's taste."""
    reward = RunFolder.open(run).config.get("env_options", {}).get("reward")
    spec = _asking(reward)
    if spec is None:
        return False, []
    several = spec.get("annotators")
    if several is None:
        return False, [] if spec.get("annotator") is None else [str(spec["annotator"])]
    if several == EVERY:
        from descant.reward_models.saving import annotators_in  # loads torch, which --help can do without

        return True, annotators_in(spec["path"])
    return True, [several] if isinstance(several, str) else [str(name) for name in several]


def _asking(spec: Any) -> Mapping[str, Any] | None:
    """The part of a reward, in JSON, that is `preference` with somebody's taste; None where there is none."""
    if isinstance(spec, Mapping):
        if spec.get("name") == "preference":
            return spec if spec.get("annotator") or spec.get("annotators") else None
        spec = list(spec.values())
    if not isinstance(spec, list | tuple):
        return None
    return next((found for part in spec if (found := _asking(part)) is not None), None)


def for_annotator(
    agent: Any, options: Mapping[str, Any], annotator: str | None, store: str | None = None
) -> tuple[Any, dict[str, Any]]:
    """A policy that reads whom it is for, given the code of an annotator, and its environment's options for that taste.

    Any other policy stays as it is. With `store` the code is read off the annotator's judgements there, so that it may
    be of somebody whom the reward model has not met. DescantError where nobody is named.
    """
    if beneath(agent.observation_space) is None:
        if store is not None:
            raise DescantError("--store is for runs that read whom they are for: this one has one taste.")
        return agent, dict(options)
    spec = _asking(options["reward"])
    conditions = conditions_of(make_reward(options["reward"]))
    assert spec is not None
    assert conditions is not None
    if annotator is None:
        raise DescantError(
            f"This run composes for whom you name: pass --annotator, one of {listed(conditions.annotators)}."
        )
    code = conditions.of([annotator])[0] if store is None else code_in(store, annotator, spec["path"])
    kept = {name: value for name, value in spec.items() if name not in ("annotator", "annotators")}
    reward = _replaced(options["reward"], spec, kept | {"code": code.tolist()})
    return Given(agent, code), {**options, "reward": reward}


def listed(names: Sequence[str]) -> str:
    """Names in a row: the first of many, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _replaced(spec: Any, part: Any, other: Any) -> Any:
    """A reward in JSON with another in place of one of its parts."""
    if spec is part:
        return other
    if isinstance(spec, Mapping):
        return {name: _replaced(value, part, other) for name, value in spec.items()}
    return [_replaced(value, part, other) for value in spec] if isinstance(spec, list | tuple) else spec


def code_in(store: str, annotator: str, model: str) -> Any:
    """What a reward model reads off an annotator's judgements in a store: float64[M * D]; DescantError without any."""
    from descant.preferences.store import Store
    from descant.reward_models.comparisons import read_comparisons
    from descant.reward_models.saving import load_reward_model

    with Store(store) as opened:
        data, view, _ = read_comparisons(opened)
    if annotator not in data.names:
        raise DescantError(f"{store} has no judgement of {annotator!r}.{did_you_mean(annotator, data.names)}")
    saved = load_reward_model(model)
    saved.check_view(view)
    own = data.take((data.annotators == data.names.index(annotator)).nonzero()[:, 0])
    return saved.model.read_code(own).double().numpy()
