"""From requests to tasks with keys, and what they cost."""
