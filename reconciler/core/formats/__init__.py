"""Plan, state and recovery files: how they are written and read."""
