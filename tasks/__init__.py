"""How each step works: one file a noun, pure functions beneath thin Prefect tasks."""
