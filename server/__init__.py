"""Start, readiness, drain and stop of the TorchServe process; see ``python -m server --help``."""
