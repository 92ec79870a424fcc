"""An agent of descant's on an environment of Gymnasium's: PPO on CartPole, then SB3's own evaluation of it.

Run it: python examples/foreign_environment.py --total-timesteps 60000
"""

from __future__ import annotations

import argparse

import gymnasium
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor

import descant


def main(arguments: list[str] | None = None) -> None:
    """Train, save, load, evaluate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--env", default="CartPole-v1")
    parser.add_argument("--agent", default="ppo")
    parser.add_argument("--total-timesteps", type=int, default=60_000)
    parser.add_argument("--out", default="cartpole-agent")
    chosen = parser.parse_args(arguments)

    agent = descant.make_agent(chosen.agent, chosen.env, seed=0)
    agent.learn(chosen.total_timesteps).save(chosen.out)

    loaded = descant.load_agent(chosen.out)
    mean, deviation = evaluate_policy(loaded, Monitor(gymnasium.make(chosen.env)), n_eval_episodes=10)
    print(
        f"{chosen.agent} on {chosen.env}: mean return {mean:.1f} (deviation {deviation:.1f}) of 10 episodes"
    )


if __name__ == "__main__":
    main()
