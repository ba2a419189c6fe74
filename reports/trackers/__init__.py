"""Curves and numbers of a store for TensorBoard and for Weights & Biases; the truth stays in the store."""
