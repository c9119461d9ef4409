"""Measurements: of the engine, of the server, and what they mean for capacity."""
