"""``python -m handlers.core.policy``: replay cases, explain one, render the policy. Only this part touches files."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from importlib import resources
from typing import Final

from handlers.core.directory import DIRECTORY_NAME, Directory, load_directory
from handlers.core.errors import StartupError
from handlers.core.policy import decide, trace
from handlers.core.policy_case import Case, CaseError, parse_case
from handlers.core.policy_explain import explain
from handlers.core.policy_model import POLICY_NAME, LoadedPolicy, load_policy, policy_schema
from handlers.core.policy_page import render_page
from handlers.core.selfhelp import CATALOGUE_NAME, Catalogue, load_catalogue
from handlers.core.yamldata import DataFile, NamedFile

EXIT_REFUSED: Final = 2
ONLY_CASE: Final = ""


@dataclass(frozen=True)
class _Loaded:
    policy: LoadedPolicy
    directory: Directory
    catalogue: Catalogue


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0 done, 2 refused, with the reason in one line."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.explain is not None and options.cases is None:
        parser.error("--explain needs --cases")
    try:
        result = _run(options)
    except (StartupError, CaseError) as error:
        print(f"policy: {error}", file=sys.stderr)
        return EXIT_REFUSED
    except OSError as error:
        print(f"policy: {error.filename}: {error.strerror}", file=sys.stderr)
        return EXIT_REFUSED
    print(result)
    return 0


def _run(options: argparse.Namespace) -> str:
    if options.schema:
        return json.dumps(policy_schema(), indent=2)
    today = options.today or date.today()
    loaded = _Loaded(
        load_policy(_file(options.policy, POLICY_NAME), None, today),
        load_directory(_file(options.directory, DIRECTORY_NAME)),
        load_catalogue(_file(options.catalogue, CATALOGUE_NAME)),
    )
    if options.render is not None:
        _write(options.render, render_page(loaded.policy, loaded.directory, loaded.catalogue, today))
        return f"wrote {options.render}"
    cases = _read_cases(options.cases)
    if options.explain is not None:
        case = _choose(cases, options.explain, options.cases)
        return explain(trace(case, loaded.policy.policy, loaded.directory, loaded.catalogue), loaded.policy)
    decisions = [decide(case, loaded.policy.policy, loaded.directory, loaded.catalogue) for case in cases]
    return "\n".join(decision.encode() for decision in decisions)


def _file(name: str | None, default: str) -> DataFile:
    return NamedFile(name) if name is not None else resources.files("handlers") / "config" / default


def _read_cases(name: str) -> list[Case]:
    """Read every case before any is decided, so that a bad line leaves no half of an output."""
    try:
        content = NamedFile(name).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CaseError(f"{name}: not UTF-8 (byte {error.start})") from None
    cases = []
    for number, line in enumerate(content.split("\n"), start=1):
        if line.strip():
            try:
                cases.append(parse_case(line))
            except CaseError as error:
                raise CaseError(f"{name}: line {number}: {error}") from None
    if not cases:
        raise CaseError(f"{name}: there is no case in the file; write one JSON object a line")
    return cases


def _choose(cases: Sequence[Case], wanted: str, name: str) -> Case:
    chosen = cases if wanted == ONLY_CASE else [case for case in cases if case.id == wanted]
    if len(chosen) != 1:
        which = "cases" if wanted == ONLY_CASE else "cases of this id"
        raise CaseError(f"{name}: --explain is about one case, and there are {len(chosen)} {which}; give its id")
    return chosen[0]


def _write(name: str, page: str) -> None:
    with open(name, "w", encoding="utf-8") as file:  # noqa: PTH123
        file.write(page)


def _date(value: str) -> date:
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise argparse.ArgumentTypeError("a date such as 2026-03-01") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m handlers.core.policy",
        description="Replay recorded cases, one decision a line; explain one; or render the policy as a page.",
        epilog="exit status: 0 done, 2 refused (the policy does not load, or a case is not valid)",
    )
    parser.add_argument("--policy", metavar="FILE", help=f"default: the bundle's {POLICY_NAME}")
    parser.add_argument("--directory", metavar="FILE", help=f"default: the bundle's {DIRECTORY_NAME}")
    parser.add_argument("--catalogue", metavar="FILE", help=f"default: the bundle's {CATALOGUE_NAME}")
    parser.add_argument("--today", type=_date, metavar="DATE", help="day on which the policy must be in force")
    parser.add_argument("--explain", nargs="?", const=ONLY_CASE, metavar="ID", help="the case of this id, in words")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--cases", metavar="FILE", help="one case a line, as JSON")
    what.add_argument("--render", metavar="OUT.html", help="write policy and directory as one page to read and sign")
    what.add_argument("--schema", action="store_true", help="print the JSON Schema of a policy file")
    return parser
