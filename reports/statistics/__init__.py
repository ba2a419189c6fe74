"""Intervals and the bootstrap."""
