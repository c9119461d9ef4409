"""``python -m handlers.core.policy``: replay cases and records, explain, render, sign. Only this part touches files."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from importlib import resources
from typing import Final

from handlers.core.decision_record import MAX_LINE_BYTES, DecisionRecord, parse_line
from handlers.core.directory import DIRECTORY_NAME, load_directory, parse_day
from handlers.core.errors import StartupError
from handlers.core.policy import Guidance, decide, trace
from handlers.core.policy_case import Case, CaseError, parse_case
from handlers.core.policy_explain import explain
from handlers.core.policy_model import POLICY_NAME, LoadedPolicy, load_policy, policy_schema
from handlers.core.policy_page import render_page
from handlers.core.policy_replay import Replayed, replay
from handlers.core.policy_sign import SignRequest, sign
from handlers.core.records import hash_argument
from handlers.core.selfhelp import CATALOGUE_NAME, load_catalogue
from handlers.core.sentences import SENTENCES_NAME, load_sentences
from handlers.core.yamldata import DataFile, NamedFile, read_file

EXIT_REFUSED: Final = 2
EXIT_DIFFERENT: Final = 3
ONLY_CASE: Final = ""


@dataclass(frozen=True)
class _Loaded:
    policy: LoadedPolicy
    guidance: Guidance


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0 done, 2 refused, with the reason in one line, 3 not the same."""
    given = sys.argv[1:] if arguments is None else arguments
    if given[:1] == ["sign"]:
        return _guarded(lambda: _sign(_sign_parser().parse_args(given[1:])))
    parser = _parser()
    options = parser.parse_args(given)
    if options.explain is not None and options.cases is None:
        parser.error("--explain needs --cases")
    return _guarded(lambda: _run(options))


def _guarded(run: Callable[[], tuple[str, int]]) -> int:
    """Run a command, print what it says and return its exit status; what is refused is told in one line."""
    try:
        result, status = run()
    except (StartupError, CaseError) as error:
        print(f"policy: {error}", file=sys.stderr)
        return EXIT_REFUSED
    except OSError as error:
        print(f"policy: {error.filename}: {error.strerror}", file=sys.stderr)
        return EXIT_REFUSED
    print(result)
    return status


def _run(options: argparse.Namespace) -> tuple[str, int]:
    if options.schema:
        return json.dumps(policy_schema(), indent=2), 0
    today = options.today or date.today()
    loaded = _Loaded(
        load_policy(_file(options.policy, POLICY_NAME), None, today),
        Guidance(
            load_directory(_file(options.directory, DIRECTORY_NAME)),
            load_catalogue(_file(options.catalogue, CATALOGUE_NAME)),
            load_sentences(_file(options.sentences, SENTENCES_NAME)),
        ),
    )
    if loaded.policy.is_expired(today):
        until = f"valid_until: {loaded.policy.policy.valid_until} has passed"
        print(f"policy: {options.policy or POLICY_NAME}: {until}: it helps, and tells nobody anything", file=sys.stderr)
    if options.render is not None:
        _write(options.render, render_page(loaded.policy, loaded.guidance, today))
        return f"wrote {options.render}", 0
    if options.records is not None:
        return _replay(options.records, loaded)
    return _decide(options, loaded), 0


def _decide(options: argparse.Namespace, loaded: _Loaded) -> str:
    cases = _read_cases(options.cases)
    if options.explain is not None:
        case = _choose(cases, options.explain, options.cases)
        return explain(trace(case, loaded.policy.policy, loaded.guidance), loaded.policy)
    decisions = [decide(case, loaded.policy.policy, loaded.guidance) for case in cases]
    return "\n".join(decision.encode() for decision in decisions)


def _replay(names: Sequence[str], loaded: _Loaded) -> tuple[str, int]:
    """Decide every record again and say which are not the same, to the byte."""
    replayed = list(replay(_read_records(names), loaded.policy, loaded.guidance))
    different = [one for one in replayed if one.why]
    lines = [f"{one.decision_id}: {one.why}" for one in different]
    return "\n".join([*lines, _replay_summary(replayed, len(different))]), EXIT_DIFFERENT if different else 0


