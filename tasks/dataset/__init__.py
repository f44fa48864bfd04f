"""The rows to learn from: their sources, what they must be, their snapshot in the store, and their split."""
