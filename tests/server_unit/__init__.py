"""Tests of the server's start, readiness, drain and stop, and of the gate it shares with the workers."""
