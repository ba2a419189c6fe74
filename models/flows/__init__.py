"""Flow matching: path, objective, guidance, samplers."""
