"""PPO in one file, in the manner of CleanRL: nothing of descant but its native vector environment.

Run it: python examples/ppo_in_one_file.py --total-timesteps 1000000
"""

from __future__ import annotations

import argparse

import gymnasium
import numpy as np
import torch
from torch import nn
from torch.nn.functional import log_softmax

import descant  # noqa: F401  it registers the environments

STEPS, EPOCHS, MINIBATCHES = 32, 4, 4
GAMMA, GAE_LAMBDA, CLIP, ENTROPY = 0.95, 0.95, 0.2, 0.02


class Policy(nn.Module):
    """Logits of all actions and a value from one observation."""

    def __init__(self, inputs: int, actions: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(inputs, 128), nn.Tanh(), nn.Linear(128, 128), nn.Tanh())
        self.actor, self.critic = nn.Linear(128, actions), nn.Linear(128, 1)

    def forward(self, observation, mask):
        """Log-probabilities [n, A], -1e9 where masked, and values [n]."""
        hidden = self.body(observation)
        return log_softmax(self.actor(hidden).masked_fill(~mask, -1e9), -1), self.critic(hidden).squeeze(-1)


def one_hot(observation, sizes):
    """Rows of whole numbers as rows of zeros and ones: float[n, sum of sizes]."""
    rows = np.zeros((len(observation), sizes.sum()), np.float32)
    rows[np.arange(len(rows))[:, None], observation + np.cumsum(sizes) - sizes] = 1.0
    return torch.from_numpy(rows)


def main(arguments: list[str] | None = None) -> None:
    """Collect, estimate advantages, update; print the mean return now and then."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--total-timesteps", type=int, default=1_000_000)
    parser.add_argument("--num-envs", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(arguments)
    n = chosen.num_envs
    torch.manual_seed(chosen.seed)
    envs = gymnasium.make_vec("descant/Counterpoint-v0", num_envs=n, autoreset_mode="SameStep")
    sizes = envs.single_observation_space.nvec

    policy = Policy(int(sizes.sum()), int(envs.single_action_space.n))
    adam = torch.optim.Adam(policy.parameters(), lr=1e-3, eps=1e-5)
    observation = one_hot(envs.reset(seed=chosen.seed)[0], sizes)
    returns, running = [], np.zeros(n)
    for update in range(1, max(chosen.total_timesteps // (STEPS * n), 1) + 1):
        kept = []
        for _ in range(STEPS):
            mask = torch.as_tensor(envs.unwrapped.action_masks())
            with torch.no_grad():
                log_probs, value = policy(observation, mask)
            action = torch.distributions.Categorical(logits=log_probs).sample()
            following, reward, terminated, truncated, _ = envs.step(action.numpy())
            done = (
                terminated | truncated
            )  # here episodes only ever terminate, so nothing is bootstrapped at an end
            running += reward
            returns += running[done].tolist()
            running[done] = 0.0
            chosen_log_prob = log_probs.gather(1, action[:, None]).squeeze(1)
            kept.append((observation, mask, action, chosen_log_prob, value,
                         torch.as_tensor(reward, dtype=torch.float32), torch.as_tensor(~done)))  # fmt: skip
            observation = one_hot(following, sizes)
        seen, masks, actions, before, values, rewards, alive = (
            torch.stack(column) for column in zip(*kept, strict=True)
        )
        with torch.no_grad():
            last = policy(observation, torch.as_tensor(envs.unwrapped.action_masks()))[1]
        advantages, gae = torch.zeros_like(rewards), torch.zeros(n)
        for t in reversed(range(STEPS)):
            after = values[t + 1] if t + 1 < STEPS else last
            delta = rewards[t] + GAMMA * after * alive[t] - values[t]
            gae = delta + GAMMA * GAE_LAMBDA * alive[t] * gae
            advantages[t] = gae
        data = [
            part.flatten(0, 1) for part in (seen, masks, actions, before, advantages, advantages + values)
        ]
        for _ in range(EPOCHS):
            for rows in torch.randperm(STEPS * n).chunk(MINIBATCHES):
                o, m, a, old, advantage, target = (part[rows] for part in data)
                log_probs, value = policy(o, m)
                ratio = (log_probs.gather(1, a[:, None]).squeeze(1) - old).exp()
                advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
                gain = torch.minimum(ratio * advantage, ratio.clamp(1 - CLIP, 1 + CLIP) * advantage).mean()
                entropy = -(log_probs.exp() * log_probs.clamp(min=-30)).sum(-1).mean()
                loss = 0.5 * (value - target).square().mean() - gain - ENTROPY * entropy
                adam.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(policy.parameters(), 0.5)
                adam.step()
        if update & (update - 1) == 0 and returns:
            print(f"step {update * STEPS * n:>9,}  mean return {np.mean(returns[-500:]):.3f}")


if __name__ == "__main__":
    main()
