"""Stable-Baselines3's PPO, as it is, learns counterpoint and writes a line against Fux's dorian cantus firmus.

Run it: python examples/compose_with_sb3.py --total-timesteps 1000000
"""

from __future__ import annotations

import argparse

import gymnasium
from stable_baselines3 import PPO

import descant  # noqa: F401  it registers the environments
from descant.evaluation import anchors
from descant.shells import SB3VecEnv


def main(arguments: list[str] | None = None) -> None:
    """Train on generated cantus firmi, compose on one that was never seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--total-timesteps", type=int, default=1_000_000)
    parser.add_argument("--num-envs", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(arguments)

    envs = gymnasium.make_vec(
        "descant/Counterpoint-v0", num_envs=chosen.num_envs, autoreset_mode="SameStep", cantus="generated"
    )
    model = PPO("MlpPolicy", SB3VecEnv(envs), n_steps=128, batch_size=1024, seed=chosen.seed, verbose=1)
    model.learn(chosen.total_timesteps)

    env = gymnasium.make("descant/Counterpoint-v0", cantus="dorian", position="above", render_mode="ansi")
    observation, info = env.reset()
    total, ended = 0.0, False
    while not ended:
        action, _ = model.predict(observation, deterministic=True)
        observation, reward, ended, _, info = env.step(action)
        total += float(reward)
    score = anchors(env.unwrapped.task).score(total)[0]
    print(env.render())
    print(f"score {score:.3f} (0 is chance, 1 the exact optimum), {info['metrics']['errors']:.0f} errors")


if __name__ == "__main__":
    main()
