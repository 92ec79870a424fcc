"""What ships with descant, by name: lazy strings alone, so that nothing is imported before it is used."""

from __future__ import annotations

from descant.registry import agents, commands, rewards, suites, tasks

ENVIRONMENTS = {
    "descant/Counterpoint-v0": "descant.envs.counterpoint:Counterpoint",
    "descant/Tokens-v0": "descant.envs.tokens:Tokens",
    "descant/GridWorld-v0": "descant.envs.gridworld:GridWorld",
    "descant/Melody-v0": "descant.envs.melody:Melody",
    "descant/Translation-v0": "descant.envs.translation:Translation",
}

# Steps after which Gymnasium truncates an episode, where a task may never end of itself.
MAX_EPISODE_STEPS = {
    "descant/GridWorld-v0": 100,
}

AGENTS = {
    "random": "descant.agents.random:Random",
    "exact": "descant.agents.exact:Exact",
    "exact-kl": "descant.agents.exact_kl:ExactKL",
    "value-iteration": "descant.agents.value_iteration:ValueIteration",
    "q-learning": "descant.agents.q_learning:QLearning",
    "fitted-q": "descant.agents.fitted_q:FittedQ",
    "sarsa": "descant.agents.sarsa:Sarsa",
    "policy-iteration": "descant.agents.policy_iteration:PolicyIteration",
    "reinforce": "descant.agents.reinforce:Reinforce",
    "actor-critic": "descant.agents.actor_critic:ActorCritic",
    "ppo": "descant.agents.ppo:PPO",
    "rloo": "descant.agents.rloo:RLOO",
    "grpo": "descant.agents.grpo:GRPO",
    "mixer": "descant.agents.mixer:Mixer",
    "mrt": "descant.agents.mrt:MRT",
    "vine": "descant.agents.vine:Vine",
    "dqn": "descant.agents.dqn:DQN",
    "bc": "descant.agents.bc:BC",
    "dagger": "descant.agents.dagger:Dagger",
    "psi": "descant.agents.psi:Psi",
    "g": "descant.agents.g:G",
    "kl-q": "descant.agents.kl_q:KLQ",
    "em": "descant.agents.em:EM",
    "dpo": "descant.agents.dpo:DPO",
    "off-policy-ac": "descant.agents.off_policy_ac:OffPolicyAC",
    "sb3/ppo": "descant.agents.sb3:PPO",
    "sb3/a2c": "descant.agents.sb3:A2C",
    "sb3/dqn": "descant.agents.sb3:DQN",
    "sb3/maskable-ppo": "descant.agents.sb3:MaskablePPO",
}

REWARDS = {
    "fux": "descant.rewards.fux:Fux",
    "rl-tuner": "descant.rewards.rl_tuner:RLTuner",
    "sum": "descant.rewards.sums:WeightedSum",
    "bleu": "descant.rewards.bleu:Bleu",
    "chrf": "descant.rewards.chrf:Chrf",
    "length": "descant.rewards.length:Length",
    "repetition": "descant.rewards.repetition:Repetition",
    "shaped": "descant.rewards.shaped:Shaped",
    "preference": "descant.rewards.preference:Preference",
}

COMMANDS = {
    "list": "descant.commands.list:List",
    "pretrain": "descant.commands.pretrain:Pretrain",
    "train": "descant.commands.train:Train",
    "evaluate": "descant.commands.evaluate:Evaluate",
    "compose": "descant.commands.compose:Compose",
    "translate": "descant.commands.translate:Translate",
    "check": "descant.commands.check:Check",
    "solve": "descant.commands.solve:Solve",
    "prefs": "descant.commands.prefs:Prefs",
    "bench": "descant.benchmarks.command:Bench",
    "report": "descant.benchmarks.command:Report",
}

SUITES = {
    "quick": "descant.benchmarks.suites.quick:QUICK",
    "full": "descant.benchmarks.suites.full:FULL",
    "regret": "descant.benchmarks.regret:REGRET",
    "classic": "descant.benchmarks.classic:CLASSIC",
    "counterpoint": "descant.benchmarks.counterpoint:COUNTERPOINT",
    "kl-control": "descant.benchmarks.kl_control:KL_CONTROL",
    "imitation": "descant.benchmarks.imitation:IMITATION",
    "over-optimisation": "descant.benchmarks.overoptimisation:OVER_OPTIMISATION",
    "rl-tuner": "descant.benchmarks.rl_tuner:RL_TUNER",
    "preferences": "descant.benchmarks.preferences:PREFERENCES",
    "rlhf": "descant.benchmarks.rlhf:RLHF",
    "translation": "descant.benchmarks.translation:TRANSLATION",
    "speed": "descant.benchmarks.speed:SPEED",
}


def register_builtins() -> None:
    """Fill the registries and tell Gymnasium of the environments."""
    import gymnasium

    for registry, entries in (
        (agents, AGENTS),
        (rewards, REWARDS),
        (tasks, ENVIRONMENTS),
        (commands, COMMANDS),
        (suites, SUITES),
    ):
        for name, target in entries.items():
            registry.register(name, target)
    for name in ENVIRONMENTS:
        if name not in gymnasium.registry:
            gymnasium.register(
                id=name,
                entry_point="descant.shells:TaskEnv",
                vector_entry_point="descant.shells:TaskVectorEnv",
                max_episode_steps=MAX_EPISODE_STEPS.get(name),
                kwargs={"task": name},
                order_enforce=True,
            )
