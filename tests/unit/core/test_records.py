from __future__ import annotations

import io
import json
import subprocess
import sys
import tracemalloc
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from handlers.core.decision_record import (
    GENESIS,
    MAX_LINE_BYTES,
    HeaderLine,
    TornLine,
    chain_decision,
    encode_line,
    line_hash,
)
from handlers.core.records import Finding, Verdict, main, verify
from tests.unit.decisions import CHAIN_ID, chain_lines, facts

ROOT = Path(__file__).resolve().parents[3]

LINES = chain_lines([facts(number) for number in range(6)])
SECOND = chain_lines([facts(number) for number in range(6, 9)], after=LINES)
CONTENT = b"".join(LINES)
LAST = line_hash(LINES[-1][:-1])
INTERIOR = st.integers(0, len(LINES) - 2)
"""Lines that another one vouches for: all but the last."""


def check(lines: Iterable[bytes], last: str | None = None, anchor: str | None = None) -> Verdict:
    return verify([("f", lines)], last, anchor)


def check_bytes(content: bytes, last: str | None = None) -> Verdict:
    return check(io.BytesIO(content).readlines(), last)


def found(verdict: Verdict) -> Finding:
    assert not verdict.intact
    assert verdict.finding is not None
    return verdict.finding


def kind(*files: list[bytes]) -> str:
    return found(verify([(f"f{number}", lines) for number, lines in enumerate(files)])).kind


def test_an_intact_chain_says_what_it_holds_and_where_it_ends() -> None:
    assert check(LINES) == Verdict(True, 1, 6, 0, CHAIN_ID, 0, LAST, None)


def test_a_chain_of_several_files_is_one_chain() -> None:
    verdict = verify([("old", LINES), ("new", SECOND)])

    assert (verdict.intact, verdict.files, verdict.decisions, verdict.first_file) == (True, 2, 9, 0)


def test_a_later_file_alone_is_intact_and_says_that_others_came_before() -> None:
    assert (check(SECOND).intact, check(SECOND).first_file) == (True, 1)


# The properties: whatever is done to lines that others vouch for is found.


@given(INTERIOR, st.integers(1, 3))
def test_a_removed_line_is_found(place: int, count: int) -> None:
    count = min(count, len(LINES) - 1 - place)

    finding = found(check(LINES[:place] + LINES[place + count :]))

    assert finding.line == place + 1
    assert finding.kind == ("no_header" if place == 0 else "broken")


@given(st.integers(1, len(LINES) - 2), st.floats(0, 1))
def test_a_line_that_is_changed_into_another_record_is_found_at_the_line_after_it(place: int, score: float) -> None:
    assume(score != 0.72)
    lines = list(LINES)
    other = facts(place - 1, scores={"neutral": 0.018038244686955505, "depressed": score})
    lines[place] = chain_decision(other, line_hash(lines[place - 1][:-1])) + b"\n"

    finding = found(check(lines))

    assert (finding.kind, finding.line) == ("broken", place + 2)


@given(st.permutations(LINES))
def test_any_other_order_is_found(lines: list[bytes]) -> None:
    assume(lines != LINES)
    wrong = next(index for index, (line, right) in enumerate(zip(lines, LINES, strict=True)) if line != right)

    finding = found(check(lines))

    assert finding.line == wrong + 1
    assert finding.kind == ("no_header" if wrong == 0 else "reordered")


@given(st.integers(0, len(LINES) - 1), st.integers(0, len(LINES)))
def test_a_line_that_is_there_twice_is_found(source: int, target: int) -> None:
    finding = found(check([*LINES[:target], LINES[source], *LINES[target:]]))

    # Beside itself, the second of the two is the wrong one.
    assert finding.line == (source + 2 if target in (source, source + 1) else target + 1)


def test_a_line_that_follows_the_same_line_as_another_is_called_repeated() -> None:
    fork = chain_decision(facts(99), line_hash(LINES[2][:-1])) + b"\n"

    assert kind([*LINES[:4], LINES[3], *LINES[4:]]) == "repeated"
    assert kind([*LINES[:4], fork]) == "repeated"


