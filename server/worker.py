"""The script that a worker runs: TorchServe's own, without the import of torch.

TorchServe imports torch to tell tensors among answers, of which there are none here. That import is most of the time
that a worker needs to come back and much of its memory, and only the torch and TensorRT runtimes use it; these import
it themselves. TorchServe starts a copy of this file (``server/home.py``), which can import nothing of this package.
"""

from __future__ import annotations

import importlib
import runpy
import sys
from types import ModuleType
from typing import Any


class LateModule(ModuleType):
    """Stands for a module of its name, which is imported when something of it is asked for."""

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self.__name__), attribute)


def import_without(late: str, module: str) -> None:
    """Import ``module``; what it imports as ``late`` is not loaded before it is used. Who imports it later gets it."""
    sys.modules[late] = LateModule(late)
    importlib.import_module(module)
    del sys.modules[late]


if __name__ == "__main__":
    import_without("torch", "ts.protocol.otf_message_handler")
    runpy.run_module("ts.model_service_worker", run_name="__main__")
