"""Measurements: of the engine, of the server, and what they mean for capacity."""

import os

# As in handlers/runtime: whichever module loads ONNX Runtime first, it reports nothing to its maker.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
