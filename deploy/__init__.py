"""Run Lantern behind a gateway on this machine, and break it on purpose; see ``python -m deploy --help``."""
