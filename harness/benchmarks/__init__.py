"""The measurements of `python -m harness.bench`."""
