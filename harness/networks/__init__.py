"""Frozen networks: their weights, their roles and their costs."""
