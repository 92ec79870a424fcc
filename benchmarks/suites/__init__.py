"""Suites: task x agents x budget, as data."""
