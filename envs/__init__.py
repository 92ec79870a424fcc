"""Environments: pure tasks, registered by name."""
