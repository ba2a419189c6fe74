"""Sweeps: Optuna's storages, samplers and trials, and the driver that runs them."""
