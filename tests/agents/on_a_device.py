"""What each agent of networks is trained on, on the processor and on a pretended device, to be compared.

A program: names of cases as arguments, or none for all; a line of JSON for each.
"""

from __future__ import annotations

import json
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from torch.utils._python_dispatch import _disable_current_modes

import descant
from descant.agent import Agent, make_config
from descant.registry import agents
from descant.text.decoding import beam, greedy, minimum_bayes_risk
from descant.text.examples import examples_of
from descant.text.pairs import load_pairs

TOKENS: dict[str, Any] = {"id": "descant/Tokens-v0", "tokens": 3, "steps": 3}
COUNTERPOINT: dict[str, Any] = {"id": "descant/Counterpoint-v0", "cantus": "D4 F4 E4 D4"}
DATA: dict[str, Any] = {"size": 40, "max_words": 4}
TRANSLATION: dict[str, Any] = {"id": "descant/Translation-v0", **DATA}
CARTPOLE: dict[str, Any] = {
    "id": "CartPole-v1",
    "max_episode_steps": 7,
    "vectorization_mode": "sync",
    "vector_kwargs": {"autoreset_mode": AutoresetMode.SAME_STEP},
}

PLAIN: dict[str, Any] = {"hidden": (8, 8)}
LSTM: dict[str, Any] = {"hidden": (8, 8), "recurrent": True}
MEMORY: dict[str, Any] = {"hidden": (8, 8), "recurrent": True, "trunk": "transformer"}
GRU: dict[str, Any] = {"hidden": (8, 16), "recurrent": True, "trunk": "gru"}
TRANSFORMER: dict[str, Any] = {"hidden": (16, 16), "recurrent": True, "trunk": "transformer"}
CRITIC: dict[str, Any] = {"critic_hidden": (8, 8)}
REPLAY: dict[str, Any] = {"learning_starts": 8, "batch_size": 8, "gradient_steps": 2, "buffer_size": 500}
PIECES: dict[str, Any] = {**REPLAY, "sequence_length": 4, "burn_in": 2}
STEPS: dict[str, Any] = {"n_steps": 4}
EPOCHS: dict[str, Any] = {"n_steps": 4, "n_epochs": 1}
NEAR: dict[str, Any] = {"prior": "BEGUN", "kl_coef": 0.1, "kl_target": 0.05}
HELD: dict[str, Any] = {"init": "BEGUN", "penalty": "l2-sp"}
KEPT: dict[str, Any] = {"init": "BEGUN", "penalty": "ewc", "fisher_states": 2}

# Without BLEU all returns are alike but for rounding: not to be divided by their deviation.
CRITICAL: dict[str, Any] = {"baseline": "self-critical", "normalize_advantage": False, "temperature": 0.5}

