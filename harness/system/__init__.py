"""What the machine offers and every package may use: files, signals, processes, environment, randomness."""
