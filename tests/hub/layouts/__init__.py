"""What several released layouts share in tests: random tensors by their names, and small networks from formulas."""
