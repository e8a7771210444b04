"""Files that a crash leaves whole, typed JSON, journals."""
