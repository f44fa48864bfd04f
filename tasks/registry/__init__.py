"""Versions of the model: which one serves and why, which are kept, and whether they are whole."""
