"""Where a model came from, whether each byte of that is what it was, and what else came of the same."""
