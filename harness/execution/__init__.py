"""Where tasks run: executors, jobs and the worker that runs one task."""
