"""The command line: ``python -m client classify`` and ``python -m client generate``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Final

from client import (
    DeadlineExceeded,
    InvalidRequest,
    LanternClient,
    LanternClientError,
    NotFound,
    Tls,
    TooLong,
    Unauthenticated,
    Unavailable,
)
from client._client import DEFAULT_MODEL, DEFAULT_TIMEOUT_S
from client._generate import GenerateError, generate, take_proto
from client._render import render, render_escalation
from handlers.core.schema import OverLength, response_fields

EXIT_USAGE: Final = 2
EXIT_REFUSED: Final = 3
EXIT_UNAVAILABLE: Final = 4
EXIT_FAULT: Final = 5

TOKEN_VARIABLE: Final = "LANTERN_TOKEN"

_CLASSIFY_END = f"""\
The bearer token, if any, is read from the environment variable {TOKEN_VARIABLE}: a command line is
visible to every user of the machine.

exit status: 0 answered; {EXIT_USAGE} the command or the file is wrong; {EXIT_REFUSED} the request was refused;
{EXIT_UNAVAILABLE} the server is out of reach, busy or late: try again; {EXIT_FAULT} the server is at fault.
"""


class _UsageError(Exception):
    """What the caller has to change."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status."""
    options = _parser().parse_args(arguments)
    try:
        return _generate(options) if options.command == "generate" else _classify(options)
    except (_UsageError, GenerateError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    except LanternClientError as error:
        print(f"error: {error}", file=sys.stderr)
        if error.escalation is not None:
            print(f"What to offer the writer all the same:\n{render_escalation(error.escalation)}", file=sys.stderr)
        return _exit_status(error)


def _classify(options: argparse.Namespace) -> int:
    text = _read_text(options.file)
    with _client(options) as client:
        response = client.classify(
            text, locale=options.locale, country=options.country, options={"over_length": options.over_length}
        )
    print(json.dumps(response_fields(response), ensure_ascii=False, indent=2) if options.json else render(response))
    return 0


def _generate(options: argparse.Namespace) -> int:
    if options.jar is not None:
        take_proto(options.jar)
    for path in generate():
        print(path)
    return 0


def _client(options: argparse.Namespace) -> LanternClient:
    connect = LanternClient.rest if options.url is not None else LanternClient.grpc
    address = options.url if options.url is not None else options.grpc
    tls = Tls(ca=options.ca) if options.ca is not None or options.tls else None
    token = os.environ.get(TOKEN_VARIABLE) or None
    try:
        return connect(
            address, model=options.model, timeout=options.timeout, retries=options.retries, token=token, tls=tls
        )
    except (ValueError, OSError) as error:
        raise _UsageError(str(error)) from None


def _read_text(file: str) -> str:
    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return content.decode("utf-8")
    except OSError as error:
        raise _UsageError(f"cannot read {file}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise _UsageError(f"the text is not UTF-8 (byte {error.start})") from None


def _exit_status(error: LanternClientError) -> int:
    if isinstance(error, (InvalidRequest, NotFound, TooLong, Unauthenticated)):
        return EXIT_REFUSED
    return EXIT_UNAVAILABLE if isinstance(error, (Unavailable, DeadlineExceeded)) else EXIT_FAULT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m client", description="Client of a Lantern server.")
    commands = parser.add_subparsers(dest="command", required=True)
    texts = commands.add_parser(
        "classify",
        help="classify a text",
        description="Classify the text of a file or of standard input.",
        epilog=_CLASSIFY_END,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_classify(texts)
    stubs = commands.add_parser(
        "generate", help="generate the gRPC stubs", description="Generate client/_generated from client/protos."
    )
    stubs.add_argument("--jar", type=Path, help="first take the proto file out of this model-server.jar")
    return parser


def _add_classify(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", nargs="?", default="-", metavar="FILE", help="UTF-8 text; - (default) is standard input"
    )
    server = parser.add_mutually_exclusive_group(required=True)
    server.add_argument("--url", help="REST server, such as http://127.0.0.1:8080")
    server.add_argument("--grpc", metavar="TARGET", help="gRPC server, such as 127.0.0.1:7070")
    parser.add_argument("--json", action="store_true", help="print the response as JSON instead of a table")
    parser.add_argument("--locale", help="language of the text, such as en-GB")
    parser.add_argument("--country", help="where the writer is, such as GB: decides which crisis lines are shown")
    parser.add_argument(
        "--over-length",
        choices=[choice.value for choice in OverLength],
        default=OverLength.WINDOW.value,
        help="what to do with a text longer than the model takes (default: %(default)s)",
    )
    parser.add_argument("--model", default=DEFAULT_MODEL, help="name of the model (default: %(default)s)")
    parser.add_argument(
        "--timeout",
        type=float,
        default=DEFAULT_TIMEOUT_S,
        metavar="SECONDS",
        help="for the whole call, retries included (default: %(default)s)",
    )
    parser.add_argument("--retries", type=int, default=2, help="attempts after the first (default: %(default)s)")
    parser.add_argument(
        "--ca", type=Path, metavar="PEM", help="authorities to trust instead of the system's; implies TLS"
    )
    parser.add_argument("--tls", action="store_true", help="use TLS over gRPC (a REST URL says it with https)")


if __name__ == "__main__":
    sys.exit(main())
