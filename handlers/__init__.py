"""Lantern's serving package: the only one that travels in the model archive."""
