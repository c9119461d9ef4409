"""YAML data files of the bundle: strict reading, and errors that name file, record and key."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Protocol, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from handlers.core.errors import StartupError

Model = TypeVar("Model", bound=BaseModel)


class DataFile(Protocol):
    """A file that can be read whole, such as a ``pathlib.Path``; its ``str`` is what errors call it."""

    def read_bytes(self) -> bytes:
        """Return the content."""
        ...


@dataclass(frozen=True)
class NamedFile:
    """A file of the command line; ``handlers.core`` has no paths."""

    name: str

    def __str__(self) -> str:
        return self.name

    def read_bytes(self) -> bytes:
        """Return the content."""
        with open(self.name, "rb") as file:  # noqa: PTH123
            return file.read()


if TYPE_CHECKING:
    _SafeLoader = yaml.SafeLoader
else:
    # The parser in C where PyYAML was built with it: ten times as fast.
    _SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


_BOOLEAN: Final = "tag:yaml.org,2002:bool"
_WORD: Final = "tag:yaml.org,2002:str"


class _StrictLoader(_SafeLoader):
    """Refuses a key that is given twice, where YAML would silently take the last one; reads ``on`` as a key's name."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key is not a word", key_node.start_mark)
            if key_node.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key_node.value} is given twice", key_node.start_mark
                )
            seen.add(key_node.value)
            if key_node.tag == _BOOLEAN:
                key_node.tag = _WORD
        return super().construct_mapping(node, deep)


class FrozenData(BaseModel):
    """A record of a data file. What a copy has computed from its fields is computed anew."""

    # Strict, so that an unquoted 024 (to YAML the number 20) or NO (to YAML false) is refused, not shown.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy, without what ``cached_property`` has kept of the fields as they were."""
        copied = super().model_copy(update=update, deep=deep)
        for name in set(copied.__dict__).difference(type(self).model_fields):
            del copied.__dict__[name]
        return copied


def read_file(file: DataFile) -> bytes:
    """Return the content of ``file``.

    Raises:
        StartupError: it is not there or not readable.
    """
    try:
        return file.read_bytes()
    except OSError as error:
        raise StartupError(f"{file}: cannot be read ({error.strerror}); put the file there") from None


def parse_yaml(payload: bytes, where: str) -> dict[str, Any]:
    """Parse one YAML document whose top is a mapping; no key may be given twice.

    Raises:
        StartupError: naming ``where`` and, where there is one, the line.
    """
    try:
        content = yaml.load(payload, Loader=_StrictLoader)  # a SafeLoader: builds no objects
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise StartupError(f"{where}: {line}{error.problem}; correct the file") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise StartupError(f"{where}: not readable as YAML ({type(error).__name__}); correct the file") from None
    if not isinstance(content, dict):
        raise StartupError(f"{where}: the file must be a mapping of keys to values; correct the file")
    return content


def line_of(payload: bytes, path: Sequence[str | int]) -> int:
    """Return the line of ``path`` in a document that ``parse_yaml`` takes; where it ends early, of its last part."""
    node = _compose(payload)
    line = 1
    for part in path:
        found = _child(node, part)
        if found is None:
            break
        node = found
        line = node.start_mark.line + 1
    return line


@lru_cache(maxsize=1)
def _compose(payload: bytes) -> yaml.Node | None:
    return yaml.compose(payload, Loader=_SafeLoader)


def _child(node: yaml.Node | None, part: str | int) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode):
        return next((value for key, value in node.value if key.value == part), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        child: yaml.Node = node.value[part]
        return child
    return None


def validate_records(model: type[Model], content: dict[str, Any], where: str, records: str) -> Model:
    """Validate ``content`` whose key ``records`` holds a list of records with an ``id``.

    Raises:
        StartupError: ``where: record: key: what is wrong``.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        detail = error.errors(include_url=False, include_input=False)[0]
        message = detail["msg"].removeprefix("Value error, ")
        raise StartupError(f"{where}: {_place(detail, content, records)}{message}; correct the file") from None


def _place(detail: ErrorDetails, content: dict[str, Any], records: str) -> str:
    """Return ``record: key: `` for the place of an error; empty where it is the file as a whole."""
    parts = list(detail["loc"])
    named: list[str] = []
    if len(parts) > 1 and parts[0] == records and isinstance(parts[1], int):
        record = content[records][parts[1]]
        identity = record.get("id") if isinstance(record, dict) else None
        named = [identity if isinstance(identity, str) and identity else f"{records}[{parts[1]}]"]
        parts = parts[2:]
    if parts:
        named.append(".".join(str(part) for part in parts))
    return "".join(f"{name}: " for name in named)
