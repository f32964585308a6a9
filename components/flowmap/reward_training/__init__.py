"""Reward training: a preference model on a split of its own."""
