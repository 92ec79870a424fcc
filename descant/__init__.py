"""descant: reinforcement learning for sequence generation."""

import pkgutil

__path__ = pkgutil.extend_path(__path__, __name__)  # a checkout in the current folder must not hide the wings
