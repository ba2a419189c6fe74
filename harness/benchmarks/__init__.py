"""What `python -m harness.bench` measures."""
