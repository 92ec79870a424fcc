"""Policies: an encoder for the observation, a trunk, heads."""
