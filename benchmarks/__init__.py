"""Measurements: each is a command of the Makefile."""
