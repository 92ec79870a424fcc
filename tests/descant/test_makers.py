"""Making, loading and listing what plugs in by name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import SyncVectorEnv

import descant
from descant.agents.reinforce import Reinforce
from descant.errors import DescantError
from descant.registry import agents, rewards
from descant.rewards.fux import Fux
from descant.runs import save_checkpoint
from descant.shells import TaskVectorEnv

from ..tiny_tasks import Echo

ID = "descant/Counterpoint-v0"
SMALL: dict[str, Any] = {"hidden": (8,), "critic_hidden": (8,)}


def test_an_agent_is_made_on_an_id_a_single_or_a_vector_environment() -> None:
    assert descant.make_agent("reinforce", ID, num_envs=3, **SMALL).env.num_envs == 3  # type: ignore[union-attr]
    single = gymnasium.make(ID, cantus="dorian")
    on_single = descant.make_agent("reinforce", single, **SMALL).env
    assert isinstance(on_single, SyncVectorEnv)
    assert on_single.num_envs == 1
    assert on_single.envs[0] is single
    vector = TaskVectorEnv(Echo(), 2)
    assert descant.make_agent("random", vector).env is vector
    with pytest.raises(DescantError, match="dict is no environment: give an id, an Env or a VectorEnv"):
        descant.make_agent("random", {})


def test_an_unknown_agent_or_reward_gets_a_guess() -> None:
    with pytest.raises(DescantError, match=r"Unknown agent 'reinfroce'\. Did you mean 'reinforce'\?"):
        descant.make_agent("reinfroce", ID)
    with pytest.raises(DescantError, match=r"Unknown reward 'fuks'\. Did you mean 'fux'\?"):
        descant.make_reward("fuks")


def test_agents_and_rewards_are_listed() -> None:
    assert {"random", "exact", "reinforce", "sb3/ppo"} <= set(descant.list_agents())
    assert "fux" in descant.list_rewards()
    assert descant.list_agents() == sorted(descant.list_agents())


def test_ones_own_agent_and_reward_join_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agents, "_entries", dict(agents._entries))
    monkeypatch.setattr(rewards, "_entries", dict(rewards._entries))

    class Mine(Reinforce):
        name = "mine"

    class Silent(Fux):
        name = "silent"

    descant.register_agent("mine", Mine)
    descant.register_reward("silent", Silent)
    assert isinstance(descant.make_agent("mine", TaskVectorEnv(Echo(), 2), **SMALL), Mine)
    assert isinstance(descant.make_reward("silent"), Silent)
    assert "mine" in descant.list_agents()
    with pytest.raises(DescantError, match="already registered"):
        descant.register_agent("reinforce", Mine)


def test_module_and_attribute_make_an_agent() -> None:
    made = descant.make_agent("descant.agents.reinforce:Reinforce", TaskVectorEnv(Echo(), 2), **SMALL)
    assert isinstance(made, Reinforce)


def test_a_reward_is_made_by_name_by_options_or_is_one_already() -> None:
    fux = descant.make_reward("fux")
    assert isinstance(fux, Fux)
    assert descant.make_reward(fux) is fux
    made = descant.make_reward({"name": "fux", "weights": {"step": 0.0}})
    assert isinstance(made, Fux)
    assert made.costs["step"] == 0.0
    with pytest.raises(DescantError, match="A reward needs a 'name': one of bleu, chrf, fux"):
        descant.make_reward({"weights": {}})


@pytest.mark.parametrize("how", ["id", "single", "vector"])
def test_a_checkpoint_says_which_environment_it_was_trained_on(tmp_path: Path, how: str) -> None:
    options = {"cantus": "dorian", "mask": "rules"}
    env = {
        "id": lambda: ID,
        "single": lambda: gymnasium.make(ID, **options),
        "vector": lambda: gymnasium.make_vec(
            ID, num_envs=2, autoreset_mode="SameStep", max_episode_steps=5, **options
        ),
    }[how]()
    agent = descant.make_agent("reinforce", env, **SMALL)
    agent.save(tmp_path / "last")
    loaded = descant.load_agent(tmp_path / "last")
    assert loaded.manifest()["env"] == {"id": ID, "kwargs": {} if how == "id" else options}
    seen, _ = TaskVectorEnv(ID, 1, **options).reset(seed=0)
    np.testing.assert_array_equal(loaded.masks_for(seen), agent.masks_for(seen))
    assert loaded.masks_for(seen) is not None


def test_an_environment_made_by_hand_has_no_record(tmp_path: Path) -> None:
    agent = descant.make_agent("reinforce", TaskVectorEnv(Echo(), 2), **SMALL)
    assert agent.manifest()["env"] is None
    assert agent.masks_for(np.zeros(2, np.int64)) is None
    agent.save(tmp_path / "last")
    assert descant.load_agent(tmp_path / "last").manifest()["env"] is None


def test_observations_that_a_wrapper_changed_have_no_mask() -> None:
    env = gymnasium.wrappers.vector.FlattenObservation(gymnasium.make_vec(ID, num_envs=2))
    agent = descant.make_agent("reinforce", env, **SMALL)
    seen, _ = env.reset(seed=0)
    assert agent.masks_for(seen) is None
    assert agent.predict(seen)[0].shape == (2,)


def test_what_is_no_agents_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DescantError, match="nothing"):
        descant.load_agent(tmp_path / "nothing")
    save_checkpoint(tmp_path / "other", {}, {}, {})
    with pytest.raises(DescantError, match=r"other holds no agent: give the folder of a run"):
        descant.load_agent(tmp_path / "other")
    with pytest.raises(DescantError, match="other holds agent None, not 'reinforce'"):
        Reinforce.load(tmp_path / "other")


def test_importing_descant_registers_its_environments() -> None:
    code = f"import gymnasium, descant; print(gymnasium.spec({ID!r}).id)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ID
