"""Workloads as data: what is sent, how it arrives and what it is held to.

A workload is a YAML file. Ready ones lie in ``benchmarks/workloads``; ``load_workload`` takes their name or a path.
"""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from benchmarks.errors import BenchmarkError
from handlers.core.schema import MAX_ENTRIES, OverLength

FOLDER: Final = Path(__file__).resolve().parents[1] / "workloads"
PROTOCOLS: Final = ("rest", "grpc")
MAX_TOKENS: Final = 200_000
"""Nobody writes longer, and the body would come near TorchServe's limit of 6.5 MB."""

Protocol = Literal["rest", "grpc"]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Tokens = Annotated[int, Field(ge=1, le=MAX_TOKENS)]


class WorkloadError(BenchmarkError):
    """A workload that cannot be read or cannot be satisfied."""


class _Data(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Bin(_Data):
    """Lengths ``first`` to ``last``, in tokens of the text, all equally likely; ``share`` is a weight."""

    first: Tokens
    last: Tokens
    share: Annotated[float, Field(gt=0.0)]

    @model_validator(mode="after")
    def _in_order(self) -> Bin:
        if self.first > self.last:
            raise ValueError(f"first ({self.first}) is over last ({self.last})")
        return self


class Texts(_Data):
    """Texts of a JSON Lines file; ``field`` holds the text. A relative ``file`` is relative to the repository."""

    file: Path
    field: str = "text"


class OverLengthShare(_Data):
    """Texts of more tokens than the model takes, which the server reads in several windows."""

    share: Share = 0.0
    first: Tokens = 4_200
    last: Tokens = 9_000
    option: OverLength = OverLength.WINDOW


class SloData(_Data):
    """What the workload is held to where the command line does not say: ``p99=800ms,errors=1%``."""

    quantile: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.99
    limit_ms: Annotated[float, Field(gt=0.0)]
    error_share: Share = 0.01


class Workload(_Data):
    """One kind of traffic.

    Attributes:
        name: of reports and result files.
        description: one line for people.
        tokens: the length mixture as a histogram, in tokens of the text. ``None``: the lengths of ``texts``.
        texts: a file of texts; ``None``: everyday words from a seeded generator. With ``tokens``, texts of the file
            are strung together and cut to the length that was drawn.
        arrivals: ``poisson``, as independent writers arrive, or ``constant``.
        protocols: share of requests on each protocol, as weights.
        entries: how many texts a request carries, as weights: ``{1: 0.9, 8: 0.1}``.
        over_length: texts beyond the model's input.
        errors: share of requests that are wrong on purpose (a label that no model has), which only the server can
            find. They are expected to be refused: the answer ``unknown_label`` counts as right, any other as an error.
        slo: default of ``--slo``.
        seed: of lengths, words, order and arrivals.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")]
    description: str = ""
    tokens: tuple[Bin, ...] | None = None
    texts: Texts | None = None
    arrivals: Literal["poisson", "constant"] = "poisson"
    protocols: dict[Protocol, Annotated[float, Field(ge=0.0)]] = {"rest": 1.0}
    entries: dict[Annotated[int, Field(ge=1, le=MAX_ENTRIES)], Annotated[float, Field(gt=0.0)]] = {1: 1.0}
    over_length: OverLengthShare = OverLengthShare()
    errors: Share = 0.0
    slo: SloData
    seed: int = 7

    @model_validator(mode="after")
    def _has_lengths(self) -> Workload:
        if self.tokens is None and self.texts is None:
            raise ValueError("tokens (a histogram) or texts (a file) must say how long texts are")
        if self.tokens is not None and not self.tokens:
            raise ValueError("tokens holds no bin")
        if not sum(self.protocols.values()) > 0:
            raise ValueError("protocols gives no protocol a share")
        if not self.entries:
            raise ValueError("entries holds no count")
        return self

    @property
    def used_protocols(self) -> tuple[Protocol, ...]:
        """The protocols with a share, REST first."""
        return tuple(name for name in PROTOCOLS if self.protocols.get(name, 0.0) > 0)

    @property
    def mean_entries(self) -> float:
        """Texts in a request, on average."""
        total = sum(self.entries.values())
        return sum(count * weight for count, weight in self.entries.items()) / total


def names() -> list[str]:
    """Return the names of the ready workloads."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_workload(name_or_path: str) -> Workload:
    """Return a ready workload by name, or one from a file.

    Raises:
        WorkloadError: there is none, or it says something that cannot be; the message names the field.
    """
    path = (
        FOLDER / f"{name_or_path}.yaml" if "/" not in name_or_path and "." not in name_or_path else Path(name_or_path)
    )
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise WorkloadError(
            f"workload {name_or_path!r}: cannot read {path} ({error.strerror}); ready ones are {', '.join(names())}"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise WorkloadError(f"workload {path} is not YAML: {' '.join(str(error).split())}") from None
    return parse_workload(data, str(path))


def parse_workload(data: Any, where: str) -> Workload:
    """Validate the fields of a workload; ``where`` is for the message.

    Raises:
        WorkloadError: naming the field.
    """
    try:
        return Workload.model_validate(data)
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in detail["loc"]) or "the whole"
        raise WorkloadError(f"workload {where}: {field}: {detail['msg']}") from None


def token_classes(limit: int = MAX_TOKENS) -> tuple[tuple[int, int], ...]:
    """Return the length classes of reports as inclusive ranges of tokens; the last is open-ended at ``limit``."""
    edges = [0, 64, 256, 512, 1024, 2048, 4094]
    ranges = [(first + 1, last) for first, last in itertools.pairwise(edges)]
    return (*ranges, (edges[-1] + 1, limit))


def class_name(tokens: tuple[int, int]) -> str:
    """Write a length class: ``65–256``, ``over 4,094``."""
    first, last = tokens
    return f"over {first - 1:,}" if last >= MAX_TOKENS else f"{first:,}–{last:,}"


def mean_tokens(bins: tuple[Bin, ...]) -> float:
    """Return the mean length of a histogram, in tokens."""
    total = math.fsum(each.share for each in bins)
    return math.fsum(each.share * (each.first + each.last) / 2 for each in bins) / total
