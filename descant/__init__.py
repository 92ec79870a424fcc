"""descant: reinforcement learning for sequence generation, as Gymnasium environments.

`import descant` registers the environments, so that `gymnasium.make("descant/Counterpoint-v0")` works.
"""

import pkgutil

__path__ = pkgutil.extend_path(__path__, __name__)  # a checkout in the current folder must not hide the wings

from descant.catalogue import register_builtins
from descant.makers import (
    list_agents,
    list_rewards,
    load_agent,
    make_agent,
    make_reward,
    register_agent,
    register_reward,
)
from descant.version import __version__

register_builtins()

__all__ = [
    "__version__",
    "list_agents",
    "list_rewards",
    "load_agent",
    "make_agent",
    "make_reward",
    "register_agent",
    "register_reward",
]
