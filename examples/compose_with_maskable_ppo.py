"""sb3-contrib's MaskablePPO, as it is, learns counterpoint and is only offered what Fux's hard rules allow next.

Run it: python examples/compose_with_maskable_ppo.py --total-timesteps 300000
"""

from __future__ import annotations

import argparse

import gymnasium
from sb3_contrib import MaskablePPO

import descant  # noqa: F401  it registers the environments
from descant.evaluation import anchors
from descant.shells import SB3VecEnv


def main(arguments: list[str] | None = None) -> None:
    """Train on generated cantus firmi with action masks, compose on one that was never seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--total-timesteps", type=int, default=300_000)
    parser.add_argument("--num-envs", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(arguments)

    envs = gymnasium.make_vec(
        "descant/Counterpoint-v0", num_envs=chosen.num_envs, autoreset_mode="SameStep", mask="rules"
    )
    # SB3VecEnv has action_masks(), which is all that MaskablePPO asks for.
    model = MaskablePPO("MlpPolicy", SB3VecEnv(envs), n_steps=32, batch_size=512, seed=chosen.seed)
    model.learn(chosen.total_timesteps)

    env = gymnasium.make("descant/Counterpoint-v0", cantus="dorian", position="above", mask="rules",
                         render_mode="ansi")  # fmt: skip
    observation, info = env.reset()
    total, ended = 0.0, False
    while not ended:
        masks = info["action_mask"].astype(bool)
        action, _ = model.predict(observation, deterministic=True, action_masks=masks)
        observation, reward, ended, _, info = env.step(action)
        total += float(reward)
    print(env.render())
    print(f"score {anchors(env.unwrapped.task).score(total)[0]:.3f}, {info['metrics']['errors']:.0f} errors")


if __name__ == "__main__":
    main()
