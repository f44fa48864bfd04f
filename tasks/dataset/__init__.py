"""The rows to learn from: their sources, their columns and their split."""
