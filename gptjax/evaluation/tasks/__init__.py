"""Tasks, one a file: `TASK`, or `TASKS`."""
