"""Reward modules: pure functions over transitions, with explanations."""
