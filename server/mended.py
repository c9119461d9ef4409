"""A fault of TorchServe 0.12.0 that is mended before it is started, as no setting avoids it.

With continuous batching, ``Model.pollInferJob`` takes a customised description (``GET /models/NAME?customized=true``
on the management port) into the batch and puts it back at the head of the queue as well, because it asks whether the
batch is empty after it has put it there. The worker then answers that one job for ever, and nothing else. Here the
question is dropped: the class gets three other bytes, in a copy that comes before TorchServe's own on the class path.
"""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import Final

from server.errors import ExitCode, ServerError

CLASS: Final = "org/pytorch/serve/wlm/Model.class"
SHA256: Final = "7c5523f1fe77fe79aa32665469e17725e70518692abcf4987989ef72f10d4cff"
"""Of the class in TorchServe 0.12.0."""
_ASKED: Final = bytes.fromhex("b901ec0100990012")
"""``invokeinterface Map.isEmpty``; ``ifeq`` to where the job is put back."""
_NOT_ASKED: Final = bytes.fromhex("b901ec0100570000")
"""``invokeinterface Map.isEmpty``; ``pop``, ``nop``, ``nop``: on to where the batch is complete."""


def mend(original: bytes) -> bytes:
    """Return the class without the fault.

    Raises:
        ServerError: it is not the class of TorchServe 0.12.0.
    """
    if hashlib.sha256(original).hexdigest() != SHA256 or original.count(_ASKED) != 1:
        raise ServerError(
            ExitCode.CONFIG_INVALID,
            f"{CLASS} is not that of TorchServe 0.12.0, which this server was made for; install requirements/serve.txt",
        )
    return original.replace(_ASKED, _NOT_ASKED)


def write_mended(jar: Path, folder: Path) -> None:
    """Write what is mended of ``jar`` below ``folder``, which goes before it on the class path.

    Raises:
        ServerError: as for ``mend``.
    """
    with zipfile.ZipFile(jar) as archive:
        mended = mend(archive.read(CLASS))
    target = folder / CLASS
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(mended)
