"""Metrics, and the protocols by which they are measured."""
