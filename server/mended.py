"""Faults of TorchServe 0.12.0 that are mended before it is started, as no setting avoids them.

A class gets a few other bytes, in a copy that comes before TorchServe's own on the class path.

``Model.pollInferJob``: with continuous batching it takes a customised description (``GET /models/NAME?customized=true``
on the management port) into the batch and puts it back at the head of the queue as well, because it asks whether the
batch is empty after it has put it there. The worker then answers that one job for ever, and nothing else. Here the
question is dropped.

``InferenceRequestHandler.parseRequest``: it reads the fields of forms, of which the handler accepts none, and where one
cannot be read the answer is 500 and the log quotes the field: a writer's text. Here no body is taken for a form; the
handler gets it as it came, and refuses its content type.

``InferenceImpl.streamPredictions`` and ``streamPredictions2``: the answer to the first, which nothing streams, ends the
worker with all that it holds; one call of the second, where no model is stateful, ends the thread that speaks to the
worker, which is never ready again and still said to be. Here they have other names, so that gRPC answers
``UNIMPLEMENTED``.

``WorkerThread.run``: a request that was in a worker when it died gets 507 where Java has already seen that the worker
was killed by SIGKILL, and 500 where it has not yet, or where it died in another way: the same as for a fault of ours.
Here it is 507 (413, which REST makes 507) always, so that callers may try again.
"""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from server.errors import ExitCode, ServerError


@dataclass(frozen=True)
class Mend:
    """What is changed in one class.

    Attributes:
        name: the class file in the jar.
        sha256: of the class in TorchServe 0.12.0.
        changes: bytes that are there once, and those that take their place.
    """

    name: str
    sha256: str
    changes: tuple[tuple[bytes, bytes], ...]

    def apply(self, original: bytes) -> bytes:
        """Return the class without the fault.

        Raises:
            ServerError: it is not the class of TorchServe 0.12.0.
        """
        if hashlib.sha256(original).hexdigest() != self.sha256:
            raise ServerError(
                ExitCode.CONFIG_INVALID,
                f"{self.name} is not that of TorchServe 0.12.0, which this server was made for; "
                "install requirements/serve.txt",
            )
        mended = original
        for faulty, replacement in self.changes:
            mended = mended.replace(faulty, replacement)
        return mended


DESCRIPTION_TWICE: Final = Mend(
    "org/pytorch/serve/wlm/Model.class",
    "7c5523f1fe77fe79aa32665469e17725e70518692abcf4987989ef72f10d4cff",
    (
        (
            # invokeinterface Map.isEmpty; ifeq to where the job is put back
            bytes.fromhex("b901ec0100 990012"),
            # invokeinterface Map.isEmpty; pop, nop, nop: on to where the batch is complete
            bytes.fromhex("b901ec0100 570000"),
        ),
    ),
)
FORMS_READ: Final = Mend(
    "org/pytorch/serve/http/api/rest/InferenceRequestHandler.class",
    "915ac25d1f8a2360181528aa8eabd3c769ebd807d54798f0bce9bc934213eb93",
    (
        (
            # aload_1; invokestatic isMultipart; ifne to the form; then, on (form-urlencoded, mime type),
            # contentEqualsIgnoreCase; ifeq to the plain body
            bytes.fromhex("2b b80190 9a000e b20196 1905 b6019c 990070"),
            # nop seven times; (the same two); pop, pop, iconst_0; ifeq to the plain body
            bytes.fromhex("00 000000 000000 b20196 1905 575703 990070"),
        ),
    ),
)
STREAMS_SERVED: Final = Mend(
    "org/pytorch/serve/grpcimpl/InferenceImpl.class",
    "8b85e06f700eeb9dc6e595307bcaf38c67209883a08dcd09039f72f1462e36cc",
    # names in the constant pool, after their lengths
    (
        (b"\x00\x11streamPredictions", b"\x00\x11notStreamedEither"),
        (b"\x00\x12streamPredictions2", b"\x00\x12notStreamedEither2"),
    ),
)
DEAD_WORKERS: Final = Mend(
    "org/pytorch/serve/wlm/WorkerThread.class",
    "5292f5b79ac1ec509876cd997e2605848fd79f0b15b24ebd1a96c9c6b035ffd6",
    # sipush 500, or 413; istore_2: what is told unless the worker says better
    ((bytes.fromhex("1101f4 3d"), bytes.fromhex("11019d 3d")),),
)
MENDS: Final = (DESCRIPTION_TWICE, FORMS_READ, STREAMS_SERVED, DEAD_WORKERS)


def write_mended(jar: Path, folder: Path) -> None:
    """Write what is mended of ``jar`` below ``folder``, which goes before it on the class path.

    Raises:
        ServerError: as for ``Mend.apply``.
    """
    with zipfile.ZipFile(jar) as archive:
        mended = {mend.name: mend.apply(archive.read(mend.name)) for mend in MENDS}
    for name, content in mended.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
