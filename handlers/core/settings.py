"""How the handler runs: the ``lantern`` section of ``model-config.yaml``, frozen and checked once."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from handlers.core.errors import StartupError
from handlers.core.manifest import RuntimeName

Device = Literal["auto", "cpu", "cuda"]


def _check_absolute(value: str | None) -> str | None:
    if value is not None and not value.startswith("/"):
        raise ValueError("a path must be absolute: a worker's working folder is its host's affair")
    return value


FilePath = Annotated[str | None, AfterValidator(_check_absolute)]


CPU_TOKEN_BUDGET: Final = 512
"""Padded tokens of a sub-batch on a CPU. From 64 tokens on, the machine's matrix rate is the limit and company gains
nothing; it only makes the first of a sub-batch wait for the last (python -m benchmarks batching)."""

GPU_TOKEN_BUDGET: Final = 16384
"""The same on a GPU, which every further row fills better up to several full-length texts."""


class Settings(BaseModel):
    """Settings of the handler.

    Attributes:
        runtime: engine to serve with; must be what the bundle was exported for.
        device: ``auto`` takes a GPU where the runtime sees one; ``cuda`` insists.
        threads: CPU threads of one worker; 0 shares the cores out among the workers.
        window_overlap: share of a window that neighbouring windows of a long text have in common.
        max_windows: windows that one text may cost before it is refused.
        token_budget: padded tokens in one sub-batch; 0 takes what suits the device (``budget_on``).
        max_padding: share of padding allowed in a sub-batch, 0 to 1.
        express_tokens: inputs of up to so many tokens are run beside a longer one that is being run, on the
            CPU; 0 makes them wait for its end.
        patience: how many times its own run time a text lets shorter ones that come later go first.
        queue_s: seconds of work before a text beyond which it is answered ``overloaded`` instead of joining.
        deadline_s: seconds from its arrival after which a text that is not being read is answered
            ``deadline_exceeded``.
        warm_up: whether to run every length regime once before reporting ready.
        policy: the escalation policy, an absolute path that the platform may mount over; the one in the
            archive where it is left out. So are ``crisis_lines``, ``self_help``, ``sentences``, and the folder
            ``phrases`` of the floor.
        policy_reload_s: seconds between looks at the policy file.
        records: file of decision records, ``NAME.jsonl``; without it none are kept.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    runtime: RuntimeName = "onnx"
    device: Device = "auto"
    threads: Annotated[int, Field(ge=0)] = 0
    window_overlap: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0625
    max_windows: Annotated[int, Field(ge=1)] = 64
    token_budget: Annotated[int, Field(ge=0)] = 0
    max_padding: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.1
    express_tokens: Annotated[int, Field(ge=0)] = 256
    patience: Annotated[float, Field(ge=0.0)] = 4.0
    queue_s: Annotated[float, Field(gt=0.0)] = 60.0
    deadline_s: Annotated[float, Field(gt=0.0)] = 110.0
    warm_up: bool = True
    policy: FilePath = None
    policy_reload_s: Annotated[float, Field(gt=0.0)] = 5.0
    crisis_lines: FilePath = None
    self_help: FilePath = None
    sentences: FilePath = None
    phrases: FilePath = None
    records: FilePath = None

    def budget_on(self, device: str) -> int:
        """Return the padded tokens of a sub-batch on ``device``, ``cpu`` or any GPU."""
        return self.token_budget or (CPU_TOKEN_BUDGET if device == "cpu" else GPU_TOKEN_BUDGET)


def parse_settings(section: dict[str, Any]) -> Settings:
    """Validate the ``lantern`` section of ``model-config.yaml``.

    Raises:
        StartupError: naming the key that is wrong.
    """
    try:
        return Settings.model_validate(section)
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        key = ".".join(["lantern", *(str(part) for part in detail["loc"])])
        raise StartupError(f"model-config.yaml: {key}: {detail['msg']}") from None
