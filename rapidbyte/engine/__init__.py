"""Runs a plan. Knows ports only: no adapter, no driver, no YAML."""
