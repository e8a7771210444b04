"""Trained networks on the Hugging Face Hub: their cards and repositories."""
