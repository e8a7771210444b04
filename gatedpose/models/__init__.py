"""Networks by name, with weights."""
