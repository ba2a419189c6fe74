"""Networks of tokenizers, and their bottlenecks."""
