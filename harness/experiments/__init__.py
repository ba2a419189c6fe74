"""Experiments, scales, studies, sweeps, claims, and requests for studies."""
