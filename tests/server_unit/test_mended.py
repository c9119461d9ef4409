from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from server import process
from server.errors import ExitCode, ServerError
from server.mended import DEAD_WORKERS, DESCRIPTION_TWICE, FORMS_READ, MENDS, STREAMS_SERVED, Mend, write_mended


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mended")
    write_mended(process.frontend_jar(), folder)
    return folder


def _changes(mend: Mend, folder: Path) -> list[tuple[int, int]]:
    with zipfile.ZipFile(process.frontend_jar()) as archive:
        original = archive.read(mend.name)
    mended = (folder / mend.name).read_bytes()
    return [(old, new) for old, new in zip(original, mended, strict=True) if old != new]


def test_only_what_has_a_fault_is_written(written: Path) -> None:
    files = {str(path.relative_to(written)) for path in written.rglob("*") if path.is_file()}
    assert files == {mend.name for mend in MENDS}


def test_a_description_is_taken_out_of_the_queue_once(written: Path) -> None:
    # the byte between them is 0 in both
    assert _changes(DESCRIPTION_TWICE, written) == [(0x99, 0x57), (0x12, 0x00)]


def test_no_body_is_read_as_a_form(written: Path) -> None:
    asked_for_multipart = [(old, 0x00) for old in (0x2B, 0xB8, 0x01, 0x90, 0x9A, 0x0E)]
    compared_with_form = [(0xB6, 0x57), (0x01, 0x57), (0x9C, 0x03)]
    assert _changes(FORMS_READ, written) == [*asked_for_multipart, *compared_with_form]


def test_no_stream_is_served_over_grpc(written: Path) -> None:
    names = zip(b"streamPredictions" + b"streamPredictions2", b"notStreamedEither" + b"notStreamedEither2", strict=True)
    assert _changes(STREAMS_SERVED, written) == [(old, new) for old, new in names if old != new]


def test_a_request_that_a_worker_died_with_is_told_so_however_it_died(written: Path) -> None:
    # 500 and 413, of which the first byte is the same
    assert _changes(DEAD_WORKERS, written) == [(0xF4, 0x9D)]


@pytest.mark.parametrize("mend", MENDS, ids=lambda mend: Path(mend.name).stem)
def test_another_version_of_the_class_is_refused(mend: Mend) -> None:
    with pytest.raises(ServerError, match=r"not that of TorchServe 0\.12\.0") as refused:
        mend.apply(b"\xca\xfe\xba\xbe")
    assert refused.value.code is ExitCode.CONFIG_INVALID
