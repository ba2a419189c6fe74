"""Executors: where tasks run, one file each. They know tasks and their dependencies, nothing of tokenizers."""