@given(st.integers(0, len(CONTENT) - len(LINES[-1]) - 1), st.integers(1, 255))
def test_any_flipped_byte_before_the_last_line_is_found(place: int, mask: int) -> None:
    content = bytearray(CONTENT)
    content[place] ^= mask

    line = CONTENT[:place].count(b"\n") + 1

    assert found(check_bytes(bytes(content))).line in (line, line + 1)


@given(st.integers(len(CONTENT) - len(LINES[-1]), len(CONTENT) - 1), st.integers(1, 255))
def test_any_flipped_byte_of_the_last_line_is_found_by_its_hash(place: int, mask: int) -> None:
    content = bytearray(CONTENT)
    content[place] ^= mask

    assert not check_bytes(bytes(content), last=LAST).intact


def test_a_last_line_changed_into_another_record_is_not_seen_without_its_hash() -> None:
    other = CONTENT.removesuffix(LINES[-1]) + LINES[-1].replace(b'"country":"GB"', b'"country":"IE"')

    assert check_bytes(other).intact
    assert found(check_bytes(other, last=LAST)).kind == "wrong_end"


@given(st.binary(min_size=1, max_size=80))
def test_any_appended_bytes_are_found(appended: bytes) -> None:
    assert found(check_bytes(CONTENT + appended)).line == len(LINES) + 1


@given(st.integers(1, len(CONTENT) - 1))
def test_bytes_cut_off_at_the_end_are_found_by_the_hash_and_else_only_inside_a_line(size: int) -> None:
    whole_lines = CONTENT[:size].endswith(b"\n")

    assert check_bytes(CONTENT[:size]).intact == whole_lines
    assert found(check_bytes(CONTENT[:size], last=LAST)).kind == ("wrong_end" if whole_lines else "torn")


# Anchors, headers, and order of files.


def test_an_anchor_may_be_anywhere_in_the_chain() -> None:
    for line in LINES:
        assert check(LINES, anchor=line_hash(line[:-1])).intact

    assert found(check(LINES[:4], anchor=LAST)).kind == "no_anchor"
    assert found(check(LINES, last=line_hash(LINES[3][:-1]))).kind == "wrong_end"


def test_an_empty_file_has_no_header() -> None:
    assert kind([]) == "no_header"
    assert kind(LINES, []) == "no_header"


def test_a_line_that_says_that_a_torn_one_was_moved_is_counted() -> None:
    mark = encode_line(TornLine(torn_bytes=7, torn_sha256="00" * 32, prev_hash=LAST))
    lines = [*LINES, mark + b"\n", chain_decision(facts(7), line_hash(mark)) + b"\n"]

    assert (check(lines).intact, check(lines).torn, check(lines).decisions) == (True, 1, 7)


def test_only_the_first_file_of_a_chain_begins_with_zeros() -> None:
    late = encode_line(HeaderLine(chain_id=CHAIN_ID, file=3, prev_hash=GENESIS))
    early = encode_line(HeaderLine(chain_id=CHAIN_ID, file=0, prev_hash="ab" * 32))

    assert kind([late + b"\n"]) == "wrong_genesis"
    assert kind([early + b"\n"]) == "wrong_genesis"


def test_files_in_the_wrong_order_missing_joined_or_of_another_chain_are_found() -> None:
    third = chain_lines([facts(20)], after=SECOND)
    foreign = [encode_line(HeaderLine(chain_id="f0" * 16, file=1, prev_hash=LAST)) + b"\n"]

    assert kind(SECOND, LINES) == "file_order"
    assert kind(LINES, third) == "file_order"
    assert kind(LINES, LINES) == "file_order"
    assert kind(LINES + SECOND) == "misplaced_header"
    assert kind(LINES, foreign) == "other_chain"
    assert kind(LINES[:-1], SECOND) == "broken"


