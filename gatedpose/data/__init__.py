"""Datasets: one reader each, one type of sample."""
