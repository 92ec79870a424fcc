"""Reward models: scores of whole episodes, fitted to comparisons."""
