"""From requests to tasks with keys, and their costs."""