# Agent, environment, options; BEGUN is a run of reinforce with the same network. A network that drops draws otherwise
# on a device, and nothing is cast on a pretended one, so what comes of these is not compared.
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "reinforce": ("reinforce", TOKENS, {**PLAIN, **CRITIC, "updates": 2}),
    "reinforce-near": ("reinforce", TOKENS, {**PLAIN, **CRITIC, **NEAR, **KEPT, "baseline": "mean"}),
    "reinforce-lstm": ("reinforce", COUNTERPOINT, {**LSTM, **CRITIC, **NEAR}),
    "reinforce-transformer": ("reinforce", COUNTERPOINT, {**MEMORY, **CRITIC, **KEPT}),
    "reinforce-translates": (
        "reinforce",
        TRANSLATION,
        {**GRU, **CRITIC, **NEAR, **HELD, **CRITICAL, "xent_coef": 0.1},
    ),
    "actor-critic": ("actor-critic", TOKENS, {**PLAIN, **STEPS, "shared": True, "prior": "uniform"}),
    "actor-critic-lstm": ("actor-critic", COUNTERPOINT, {**LSTM, **CRITIC, **STEPS, **NEAR}),
    "actor-critic-references": (
        "actor-critic",
        TRANSLATION,
        {**GRU, **NEAR, "critic_hidden": (8, 16), "critic_sees": "reference", "collect": "episodes"},
    ),
    "ppo": ("ppo", CARTPOLE, {**PLAIN, **CRITIC, **EPOCHS}),
    "ppo-lstm": ("ppo", COUNTERPOINT, {**LSTM, **CRITIC, **EPOCHS, **HELD, "minibatch_size": 8}),
    "ppo-lstm-at-once": ("ppo", CARTPOLE, {**LSTM, **CRITIC, **EPOCHS}),
    "ppo-translates": (
        "ppo",
        TRANSLATION,
        {**TRANSFORMER, **EPOCHS, **NEAR, "critic_hidden": (8, 16), "target_kl": 0.01},
    ),
    "rloo": ("rloo", TRANSLATION, {**GRU, **NEAR, "group_size": 4, "kl_in": "loss", "ent_coef": 0.1}),
    "rloo-lstm": ("rloo", COUNTERPOINT, {**LSTM, "group_size": 4}),
    "grpo": ("grpo", TOKENS, {**PLAIN, **NEAR, "group_size": 4, "minibatches": 2}),
    "grpo-translates": ("grpo", TRANSLATION, {**TRANSFORMER, "group_size": 4, "epochs": 2}),
    "mrt": ("mrt", TRANSLATION, {**TRANSFORMER, "group_size": 4, "reference": True}),
    "mixer": ("mixer", TRANSLATION, {**GRU, **NEAR, "anneal": 0.2, "normalize_advantage": True}),
    "vine": ("vine", TOKENS, {**PLAIN, **NEAR}),
    "vine-lstm": ("vine", COUNTERPOINT, {**LSTM}),
    "vine-translates": ("vine", TRANSLATION, {**GRU}),
    "vine-translates-transformer": ("vine", TRANSLATION, {**TRANSFORMER}),
    "dqn": ("dqn", TOKENS, {**PLAIN, **REPLAY, "prioritized": True}),
    "dqn-dueling": ("dqn", CARTPOLE, {**PLAIN, **REPLAY, "dueling": True, "exploration": "boltzmann"}),
    "dqn-hard": ("dqn", COUNTERPOINT, {**PLAIN, **REPLAY, "double": False, "target": "hard"}),
    "dqn-lstm": ("dqn", COUNTERPOINT, {**LSTM, **PIECES}),
    "kl-q": ("kl-q", TOKENS, {**PLAIN, **REPLAY, "prior": "BEGUN", "exploration": "epsilon-greedy"}),
    "psi": ("psi", TOKENS, {**PLAIN, **REPLAY, "prior": "task"}),
    "psi-lstm": ("psi", COUNTERPOINT, {**LSTM, **PIECES, "prior": "BEGUN"}),
    "g-transformer": ("g", COUNTERPOINT, {**MEMORY, **PIECES, "prior": "BEGUN"}),
    "off-policy-ac": ("off-policy-ac", TOKENS, {**PLAIN, **REPLAY}),
    "off-policy-ac-lstm": ("off-policy-ac", COUNTERPOINT, {**LSTM, **PIECES}),
    "fitted-q": ("fitted-q", TOKENS, {**PLAIN, "updates": 4, "rounds": 2, "batch_size": 8}),
    "bc": ("bc", TOKENS, {**PLAIN, "episodes": 16, "scheduled_sampling": 0.5}),
    "bc-transformer": ("bc", COUNTERPOINT, {**MEMORY, "teacher": "BEGUN", "episodes": 16}),
    "bc-translates": (
        "bc",
        TRANSLATION,
        {**GRU, "data": "FILE", "scheduled_sampling": 0.9, "label_smoothing": 0.1, "patience": 1},
    ),
    "bc-drops": ("bc", TRANSLATION, {**TRANSFORMER, "data": "FILE", "dropout": 0.3, "precision": "bfloat16"}),
    "dagger": ("dagger", TOKENS, {**PLAIN, "updates": 2, "beta": 0.5}),
    "dagger-lstm": ("dagger", COUNTERPOINT, {**LSTM, "updates": 2, "teacher": "BEGUN"}),
    "em": ("em", TOKENS, {**PLAIN, "filter": 0.5, "init": "BEGUN"}),
    "em-translates": ("em", TRANSLATION, {**GRU, "epochs": 2}),
    "dpo": ("dpo", TOKENS, {**PLAIN, "prior": "BEGUN", "comparisons": "PAIRS", "patience": 1}),
    "sb3-ppo": ("sb3/ppo", TOKENS, {**PLAIN, **STEPS, "batch_size": 8, "n_epochs": 2}),
    "sb3-a2c": ("sb3/a2c", TOKENS, {**PLAIN, **STEPS}),
    "sb3-dqn": ("sb3/dqn", TOKENS, {**PLAIN, "learning_starts": 8, "batch_size": 8, "buffer_size": 500}),
}
DRAWN_OTHERWISE = {"bc-drops"}
ROWS = 4
UPDATES = 2


def environment(options: dict[str, Any]) -> Any:
    """The vector environment of a case."""
    named = dict(options)
    return gymnasium.make_vec(named.pop("id"), num_envs=ROWS, **named)


def pairs_of(env: Any) -> Any:
    """All sequences of tokens in pairs, the better one preferred."""
    from descant.preferences.comparisons import ClipComparisons
    from descant.preferences.records import Clip

    sequences, returns, _ = env.unwrapped.task.sequences()
    clips = tuple(Clip(TOKENS["id"], {}, tuple(map(int, s)), "model") for s in sequences[:6])
    pairs = np.array([(a, b) for a in range(6) for b in range(a)])
    return ClipComparisons(clips, pairs, (returns[pairs[:, 0]] > returns[pairs[:, 1]]).astype(float))