def test_a_file_that_was_written_anew_is_told_from_one_that_goes_on() -> None:
    anew = chain_lines([facts(number) for number in range(6)])
    anew[0] = encode_line(HeaderLine(chain_id="f0" * 16, file=0, prev_hash=GENESIS)) + b"\n"
    for place in range(1, len(anew)):
        anew[place] = chain_decision(facts(place - 1), line_hash(anew[place - 1][:-1])) + b"\n"

    assert check(anew).intact
    assert check(anew).chain_id != check(LINES).chain_id
    assert found(check(anew, anchor=line_hash(LINES[2][:-1]))).kind == "no_anchor"


def test_a_line_without_end_is_not_read_to_its_end() -> None:
    def endless() -> Iterator[bytes]:
        yield LINES[0]
        yield b"x" * (MAX_LINE_BYTES + 1)
        raise AssertionError("read on")

    assert found(check(endless())).kind == "invalid"


def test_the_whole_chain_is_never_held() -> None:
    def stream(count: int) -> Iterator[bytes]:
        line = encode_line(HeaderLine(chain_id=CHAIN_ID, file=0, prev_hash=GENESIS))
        for number in range(count):
            yield line + b"\n"
            line = chain_decision(facts(number), line_hash(line))

    tracemalloc.start()
    try:
        assert check(stream(200)).intact
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        assert check(stream(1000)).intact
        assert tracemalloc.get_traced_memory()[1] - before < 200_000
    finally:
        tracemalloc.stop()


# The command.


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "decisions.jsonl"
    path.write_bytes(CONTENT)
    return path


def test_the_command_says_that_a_chain_is_intact(file: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "handlers.core.records", "verify", str(file)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"intact: 6 decisions in 1 file\nchain {CHAIN_ID}\nlast line {LAST}\n"


def test_the_command_names_file_and_line_of_the_fault(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_bytes(b"".join(LINES[:3] + LINES[4:]))

    assert main(["verify", str(file)]) == 1

    assert capsys.readouterr().out.splitlines()[:2] == [
        "NOT INTACT: 2 decisions in 1 file up to the first fault",
        f"{file}: line 4: broken: it does not follow line 3, which was changed, or lines between were removed",
    ]


def test_the_command_prints_the_verdict_for_machines(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    later = file.with_name("later.jsonl")
    later.write_bytes(b"".join(SECOND))

    assert main(["verify", "--json", str(file), str(later)]) == 0
    verdict = json.loads(capsys.readouterr().out)

    assert verdict == {
        "intact": True,
        "files": 2,
        "decisions": 9,
        "torn": 0,
        "chain_id": CHAIN_ID,
        "first_file": 0,
        "last_hash": line_hash(SECOND[-1][:-1]),
        "finding": None,
    }
    assert main(["verify", "--json", str(later), str(file)]) == 1
    assert json.loads(capsys.readouterr().out)["finding"]["kind"] == "file_order"


def test_the_command_says_what_it_was_not_given(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_bytes(b"".join(SECOND))

    assert main(["verify", str(file)]) == 0

    assert "begins with file 1 of the chain: files before it were not given\n" in capsys.readouterr().out


def test_the_command_takes_anchors(file: Path) -> None:
    assert main(["verify", str(file), "--last", LAST, "--anchor", line_hash(LINES[2][:-1])]) == 0
    assert main(["verify", str(file), "--last", "00" * 32]) == 1
    assert main(["verify", str(file), "--anchor", "00" * 32]) == 1


def test_the_command_cannot_check_what_it_cannot_read(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = file.with_name("missing.jsonl")

    assert main(["verify", str(file), str(missing)]) == 2
    assert capsys.readouterr() == ("", f"records: cannot read {missing}: No such file or directory\n")
    assert main(["verify", str(file.parent)]) == 2
    with pytest.raises(SystemExit, match="2"):
        main(["verify", str(file), "--last", "abc"])
