"""Input that no client sends on purpose, over both protocols, and what must hold all the same."""
