"""Versions of the model, and which one serves."""
