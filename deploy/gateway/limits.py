"""What the gateway takes over from the server's own configuration, so that the two never disagree."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from deploy.errors import DeployError
from handlers.core.errors import StartupError
from handlers.core.settings import parse_settings
from server.errors import ServerError
from server.settings import read_config

ROOT: Final = Path(__file__).resolve().parents[2]
CONFIG: Final = ROOT / "config.properties"
MODEL_CONFIG: Final = ROOT / "handlers" / "config" / "model-config.yaml"


@dataclass(frozen=True)
class ServerLimits:
    """Limits of one replica.

    Attributes:
        max_body_bytes: largest body of a request that TorchServe takes.
        deadline_s: seconds within which the handler answers any request that it has.
        response_timeout_s: seconds after which TorchServe gives up a worker that is silent.
    """

    max_body_bytes: int
    deadline_s: float
    response_timeout_s: float


def read_limits(config: Path = CONFIG, model_config: Path = MODEL_CONFIG) -> ServerLimits:
    """Read the limits of replicas that run with these two files.

    Raises:
        DeployError: a file cannot be read or lacks a limit.
    """
    try:
        properties = read_config(config)
        model = yaml.safe_load(model_config.read_text(encoding="utf-8"))
        settings = parse_settings(model["lantern"])
        return ServerLimits(
            max_body_bytes=int(properties["max_request_size"]),
            deadline_s=settings.deadline_s,
            response_timeout_s=float(model["responseTimeout"]),
        )
    except (ServerError, StartupError, OSError, yaml.YAMLError) as error:
        raise DeployError(f"cannot read the limits of the server: {error}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise DeployError(f"{config} and {model_config} do not say the server's limits ({error})") from error
