"""The rows to learn from: Boston housing, its download and its split."""
