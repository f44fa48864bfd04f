"""Whole files or none, on a disk or in a bucket."""
