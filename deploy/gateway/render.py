"""The nginx configuration as files: ``nginx.conf``, ``clients.conf`` (the tokens) and ``upstreams.conf``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from deploy.gateway.faults import GATEWAY_ERRORS
from deploy.gateway.settings import GatewaySettings, Replica
from deploy.gateway.tokens import write_secret

TEMPLATES: Final = Path(__file__).parent / "nginx"
UPSTREAMS: Final = "upstreams.conf"
CLIENTS: Final = "clients.conf"
MAIN: Final = "nginx.conf"

_KEEPALIVE: Final = 64
_PAGES: Final = {"invalid_request": "400 Bad Request", "too_long": "413 Request Entity Too Large"} | {
    "internal": "500 Internal Server Error",
    "deadline_exceeded": "504 Gateway Time-out",
}
"""Pages that nginx may send where a status of the handler's must be let through, by the name of the error."""


@dataclass(frozen=True)
class _Page:
    html: str
    json: str


def write_configuration(settings: GatewaySettings, folder: Path) -> None:
    """Write the whole configuration into ``folder``; every replica counts as ready."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in ("logs", "temp"):
        (folder / name).mkdir(exist_ok=True)
    write_secret(folder / CLIENTS, render_clients(settings))
    write_upstreams(folder, settings.replicas, frozenset(settings.replicas))
    (folder / MAIN).write_text(render_main(settings), encoding="utf-8")


def write_upstreams(folder: Path, replicas: Sequence[Replica], ready: frozenset[Replica]) -> None:
    """Write which replicas may be sent requests, in one step."""
    unfinished = folder / f".{UPSTREAMS}.partial"
    unfinished.write_text(render_upstreams(replicas, ready), encoding="utf-8")
    unfinished.replace(folder / UPSTREAMS)


def render_main(settings: GatewaySettings) -> str:
    """Return ``nginx.conf``."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True
    )
    by_name = {error.name: error for error in GATEWAY_ERRORS}
    pages = [_Page(_built_in_page(title), by_name[name].envelope) for name, title in _PAGES.items()]
    return environment.get_template(f"{MAIN}.j2").render(settings=settings, errors=GATEWAY_ERRORS, pages=pages)


def render_clients(settings: GatewaySettings) -> str:
    """Return ``clients.conf``: who is who. Tokens are told apart by case, which a plain entry of a map would not do."""
    if not settings.tokens:
        source, entries = "$ssl_client_s_dn", ['"~(^|,)CN=(?<common_name>[^,]+)" $common_name;']
    else:
        source = "$http_authorization"
        entries = [f'"~^(?i:Bearer) {re.escape(token.secret)}$" {token.client};' for token in settings.tokens]
    body = "".join(f"    {entry}\n" for entry in entries)
    return f'map {source} $lantern_client {{\n    default "";\n{body}}}\n'


def render_upstreams(replicas: Sequence[Replica], ready: frozenset[Replica]) -> str:
    """Return ``upstreams.conf``: every replica for each protocol, and for each REST replica all others."""
    places = range(len(replicas))
    up = {place for place in places if replicas[place] in ready}
    rest, grpc = ([getattr(replica, name) for replica in replicas] for name in ("rest", "grpc"))
    groups = [_group("lantern_rest", rest, up), _group("lantern_grpc", grpc, up)]
    groups += [_group(f"lantern_rest_without_{place}", rest, up - {place}) for place in places]
    return "\n".join([*groups, _others(rest)])


def _group(name: str, addresses: Sequence[str], up: set[int]) -> str:
    return "\n".join(
        [
            f"upstream {name} {{",
            f"    zone {name} 64k;",
            "    least_conn;",
            *(f"    server {address} {_state(place in up)};" for place, address in enumerate(addresses)),
            f"    keepalive {_KEEPALIVE};",
            "    keepalive_requests 100000;",
            "}",
            "",
        ]
    )


def _state(up: bool) -> str:
    return "max_fails=1 fail_timeout=1s" if up else "down"


def _others(addresses: Sequence[str]) -> str:
    """Name the group to ask after a refusal, by whom the request went to last."""
    return "\n".join(["map $upstream_addr $lantern_others {", *_other_entries(addresses), "}", ""])


def _other_entries(addresses: Sequence[str]) -> Iterator[str]:
    yield "    default lantern_rest;"
    for place, address in enumerate(addresses):
        yield f'    "~(^|[ ,]){re.escape(address)}$" lantern_rest_without_{place};'


def _built_in_page(title: str) -> str:
    """Return nginx's own page, as its configuration has to quote it."""
    head = rf"<html>\r\n<head><title>{title}</title></head>\r\n"
    return (
        head + rf"<body>\r\n<center><h1>{title}</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
    )
