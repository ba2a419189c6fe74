"""Frozen networks: where their weights are, what they do, what they cost."""
