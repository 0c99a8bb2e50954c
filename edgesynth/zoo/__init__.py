"""Prototypes to start from."""
