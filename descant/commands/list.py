"""`descant list`."""

from __future__ import annotations

import dataclasses

from descant.commands.output import print_json
from descant.registry import Registry, agents, rewards, suites, summary, tasks


@dataclasses.dataclass
class List:
    """List environments, agents, rewards and suites, third parties' included.

    Example: descant list --json
    """

    json: bool = False
    """Print JSON."""

    def run(self) -> int:
        """Print what there is."""
        kinds = {"environments": tasks, "agents": agents, "rewards": rewards, "suites": suites}
        found = {kind: _summaries(registry) for kind, registry in kinds.items()}
        if self.json:
            print_json(found)
            return 0
        for kind, entries in found.items():
            print(f"{kind}:")
            for name, text in entries.items():
                print(f"  {name:<26} {text}")
        return 0


def _summaries(registry: Registry[object]) -> dict[str, str]:
    return {name: summary(registry, name) for name in registry.names()}
