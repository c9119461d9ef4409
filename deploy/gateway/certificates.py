"""A self-signed certificate for a gateway on this machine."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Final

from deploy.errors import DeployError

_DAYS: Final = "30"


def write_certificate(certificate: Path, key: Path) -> None:
    """Write a certificate of ``localhost`` and 127.0.0.1, and its key, which only the owner may read.

    Raises:
        DeployError: there is no openssl, or it failed.
    """
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-subj", "/CN=lantern gateway", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    command += ["-days", _DAYS, "-keyout", str(key), "-out", str(certificate)]
    key.unlink(missing_ok=True)
    os.close(os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise DeployError("openssl is needed to make a certificate: apt-get install openssl") from None
    except subprocess.CalledProcessError as error:
        raise DeployError(f"openssl could not make a certificate: {error.stderr.strip()}") from None