def prepared(name: str, folder: Path, device: str) -> dict[str, Any]:
    """The options of a case, with the files that they name made."""
    _, where, config = CASES[name]
    options = dict(config)
    folder.mkdir(exist_ok=True)
    for option, value in config.items():
        if value == "BEGUN":
            options[option] = str(folder / f"begun-{name}")
        elif value == "FILE":
            options[option] = str(folder / "pairs.safetensors")
            pairs = load_pairs(split="train", **DATA)
            examples_of(pairs, pairs.max_words + 1).save(options[option])
        elif value == "PAIRS":
            options[option] = pairs_of(environment(where))
    if "BEGUN" in config.values() and not (folder / f"begun-{name}").exists():
        form = {k: config[k] for k in ("hidden", "recurrent", "trunk") if k in config}
        more = {"device": device} if device != "cpu" else {}
        begun = descant.make_agent("reinforce", environment(where), baseline="mean", seed=5, **form, **more)
        begun.save(folder / f"begun-{name}")
    return options


def trained(name: str, folder: Path, device: str = "cpu") -> Agent:
    """The agent of a case after a few updates."""
    agent, where, _ = CASES[name]
    options = prepared(name, folder, device) | ({"device": device} if device != "cpu" else {}) | {"seed": 3}
    env = environment(where)
    # num_envs only counts where an agent makes its environment.
    kind = agents.get(agent)
    more = {"num_envs": ROWS} if "num_envs" in kind.Config.__dataclass_fields__ else {}
    made = kind(env, make_config(kind, options | more))
    total = (
        64 if agent in ("fitted-q", "ppo", "actor-critic", "sb3/ppo", "sb3/a2c", "sb3/maskable-ppo") else 100
    )
    count = 0

    def enough(agent: Agent) -> bool:
        nonlocal count
        count += 1
        return count < (6 if "buffer_size" in options else UPDATES)

    return made.learn(total if "buffer_size" not in options else 400, callback=enough)


def numbers_of(agent: Agent) -> dict[str, Any]:
    """All that a checkpoint holds, and the policy for some observations."""
    held = {k: torch.as_tensor(v).detach().cpu().numpy() for k, v in agent.parts().weights.items()}
    env = agent.env
    assert env is not None
    seen, _ = env.reset(seed=1)
    reader = getattr(env, "action_masks", None)
    masks = None if reader is None else reader()
    held["log_probs"] = agent.log_probs(seen, None, masks)
    return held


def compared(name: str, folder: Path) -> dict[str, Any]:
    """How far a case on the pretended device is from the same on the processor, and the same agent loaded there."""
    # SB3 moves networks whose optimisers are made: parameters must stay the same objects, as they do on CUDA.
    torch.__future__.set_swap_module_params_on_conversion(CASES[name][0].startswith("sb3/"))
    far = trained(name, folder, "cuda")
    with _disable_current_modes():
        near = trained(name, folder / "near")
    there = {str(p.device) for network in networks_of(far) for p in network.parameters()}
    found, wanted = numbers_of(far), numbers_of(near)
    apart = {k: apart_by(found[k], wanted[k]) for k in wanted}
    far.save(folder / "saved")
    loaded = descant.load_agent(folder / "saved", env=far.env, device="cpu")
    again = apart_by(numbers_of(loaded)["log_probs"], found["log_probs"])
    on = descant.load_agent(folder / "saved", env=far.env, device="cuda")
    before = on.num_timesteps
    if "comparisons" in CASES[name][2]:
        on.comparisons = pairs_of(on.env)  # type: ignore[attr-defined]
    on.learn(before + 60, callback=lambda agent: False)
    return {
        "devices": sorted(there),
        "loaded_on": str(next(networks_of(loaded)[0].parameters()).device),
        "same_names": sorted(found) == sorted(wanted),
        "apart": max(apart.values()),
        "where": max(apart, key=lambda k: apart[k]),
        "loaded_apart": again,
        "translates_alike": translated(far) == translated(loaded),
        "went_on": on.num_timesteps > before or getattr(on, "finished", False),
    }


def translated(agent: Any) -> Any:
    """What an agent translates greedily and by a beam; None of one that does not translate."""
    network = networks_of(agent)[0]
    if not getattr(network, "cached", False):
        return None
    task = agent.env.unwrapped.task
    where = (network, task.pairs.sources[:4], task.max_steps)
    minimum_bayes_risk(*where, samples=2)
    return greedy(*where).tokens, beam(*where, width=3).tokens


def networks_of(agent: Any) -> list[Any]:
    """All of an agent's, SB3's too."""
    return list(agent.networks.values()) if hasattr(agent, "networks") else [agent.model.policy]


def apart_by(one: Any, two: Any) -> float:
    """The largest difference of two arrays, of what is no number none; infinite where they differ in shape."""
    if one.shape != two.shape:
        return float("inf")
    return float(np.abs(np.nan_to_num(one.astype(float)) - np.nan_to_num(two.astype(float))).max(initial=0.0))


if __name__ == "__main__":
    from ..pretended import pretended

    with pretended():
        for case in sys.argv[1:] or list(CASES):
            with tempfile.TemporaryDirectory() as made:
                try:
                    said = compared(case, Path(made))
                except Exception as error:
                    where = [
                        line
                        for line in traceback.format_exc().splitlines()
                        if "/descant/" in line or "/agents/" in line
                    ]
                    said = {"error": "\n".join([str(error)[:400], *where])}
                print(json.dumps({"case": case, **said}), flush=True)