def _replay_summary(replayed: Sequence[Replayed], different: int) -> str:
    decisions = f"{len(replayed):,} decision{'' if len(replayed) == 1 else 's'} replayed"
    return f"{decisions}: {f'{different:,} not the same' if different else 'all the same, byte for byte'}"


def _read_records(names: Sequence[str]) -> Iterator[DecisionRecord]:
    for name in names:
        with open(name, "rb") as file:  # noqa: PTH123
            for number, line in enumerate(iter(partial(file.readline, MAX_LINE_BYTES + 1), b""), start=1):
                try:
                    parsed = parse_line(line.removesuffix(b"\n"))
                except ValueError as error:
                    raise CaseError(f"{name}: line {number}: {error}") from None
                if isinstance(parsed, DecisionRecord):
                    yield parsed


def _sign(options: argparse.Namespace) -> tuple[str, int]:
    request = SignRequest(
        options.reader,
        options.by,
        options.role,
        options.on or date.today(),
        options.calibration_sha256 or hashlib.sha256(NamedFile(options.calibration).read_bytes()).hexdigest(),
        options.read,
    )
    signed = sign(read_file(_file(options.policy, POLICY_NAME)), options.policy or POLICY_NAME, request)
    _write(options.out, signed.decode())
    return f"wrote {options.out}: {request.by} signs for {request.reader}, which may now reach emergency_contact", 0


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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m handlers.core.policy",
        description="Replay cases, one decision a line; explain one; decide recorded decisions again; or render the "
        "policy as a page. `sign`, as the first word, signs it: see `sign --help`.",
        epilog="exit status: 0 done, 2 refused (the policy does not load, or a case or record is not valid), 3 a "
        "recorded decision does not come out the same",
    )
    parser.add_argument("--policy", metavar="FILE", help=f"default: the bundle's {POLICY_NAME}")
    parser.add_argument("--directory", metavar="FILE", help=f"default: the bundle's {DIRECTORY_NAME}")
    parser.add_argument("--catalogue", metavar="FILE", help=f"default: the bundle's {CATALOGUE_NAME}")
    parser.add_argument("--sentences", metavar="FILE", help=f"default: the bundle's {SENTENCES_NAME}")
    parser.add_argument("--today", type=parse_day, metavar="DATE", help="day on which the policy must be in force")
    parser.add_argument("--explain", nargs="?", const=ONLY_CASE, metavar="ID", help="the case of this id, in words")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--cases", metavar="FILE", help="one case a line, as JSON")
    what.add_argument(
        "--records", nargs="+", metavar="FILE", help="decide every decision of these record files again and compare"
    )
    what.add_argument("--render", metavar="OUT.html", help="write policy and directory as one page to read and sign")
    what.add_argument("--schema", action="store_true", help="print the JSON Schema of a policy file")
    return parser


def _sign_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m handlers.core.policy sign",
        description="Sign for a reader of suicidal ideation: with the signature it may reach emergency_contact, where "
        "an alert of the contact is proposed. Without one no policy with that max_tier loads. Render the policy first, "
        "let the one who signs read the page, and give the code at its end.",
        epilog="exit status: 0 written, 2 refused (another policy was read, it is signed already, or does not load)",
    )
    parser.add_argument("--policy", metavar="FILE", help=f"default: the bundle's {POLICY_NAME}")
    parser.add_argument("--reader", required=True, metavar="NAME", help="the reader to sign for, such as conditions")
    parser.add_argument("--by", required=True, metavar="NAME", help="the person who answers for it")
    parser.add_argument("--role", required=True, metavar="ROLE", help="what they are, such as clinical lead")
    parser.add_argument("--on", type=parse_day, metavar="DATE", help="the day of the signature; default: today")
    parser.add_argument("--read", required=True, metavar="CODE", help="the code at the end of the page that they read")
    bundle = parser.add_mutually_exclusive_group(required=True)
    bundle.add_argument("--calibration", metavar="FILE", help="calibration.json of the bundle that is signed for")
    bundle.add_argument(
        "--calibration-sha256", type=hash_argument("--calibration-sha256"), metavar="HASH", help="or its SHA-256"
    )
    parser.add_argument("--out", required=True, metavar="FILE", help="where the signed policy is written")
    return parser
