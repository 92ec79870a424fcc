"""An agent and a reward that descant finds by their entry points."""
