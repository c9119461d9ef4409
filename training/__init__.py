"""Two-stage training of Lantern's embedded demonstration checkpoint, its data and its evaluation."""
