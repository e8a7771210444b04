"""Measurements and experiments; a leaf that only commands import."""
