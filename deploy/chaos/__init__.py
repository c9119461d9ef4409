"""Faults on purpose: replicas behind the gateway are broken while callers keep count of what they get."""
