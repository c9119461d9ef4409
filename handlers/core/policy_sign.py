"""``python -m handlers.core.policy sign``: let somebody answer for it that a reader may call for an alert.

The signature is written into the text of the policy file, so that its comments stay as they were.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date
from typing import Final

import yaml

from handlers.core.errors import StartupError
from handlers.core.policy_model import parse_policy

MIN_READ: Final = 12
"""Digits of the code on the page that are enough to show which policy was read."""


@dataclass(frozen=True)
class SignRequest:
    """Who signs for what.

    Attributes:
        reader: of the policy.
        by, role, on: the person, what they are, and the day.
        calibration_sha256: of the bundle that they sign for.
        read: the code at the end of the page that they read, or its first digits.
    """

    reader: str
    by: str
    role: str
    on: date
    calibration_sha256: str
    read: str


def sign(payload: bytes, where: str, request: SignRequest) -> bytes:
    """Return the policy file with the signature in it.

    Raises:
        StartupError: the policy is not fit, the reader is not one to sign for or is signed already, or another policy
            was read.
    """
    policy = parse_policy(payload, where, None, request.on).policy
    if request.reader not in policy.readers or not policy.is_crisis_reader(request.reader):
        fit = ", ".join(name for name in policy.readers if policy.is_crisis_reader(name)) or "none"
        raise StartupError(f"{where}: readers.{request.reader}: not a reader of a crisis signal; those are: {fit}")
    if (signed := policy.readers[request.reader].signed) is not None:
        again = "to sign anew, take the signature out and put max_tier back to crisis"
        raise StartupError(f"{where}: readers.{request.reader}.signed: by {signed.by} on {signed.on} already; {again}")
    digest = policy.digest()
    if len(request.read) < MIN_READ or not digest.startswith(request.read):
        # The code is not told here: it stands at the end of the page, for those who have read that far.
        again = f"render its page, read it, and give the code at its end, {MIN_READ} digits of it at least"
        raise StartupError(f"{where}: this is not the policy that was read: {again}")
    signature = {
        "by": request.by,
        "role": request.role,
        "on": str(request.on),
        "calibration_sha256": request.calibration_sha256,
        "read_sha256": digest,
    }
    signed_text = _insert(payload.decode("utf-8-sig"), request.reader, json.dumps(signature, ensure_ascii=False))
    result = signed_text.encode()
    parse_policy(result, where, None, request.on)  # what is written loads, or nothing is
    return result


def _insert(text: str, reader: str, signature: str) -> str:
    """Return the text of a policy with ``max_tier`` of a reader raised and the signature before it."""
    fields = _value(_value(yaml.compose(text), "readers"), reader)
    key, value = _entry(fields, "max_tier")
    at, start, end = key.start_mark.index, value.start_mark.index, value.end_mark.index
    after = ", " if fields.flow_style else f"\n{' ' * key.start_mark.column}"
    return f"{text[:at]}signed: {signature}{after}{text[at:start]}emergency_contact{text[end:]}"


def _value(node: yaml.Node | None, name: str) -> yaml.MappingNode:
    found = _entry(node, name)[1]
    assert isinstance(found, yaml.MappingNode)  # the policy has been read already
    return found


def _entry(node: yaml.Node | None, name: str) -> tuple[yaml.Node, yaml.Node]:
    assert isinstance(node, yaml.MappingNode)
    return next((key, value) for key, value in node.value if key.value == name)
