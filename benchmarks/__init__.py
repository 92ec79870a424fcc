"""Benchmarks: suites, runner, speed, reports."""
